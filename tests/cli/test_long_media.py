"""Long recordings, films and texts: the segment that holds what is asked for, with its place."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcli.store.reader import Store
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.listeners import Listeners
from tests.conftest import Run, picture, recording
from tests.crashing import shard_bytes
from tests.films import film, flat
from tests.long_media import OTHERS, PHRASE, talk, tour


def found(done: Any) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def arrays(store: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(store.glob("*.safetensors"))} | {
        p.name: p.read_bytes() for p in sorted(store.glob("items-*.parquet"))
    }


def test_the_phrase_of_a_recording_with_its_time(run_here: Run, tmp_path: Path) -> None:
    moment = talk(tmp_path / "talks" / "long.ogg", 16, 5)
    talk(tmp_path / "talks" / "other.wav", 4, 0, phrase="The cats of the harbour sleep all day.")
    window = ("--window", "8s", "--hop", "4s")
    few = ("--shard-size", "3", "--workers", "0")
    done = run_here("extract", "talks", "-o", "store", *window, *few, "-q")
    assert done.returncode == 0, done.stderr
    assert run_here("retrieve", "index", "store", "-o", "index", "-q").returncode == 0
    asked = ("retrieve", "search", "index", "who feeds the cats at the lighthouse?")
    best, *_ = found(run_here(*asked, "--format", "jsonl"))
    assert best["parent_id"] == "long" and best["id"].startswith("long#")
    assert moment.overlap_s(best["start_s"], best["end_s"]) > 0.5 * (moment.end_s - moment.start_s)
    assert best["end_s"] - best["start_s"] == 8.0
    assert "orange cat" in best["transcript"].lower()
    rows = found(run_here(*asked, "--collapse", "parent_id", "--format", "jsonl"))
    assert [row["parent_id"] for row in rows] == ["long", "other"] and rows[0] == best
    found(run_here(*asked, "-k", "2", "--html", tmp_path / "page.html", "--format", "jsonl"))
    assert (tmp_path / "page.html").read_text().count('src="data:audio/ogg') == 2
    header = run_here(*asked, "-k", "1").stdout.splitlines()[0].split()
    assert header[:5] == ["rank", "score", "id", "start_s", "end_s"]


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of photographs, four seconds each."""
    names = ["astronaut.png", "coffee.png", "moon.png", "chelsea.png", "rocket.jpg", "gravel.png"]
    folder = tmp_path_factory.mktemp("filmed")
    tour(folder / "a.mp4", names, 4.0, rate=5, codec="libx264", every=100)
    tour(folder / "b.webm", names[3:], 4.0, rate=5, codec="libvpx-vp9")
    return folder


@pytest.fixture
def films(filmed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filmed, tmp_path / "films"))


def test_the_scene_of_a_film_with_its_time(run_here: Run, tmp_path: Path, films: Path) -> None:
    window = ("--window", "4s", "--hop", "2s", "--frames", "3", "--workers", "0", "-q")
    done = run_here("extract", "films", "-o", "store", *window, "--sequence")
    assert done.returncode == 0, done.stderr
    store = Store.open(tmp_path / "store")
    assert (store.rows, list(store.keys)) == (16, ["video"])
    assert store.keys["video"]["preprocessing"]["frames"] == 3
    assert store.keys["video"]["space"].startswith("minilm-l6@")
    rows = store.load("video")
    frames = [np.asarray(store.sequence("video", row)) for row in range(store.rows)]
    assert {one.shape for one in frames} == {(3, 384)}
    means = np.stack([one.mean(axis=0) for one in frames])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert np.allclose(means, rows, atol=1e-5)
    assert run_here("retrieve", "index", "store", "-o", "index", "-q").returncode == 0
    search = ("retrieve", "search", "index", "--format", "jsonl")
    best, *_ = found(run_here(*search, "a cup of coffee"))
    assert (best["parent_id"], best["start_s"], best["end_s"]) == ("a", 4.0, 8.0)
    page = tmp_path / "page.html"
    found(run_here(*search, "a kitten", "-k", "2", "--html", page))
    assert page.read_text().count('<img src="data:image/jpeg') == 2
    assert "films/a.mp4 12–16 s" not in page.read_text()  # it is shown, not named
    cats = found(run_here(*search, "a kitten", "--collapse", "parent_id"))
    assert {(r["parent_id"], r["start_s"]) for r in cats} == {("a", 12.0), ("b", 0.0)}
    tour(tmp_path / "query.mp4", ["rocket.jpg"], 2.0)
    rockets = found(run_here(*search, "--video", "query.mp4", "-k", "2"))
    assert {(r["parent_id"], r["start_s"]) for r in rockets} == {("a", 16.0), ("b", 4.0)}


def test_batches_workers_and_shards_change_no_byte(
    run_here: Run, tmp_path: Path, films: Path
) -> None:
    shutil.copyfile(films / "a.mp4", films / "c.mp4")
    base = ("extract", "films", "--window", "8s", "--frames", "2", "-q")
    for name, more in {
        "one": ("--workers", "0"),
        "two": ("--workers", "2"),
        "three": ("--batch", "1", "--workers", "0"),
    }.items():
        assert run_here(*base, "-o", name, *more).returncode == 0
    assert arrays(tmp_path / "one") == arrays(tmp_path / "two") == arrays(tmp_path / "three")
    store = Store.open(tmp_path / "one")  # the copy's segments are those of the film itself
    places: dict[str, list[int]] = {}
    for row, item in enumerate(store.items(["parent_id"]).to_pylist()):
        places.setdefault(item["parent_id"], []).append(row)
    vectors = np.asarray(store.load("video"))
    assert np.array_equal(vectors[places["a"]], vectors[places["c"]])
    assert len(np.unique(vectors[places["c"]], axis=0)) == len(places["c"]) == 3


def test_an_interrupted_run_goes_on_with_its_segments(
    run_here: Run, tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--window", "8s", "--hop", "4s", "--shard-size", "3", "--frames", "2", "-q",
               "--workers", "0")  # fmt: skip
    assert run_here("extract", "films", "-o", "whole", *options).returncode == 0

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    config = ExtractConfig(
        "films", "halved", window=("8s",), hop=("4s",), shard_size=3, frames=2, workers=0
    )
    with pytest.raises(KeyboardInterrupt):
        extract(config, Listeners(progress=stop))
    assert not (tmp_path / "halved" / "manifest.json").exists()
    assert (tmp_path / "halved" / "video-00000.safetensors").exists()
    other = run_here("extract", "films", "-o", "halved", *options[:3], "1s", "--resume")
    assert other.returncode == 3
    assert run_here("extract", "films", "-o", "halved", *options, "--resume").returncode == 0
    assert shard_bytes(tmp_path / "halved") == shard_bytes(tmp_path / "whole")


def test_a_still_film_is_where_its_picture_is(run_here: Run, tmp_path: Path) -> None:
    picture(tmp_path / "m" / "still.png", 5, (64, 48))
    from PIL import Image

    pixels = np.asarray(Image.open(tmp_path / "m" / "still.png").convert("RGB"))
    film(tmp_path / "m" / "still.mp4", [(pixels, 1.0)], codec="libx264")
    assert run_here("extract", "m", "-o", "store", "--workers", "0", "-q").returncode == 0
    store = Store.open(tmp_path / "store")
    assert float(store.load("image")[0] @ store.load("video")[0]) > 0.9


def test_a_text_by_windows_of_its_tokens(run_here: Run, tmp_path: Path) -> None:
    book = "\n\n".join([" ".join(OTHERS), PHRASE, " ".join(OTHERS[:9])])
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "long.txt").write_text(book, "utf-8")
    (tmp_path / "books" / "bad.txt").write_bytes(b"caf\xe9 \xff\xfe")
    done = run_here("extract", "books", "-o", "store", "--window", "20tok", "--hop", "10tok", "-q")
    assert done.returncode == 6, done.stderr
    assert run_here("retrieve", "index", "store", "-o", "index", "-q").returncode == 0
    asked = ("retrieve", "search", "index", "who feeds the cats?", "--format", "jsonl")
    best, *_ = found(run_here(*asked, "-k", "1"))
    assert "orange cats" in best["text"]
    assert book[best["start_char"] : best["end_char"]] == best["text"]
    items = Store.open(tmp_path / "store").items().to_pylist()
    assert {(r["id"], r["has_text"]) for r in items if r["parent_id"] == "bad"} == {
        ("bad#0000", False)
    }
    too_long = run_here("extract", "books", "-o", "no", "--window", "255tok")
    assert too_long.returncode == 2
    assert "`minilm-l6` reads 254 tokens beside its marks" in too_long.stderr


def test_the_sound_of_films(run_here: Run, tmp_path: Path) -> None:
    import soundfile

    talk(tmp_path / "said.wav", 6, 0)
    sound, rate = soundfile.read(tmp_path / "said.wav", dtype="float32")
    film(tmp_path / "films" / "said.mp4", [(flat(90), 6.0)], sound=sound, sound_hz=rate)
    film(tmp_path / "films" / "silent.mp4", [(flat(120), 2.0)])
    done = run_here("extract", "films", "-o", "store", "--soundtrack", "--workers", "0", "-q")
    assert done.returncode == 0, done.stderr
    store = Store.open(tmp_path / "store")
    assert sorted(store.keys) == ["speech", "video"]
    said, silent = store.items().to_pylist()
    assert "cats" in said["transcript"].lower()
    assert (silent["has_video"], silent["has_speech"], silent["transcript"]) == (True, False, None)
    assert (said["speech"], silent["speech"]) == ("said.mp4", None)


def test_broken_videos_are_counted_and_named(run_here: Run, tmp_path: Path) -> None:
    film(tmp_path / "films" / "good.mp4", [(flat(90), 1.0)])
    (tmp_path / "films" / "noise.mp4").write_bytes(b"\0nothing" * 99)
    (tmp_path / "films" / "empty.webm").touch()
    done = run_here("extract", "films", "-o", "store", "--window", "1s", "--json")
    assert done.returncode == 6
    report = json.loads(done.stdout)
    assert (report["items"], report["ok"], report["failed"]) == (3, 1, 2)
    failures = pq.read_table(tmp_path / "store" / "failures.parquet").to_pylist()
    assert {(f["id"], f["key"], f["source"], f["error"]) for f in failures} == {
        ("empty#0000", "video", "empty.webm", "empty"),
        ("noise#0000", "video", "noise.mp4", "corrupt"),
    }


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--window", "10"), 2, "has no unit"),
        (("--window", "10tok"), 2, "`--window` is for text, of which the source has none"),
        (("--soundtrack",), 2, "the source has no videos"),
        (("--hop", "2s"), 2, "without its `--window`"),
        (("--frames", "0"), 2, "must be at least 1"),
    ],
)
def test_usage(
    run_here: Run, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    recording(tmp_path / "talks" / "a.wav", 1)
    done = run_here("extract", "talks", "-o", "store", *words)
    assert done.returncode == code and message in done.stderr
    assert "hint:" in done.stderr and not (tmp_path / "store").exists()


def test_without_pyav_it_says_what_to_install(run: Run, tmp_path: Path) -> None:
    film(tmp_path / "films" / "a.mp4", [(flat(90), 0.5)])
    (tmp_path / "lame" / "av").mkdir(parents=True)
    (tmp_path / "lame" / "av" / "__init__.py").write_text("raise ImportError('no av')\n")
    path = f"{tmp_path / 'lame'}:{Path(__file__).parents[2]}"
    done = run("extract", "films", "-o", "store", env={"PYTHONPATH": path})
    assert done.returncode == 4
    assert "PyAV" in done.stderr and "pip install 'mmcli[video]'" in done.stderr
