"""`mmcli data synth`, as it is typed: a directory that other verbs take, the same at every time."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from mmcli.cli.main import program
from mmcli.core.errors import BadInput, MmcliError, UsageError
from mmcli.data.scenes.generator import VOICES
from mmcli.data.synth.directory import DataWriter
from mmcli.data.synth.kinds import KINDS
from mmcli.store.reader import Store
from mmcli.workflows.data.synth import SynthConfig, synth
from tests.conftest import ROOT, Run, mmcli_command


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def spoken(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy spoken scenes in three voices, made by two processes."""
    cwd = tmp_path_factory.mktemp("synth")
    words = ("-n", "70", "--speech", "--voices", "3", "--workers", "2", "--json", "--seed", "5")
    done = subprocess.run(
        mmcli_command("data", "synth", "scenes", "-o", "spoken", *words),
        cwd=cwd, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (cwd / "report.json").write_text(done.stdout)
    return cwd / "spoken"


def test_what_is_written(spoken: Path, run_here: Run) -> None:
    items = rows(spoken / "items.jsonl")
    assert len(items) == len({row["id"] for row in items}) == 70
    assert {row["voice"] for row in items} == set(VOICES[:3])
    for row in items:
        assert (spoken / str(row["image"])).is_file()
        samples, rate_hz = soundfile.read(spoken / str(row["speech"]))
        assert 2 < len(samples) / rate_hz < 12
    manifest = json.loads((spoken / "manifest.json").read_bytes())
    assert manifest["format"] == "mmcli.data/1" and manifest["kind"] == "scenes"
    assert manifest["tables"]["items"] == {"file": "items.jsonl", "rows": 70}
    assert set(manifest["files"]) == set(contents(spoken)) - {"manifest.json"}
    report = json.loads((spoken.parent / "report.json").read_text())
    assert report["retrieval"] == manifest["retrieval"]
    assert report["questions"]["yes-no"] == {"rows": 70, "question_only": 0.5}
    readme = (spoken / "README.md").read_text("utf-8")
    assert f"| yes-no | 70 | {0.5:.3f} |" in readme
    assert "-n 70 --seed 5 --speech --voices 3" in readme


def test_the_same_bytes_whoever_made_them(spoken: Path, run_here: Run, tmp_path: Path) -> None:
    words = ("-n", "70", "--speech", "--voices", "3", "--seed", "5", "--workers", "0", "-q")
    done = run_here("data", "synth", "scenes", "-o", "again", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert contents(tmp_path / "again") == contents(spoken)


def test_verify_finds_a_flipped_byte(spoken: Path, run_here: Run, tmp_path: Path) -> None:
    assert run_here("verify", spoken).returncode == 0
    done = run_here("data", "synth", "scenes", "-o", "mine", "-n", "4", "-q")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "mine/images/000001b.png"
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 1
    path.write_bytes(damaged)
    done = run_here("verify", "mine")
    assert done.returncode == 3 and "000001b.png" in done.stdout


def test_extract_and_split_take_the_data(spoken: Path, run_here: Run, tmp_path: Path) -> None:
    few = ("data", "synth", "scenes", "-o", "few", "-n", "8", "--speech", "-q")
    assert run_here(*few).returncode == 0
    done = run_here("extract", "few", "-o", "store", "--only", "speech", "--speech", "mfcc", "-q")
    assert done.returncode == 0, done.stderr
    items = Store.open(tmp_path / "store").items(["id", "text", "swap"]).to_pylist()
    made = rows(tmp_path / "few/items.jsonl")
    assert items == [{name: row[name] for name in ("id", "text", "swap")} for row in made]
    splits = run_here(
        "data", "split", "store", "-o", "s.parquet", "--group-by", "pair_id", "--json"
    )
    assert json.loads(splits.stdout)["groups"] == 4, splits.stderr
    assert run_here("data", "split", "few", "-o", "f.parquet", "--folds", "2").returncode == 0
    asked = ("--folds", "3", "--group-by", "pair_id", "--map", "text=question")
    done = run_here("data", "split", spoken / "questions.jsonl", "-o", "q.parquet", *asked)
    assert done.returncode == 0, done.stderr


def test_a_dry_run_writes_nothing(run_here: Run, tmp_path: Path) -> None:
    done = run_here("data", "synth", "scenes", "-o", "out", "--dry-run", "--json")
    assert json.loads(done.stdout)["n"] == 2000
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    synth(SynthConfig("scenes", str(out), {"n": 4, "voices": 1}, workers=0))
    before = contents(out)
    with pytest.raises(BadInput, match="already holds data") as caught:
        synth(SynthConfig("scenes", str(out), {"n": 2}, workers=0))
    assert "--force" in caught.value.hint
    assert contents(out) == before
    synth(SynthConfig("scenes", str(out), {"n": 2}, workers=0, force=True))
    synth(SynthConfig("scenes", str(tmp_path / "new"), {"n": 2}, workers=0))
    assert contents(out) == contents(tmp_path / "new")
    assert not (out / "speech").exists()


@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, force: bool) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.txt").write_text("three years")
    (tmp_path / "file").write_text("one")
    (tmp_path / "store").mkdir()
    (tmp_path / "store/manifest.json").write_text('{"format": "mmcli.store/1"}')
    before = contents(tmp_path)
    for name in ("work", "file", "store"):
        with pytest.raises(BadInput, match=name):
            synth(SynthConfig("scenes", str(tmp_path / name), {"n": 2}, workers=0, force=force))
    assert contents(tmp_path) == before


def test_an_error_leaves_the_older_data_and_no_trace(tmp_path: Path) -> None:
    out = tmp_path / "out"
    synth(SynthConfig("scenes", str(out), {"n": 2}, workers=0))
    before = contents(out)
    for path in (out, tmp_path / "new"):
        with pytest.raises(RuntimeError), DataWriter(path, force=True) as writer:
            (writer.folder / "half.jsonl").write_text("half")
            raise RuntimeError
    assert contents(out) == before
    assert not (tmp_path / "new").exists()


def test_data_cut_off_while_moved_into_place_are_made_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with DataWriter(out) as writer:
        (writer.folder / "items.jsonl").write_text("{}\n")
        (writer.folder / "extra").mkdir()
        (writer.folder / "extra/x").write_text("x")
        writer.commit({}, {})
    state = '{"format": "mmcli.data-state/1", "entries": ["extra", "items.jsonl"]}'
    (out / "state.json").write_text(state)
    (out / "manifest.json").unlink()
    with pytest.raises(BadInput, match="unfinished"):
        synth(SynthConfig("scenes", str(out), {"n": 2}, workers=0))
    synth(SynthConfig("scenes", str(out), {"n": 2}, workers=0, force=True))
    synth(SynthConfig("scenes", str(tmp_path / "new"), {"n": 2}, workers=0))
    assert contents(out) == contents(tmp_path / "new")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_leaves_no_data_and_no_worker(
    number: int, tmp_path: Path, run_here: Run, environment: dict[str, str]
) -> None:
    process = subprocess.Popen(
        mmcli_command("data", "synth", "scenes", "-o", "out", "-n", "200000", "--workers", "2"),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not list(tmp_path.glob("out/.tmp-new/images/*")):
        assert process.poll() is None
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(number)
    assert process.stderr is not None
    said = process.stderr.read()  # also ends only when no worker holds it any more
    process.wait()
    assert b"Traceback" not in said
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    deadline = time.monotonic() + 5  # a killed parent takes them along, but not at once
    while any(_runs(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(child) for child in children)
    assert not (tmp_path / "out/manifest.json").exists()
    done = run_here("data", "synth", "scenes", "-o", "out", "-n", "4", "-q")
    assert done.returncode == 0, done.stderr
    assert run_here("verify", "out", "--json").stdout.count('"message"') == 0


def _runs(process: str) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


@pytest.mark.parametrize(
    ("kind", "options", "error", "said"),
    [
        ("scenes", {"n": 3}, UsageError, "even number"),
        ("scenes", {"n": 0}, UsageError, "even number"),
        ("scenes", {"n": 2, "voices": 9}, UsageError, "1 to 8"),
        ("scnes", {"n": 2}, UsageError, "did you mean `scenes`"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, kind: str, options: dict[str, int], error: type[MmcliError], said: str
) -> None:
    with pytest.raises(error) as caught:
        synth(SynthConfig(kind, str(tmp_path / "out"), options))
    assert said in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_usage_errors(run_here: Run) -> None:
    for words in (("--voices", "2"), ("--workers", "many"), ("--speech", "--voices", "0")):
        done = run_here("data", "synth", "scenes", "-o", "out", *words)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 2, done.stderr


def test_every_kind_has_its_command() -> None:
    verbs = program().commands["data"].commands["synth"].commands
    assert list(verbs) == [*KINDS.names(), "planted"]  # a store, which no kind of data is


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from mmcli.workflows.data.synth import *;"
        "synth(SynthConfig('scenes', sys.argv[1], {'n': 2, 'voices': 1}, workers=0));"
        "print(sorted({'torch', 'transformers', 'timm', 'faiss'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
