"""What someone who scripts expects of any command; numbers are the rows of the house rules."""

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mmcli.cli.main import program
from tests.conftest import Run, mmcli_command, picture, recording
from tests.warm import WarmServer

# Recordings and MFCC: an extraction that needs no pretrained weights and starts fastest.
SOUND = ("--speech", "mfcc")


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for i in range(4):
        recording(tmp_path / f"sounds/s{i}.wav", i)
    return tmp_path / "sounds"


def on_terminal(
    command: list[str], env: dict[str, str], cwd: Path, stdin: bool = False
) -> tuple[int, str]:
    """Run with a terminal as stdout and stderr (and stdin): exit code and what it showed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=slave if stdin else subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(master)
    return process.wait(timeout=120), shown.decode("utf-8", "replace")


def test_version(run_here: Run) -> None:  # 4
    done = run_here("--version")
    assert done.returncode == 0 and done.stdout.startswith("mmcli ")


def test_formats_of_rows(run_here: Run) -> None:  # 5, 7, 8, 9
    rows = json.loads(run_here("models", "--json").stdout)
    assert json.loads(run_here("models", "--format", "json").stdout) == rows
    lines = run_here("models", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == rows
    tsv = run_here("models", "--format", "tsv").stdout.splitlines()
    assert len(tsv) == len(rows) + 1
    assert {len(line.split("\t")) for line in tsv} == {len(tsv[0].split("\t"))}
    table = run_here("models", "--format", "table").stdout.splitlines()
    assert len(table) == len(rows) + 1
    assert run_here("models", "--format", "yaml").returncode == 2


def test_width_and_ci_change_nothing(run: Run) -> None:  # 10, 11
    digests = set()
    for env in ({"COLUMNS": "20"}, {"COLUMNS": "200", "GITHUB_ACTIONS": "1"}, {"FORCE_COLOR": "1"}):
        done = run("models", "--format", "table", env=env)
        assert "\x1b" not in done.stdout
        digests.add(hashlib.sha256(done.stdout.encode()).hexdigest())
    assert len(digests) == 1
    assert "\x1b" not in run("--help", env={"GITHUB_ACTIONS": "1", "FORCE_COLOR": "1"}).stdout


def test_no_color_on_a_terminal(tmp_path: Path, environment: dict[str, str]) -> None:  # 12
    code, shown = on_terminal(mmcli_command("models"), {**environment, "NO_COLOR": "1"}, tmp_path)
    assert code == 0 and "minilm-l6" in shown and "\x1b[3" not in shown


def test_progress_on_a_terminal_only(
    sounds: Path, tmp_path: Path, run: Run, environment: dict[str, str], warm_server: WarmServer
) -> None:  # 6, 13, 24
    done = run("extract", sounds, "-o", "a", "-v", *SOUND)
    assert done.returncode == 0, done.stderr
    assert done.stderr and "━" not in done.stderr
    assert "preset = 'starter' (default)" in done.stderr
    assert "━" not in done.stdout
    code, shown = on_terminal(
        warm_server.command("extract", sounds, "-o", "b", *SOUND),
        {**environment, "TERM": "xterm"},
        tmp_path,
    )
    assert code == 0 and "━" in shown
    again = run("extract", sounds, "-o", "a", *SOUND)
    assert again.returncode == 3
    assert "--force" in again.stderr and "--resume" in again.stderr


def test_quiet_is_silent_and_reproducible(
    sounds: Path, run_here: Run, tmp_path: Path
) -> None:  # 14, 30
    for name in ("a", "b"):
        done = run_here("extract", sounds, "-o", name, "-q", "--seed", "0", *SOUND)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for file in ("speech-00000.safetensors", "items-00000.parquet", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_usage_errors(run_here: Run) -> None:  # 15
    done = run_here("extrct")
    assert done.returncode == 2 and "extract" in done.stderr and "id you mean" in done.stderr
    done = run_here("extract", "x", "-o", "y", "--preset", "startr")
    assert done.returncode in (2, 3)
    done = run_here("extract", "--colour", "x")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_input_errors_are_two_lines(
    run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # 16, 17
    done = run_here("extract", "nope", "-o", "out")
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "nope" in lines[0] and lines[1].startswith("hint: ")
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("MMCLI_DEBUG", "1")
    debug = run_here("extract", "nope", "-o", "out")
    assert debug.returncode == 3 and "Traceback" in debug.stderr


def test_paths_on_stdin(sounds: Path, run_here: Run, tmp_path: Path) -> None:  # 18, 19
    paths = sorted(f"sounds/{p.name}" for p in sounds.iterdir())
    listed = run_here("extract", "-", "-o", "a", "-q", *SOUND, stdin="\n".join(paths) + "\n")
    assert listed.returncode == 0, listed.stderr
    nul = run_here("extract", "-", "-0", "-o", "b", "-q", *SOUND, stdin="\0".join(paths) + "\0")
    assert nul.returncode == 0, nul.stderr
    name = "speech-00000.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_terminal_where_input_is_expected(
    tmp_path: Path, environment: dict[str, str]
) -> None:  # 21
    code, shown = on_terminal(
        mmcli_command("extract", "-", "-o", "x"), environment, tmp_path, stdin=True
    )
    assert code == 2 and "terminal" in shown


def test_broken_pipe(environment: dict[str, str], tmp_path: Path) -> None:  # 22
    process = subprocess.Popen(
        mmcli_command("models", "--format", "jsonl"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_a_full_disk_behind_stdout(environment: dict[str, str], tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            mmcli_command("models"), stdout=full, stderr=subprocess.PIPE, env=environment, text=True
        )
    assert done.returncode == 5
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        ("extract nope -o out", "<&-", 3),
        ("models", "2>&-", 0),
        ("models", ">&-", 0),
        ("extract nope -o out", "2>&-", 3),
    ],
)
def test_a_closed_stream_is_no_defect(
    words: str, closed: str, code: int, environment: dict[str, str], tmp_path: Path
) -> None:
    command = f"{sys.executable} -m mmcli {words} {closed}"
    done = subprocess.run(
        command, shell=True, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "error" not in done.stdout


def test_output_is_utf8_whatever_the_locale(run: Run, tmp_path: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii"}
    (tmp_path / "run.toml").write_text('only = ["图"]\n', "utf-8")
    done = run("extract", ".", "-o", "x", "--config", "run.toml", env=env)
    assert done.returncode == 2 and "图" in done.stderr


def test_dry_run_writes_nothing(sounds: Path, run_here: Run, tmp_path: Path) -> None:  # 23
    done = run_here("extract", sounds, "-o", "out", "-n", *SOUND)
    assert done.returncode == 0 and not (tmp_path / "out").exists()
    assert run_here("extract", sounds, "-o", "out", "-q", *SOUND).returncode == 0
    done = run_here("extract", sounds, "-o", "out", "-n", *SOUND)
    assert done.returncode == 3 and "already holds a store" in done.stderr, "as the run itself"
    assert run_here("extract", sounds, "-o", "out", "-n", "--force", *SOUND).returncode == 0


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 recordings: more than are read before a signal comes."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(240):
        recording(folder / f"s{i:03d}.wav", i % 7, seconds=1.0)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_finished_shards(
    number: int,
    code: int,
    many: Path,
    tmp_path: Path,
    run_here: Run,
    environment: dict[str, str],
) -> None:  # 27
    options = [*SOUND, "--shard-size", "8"]
    process = subprocess.Popen(
        mmcli_command("extract", many, "-o", "out", *options),
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "out/speech-00001.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait() == code
    assert "Traceback" not in said and "--resume" in said
    done = run_here("extract", many, "-o", "out", "--resume", "--json", *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] == 240 and report["resumed_items"] >= 16


def test_precedence_of_settings(
    sounds: Path, run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # 28, 29
    (tmp_path / "run.toml").write_text('shard-size = 3\n[extract]\nspeech = "mfcc"\n')
    words = ("extract", sounds, "--dry-run", "--json", "--config", "run.toml", "-v", "-o", "x")
    from_file = run_here(*words)
    assert json.loads(from_file.stdout)["shard_rows"] == 3, from_file.stderr
    assert "shard-size = 3 (config file)" in from_file.stderr
    monkeypatch.setenv("MMCLI_EXTRACT_SHARD_SIZE", "2")
    variable = run_here(*words)
    assert json.loads(variable.stdout)["shard_rows"] == 2
    assert "shard-size = 2 (variable MMCLI_EXTRACT_SHARD_SIZE)" in variable.stderr
    flag = run_here(*words, "--shard-size", "1")
    assert json.loads(flag.stdout)["shard_rows"] == 1
    for content, meant in (
        ("shard-sise = 3\n", "shard-size"),
        ("[extrct]\nshard-size = 3\n", "extract"),
        ('[extract]\nmap = {text = "caption"}\n', "map"),
    ):
        (tmp_path / "run.toml").write_text(content)
        wrong = run_here(*words)
        assert wrong.returncode == 2 and meant in wrong.stderr


def commands_below(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """Every command of the program with a context as the parser makes it."""
    yield command, context
    for name, one in getattr(command, "commands", {}).items():
        yield from commands_below(one, typer.Context(one, parent=context, info_name=name))


def test_every_long_option_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = program()
    start = typer.Context(tree, info_name="mmcli", **tree.context_settings)
    options = 0
    for command, context in commands_below(tree, start):
        flags = [(f, p) for p in command.params for f in p.opts if f.startswith("--")]
        options += len(flags)
        for flag, parameter in flags:
            variable = f"{context.command_path} {flag[2:]}".replace(" ", "_").replace("-", "_")
            monkeypatch.setenv(variable.upper(), "7")
            found = [p for p in command.params if p.value_from_envvar(context) in ("7", ["7"])]
            assert found == [parameter], (variable, found)
            monkeypatch.delenv(variable.upper())
            for negative in parameter.secondary_opts:
                variable = variable.replace(flag[2:], negative[2:].replace("-", "_"))
                for word, value in (("1", "False"), ("no", "True")):
                    monkeypatch.setenv(variable.upper(), word)
                    assert parameter.value_from_envvar(context) == value
    assert options > 500


def test_variables_and_keys_of_files_have_the_names_of_options(
    run_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.toml").write_text('text = ["words"]\n')
    words = ("retrieve", "search", "nope", "-v", "--config", "run.toml")
    monkeypatch.setenv("MMCLI_RETRIEVE_SEARCH_TOP", "7")
    done = run_here(*words)
    assert "k = 7 (variable MMCLI_RETRIEVE_SEARCH_TOP)" in done.stderr
    assert "more-text = ['words'] (config file)" in done.stderr
    monkeypatch.delenv("MMCLI_RETRIEVE_SEARCH_TOP")
    monkeypatch.setenv("MMCLI_RETRIEVE_SEARCH_K", "8")
    assert "k = 8 (variable MMCLI_RETRIEVE_SEARCH_K)" in run_here(*words).stderr


def test_a_bad_item_gives_exit_six(run_here: Run, tmp_path: Path) -> None:  # 31
    recording(tmp_path / "in/a.wav", 1)
    (tmp_path / "in/b.wav").write_bytes(b"RIFF nonsense")
    done = run_here("extract", "in", "-o", "out", *SOUND)
    assert done.returncode == 6 and "failures.parquet" in done.stderr


def test_completion(environment: dict[str, str], tmp_path: Path) -> None:  # 32
    env = {
        **environment,
        "_MMCLI_COMPLETE": "complete_bash",
        "COMP_WORDS": "mmcli ex",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(mmcli_command(), env=env, capture_output=True, text=True, cwd=tmp_path)
    assert "extract" in done.stdout


def test_offline_hub_model(run: Run, tmp_path: Path) -> None:  # 34
    picture(tmp_path / "in/a.png", 1)
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = run("extract", "in", "-o", "out", "--image", "hf:openai/clip-vit-base-patch32", env=env)
    assert done.returncode == 4, done.stderr
    assert len(done.stderr.splitlines()) == 2 and "hint: " in done.stderr
    assert not (tmp_path / "out").exists()
