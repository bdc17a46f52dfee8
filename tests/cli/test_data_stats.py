"""`mmcli data stats`: what it counts, of a folder, a table and a store."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.data.tallies import Spread
from tests.conftest import Run, picture, recording
from tests.store.store_making import make_store


def stats(run_here: Run, *words: object) -> dict[str, Any]:
    done = run_here("data", "stats", *words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, one of them no picture; two recordings; two texts in different scripts."""
    root = tmp_path / "items"
    for i, size in enumerate(((40, 30), (80, 60), (20, 100))):
        picture(root / f"p{i}.png", i, size)
    (root / "p3.jpg").write_bytes(b"no picture at all")
    recording(root / "p0.wav", 0, seconds=1.0)
    recording(root / "p9.wav", 1, seconds=3.0, rate=8000)
    (root / "p0.txt").write_text("three little words", "utf-8")
    (root / "p1.txt").write_text("три маленьких слова и ещё", "utf-8")
    (root / "notes.pdf").write_bytes(b"%PDF")
    return root


def test_a_folder(run_here: Run, folder: Path) -> None:
    report = stats(run_here, folder)
    assert (report["kind"], report["rows"], report["ignored"]) == ("folder", 5, {".pdf": 1})
    image, text, speech = (report["parts"][part] for part in ("image", "text", "speech"))
    assert (image["present"], image["missing"], image["broken"]) == (4, 1, {"corrupt": 1})
    assert image["width"] == {
        "count": 3, "min": 20, "median": 40, "mean": 46.6667, "p95": 76, "max": 80,
    }  # fmt: skip
    assert image["formats"] == {"png": 3}
    sizes = [p.stat().st_size for p in folder.glob("*.png")]
    assert image["total_bytes"] == sum(sizes)
    assert text["scripts"] == {"Latn": 1, "Cyrl": 1}
    assert text["languages"] == {"en": 1, "ru": 1}
    assert text["words"]["max"] == 5 and text["characters"]["min"] == len("three little words")
    assert speech["rates_hz"] == {"16000": 1, "8000": 1}
    assert speech["total_s"] == 4 and speech["duration_s"]["median"] == 2
    assert report["together"] == {
        "image": 2, "image+text+speech": 1, "image+text": 1, "speech": 1,
    }  # fmt: skip
    assert any("p3" in warning for warning in report["warnings"])


def test_columns_of_a_table(run_here: Run, tmp_path: Path) -> None:
    rows = [
        {"text": f"row {i}", "label": "ab"[i % 2], "score": i / 4, "tags": ["x", "y"][: i % 3]}
        for i in range(9)
    ]
    rows[4]["label"] = None
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    columns = stats(run_here, path)["columns"]
    assert columns["label"] == {
        "type": "text", "missing": 1, "distinct": 2, "values": {"a": 4, "b": 4},
    }  # fmt: skip
    assert columns["score"]["median"] == 1 and columns["score"]["max"] == 2
    assert columns["tags"]["values"] == {"x": 6, "y": 3}


def test_a_store_and_a_table_on_a_terminal_say_the_same(run_here: Run, tmp_path: Path) -> None:
    make_store(tmp_path / "s")
    report = stats(run_here, "s")
    assert (report["kind"], report["rows"]) == ("store", 15)
    assert report["columns"]["label"]["values"] == {"0": 9, "1": 6}
    shown = run_here("data", "stats", "s").stdout.splitlines()
    assert shown[0].split() == ["source", "s"]
    assert ["label", "0", "9"] in [line.split() for line in shown]


def test_processes_say_what_one_process_says(run_here: Run, folder: Path) -> None:
    alone = run_here("data", "stats", folder, "--workers", 0, "--json")
    shared = run_here("data", "stats", folder, "--workers", 2, "--json")
    assert alone.returncode == shared.returncode == 0, shared.stderr
    assert json.loads(alone.stdout) == json.loads(shared.stdout)


def test_the_spread_of_numbers() -> None:
    spread = Spread()
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    spread.extend(np.append(values, [np.nan, np.inf]))
    found = spread.summary()
    assert found["count"] == 1000
    assert found["median"] == pytest.approx(np.median(values), rel=1e-5)
    assert found["p95"] == pytest.approx(np.quantile(values, 0.95), rel=1e-5)
    assert Spread().summary() == {}


def test_languages_of_captions(run_here: Run, tmp_path: Path) -> None:
    """Sentences are told apart, in one script too; a word that could be of many is not guessed."""
    texts = {
        "en": "a photographer with a tripod stands on the grass",
        "de": "ein Fotograf steht mit seinem Stativ auf der Wiese",
        "fr": "un photographe avec son trépied est debout dans l'herbe",
        "zh": "摄影师带着三脚架站在草地上",
        "ja": "三脚を持った写真家が芝生に立っています",
        "unsure": "taxi",
    }
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts.values()), "utf-8")
    assert stats(run_here, path)["parts"]["text"]["languages"] == dict.fromkeys(texts, 1)
