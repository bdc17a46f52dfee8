"""Tux Paint's stamps by their Chinese captions: encoders that read Chinese, and the starter."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.conftest import has_starter

ROWS = 24
LINE = "zh_CN.utf8="


@pytest.fixture
def table(tmp_path: Path, unpacked: Path | None) -> Path:
    """Pictures with Chinese captions, no two alike."""
    if unpacked is None:
        pytest.skip("apt cannot get Tux Paint's stamps here")
    rows: dict[str, str] = {}
    for words in sorted((unpacked / "usr/share/tuxpaint/stamps").rglob("*.txt")):
        lines = words.read_text("utf-8", "replace").splitlines()
        caption = next((line[len(LINE) :] for line in lines if line.startswith(LINE)), "")
        picture = words.with_suffix(".png")
        if caption and picture.is_file() and len(rows) < ROWS:
            rows.setdefault(caption, str(picture))
    path = tmp_path / "stamps.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": f"s{n:02d}", "image": picture, "text": caption}) + "\n"
            for n, (caption, picture) in enumerate(rows.items())
        )
    )
    return path


def captions(table: Path) -> list[str]:
    return [json.loads(line)["text"] for line in table.open()]


@pytest.mark.parametrize("family", ["chinese_clip", "siglip2"])
def test_from_captions_to_search(
    run_here: Callable[..., Any], tmp_path: Path, table: Path, family: str
) -> None:
    """Random weights: what is found first means nothing, but a caption finds itself."""
    from tests.contracts import tiny_families, tiny_models

    characters = "".join(sorted({c for text in captions(table) for c in text if c > "\u2e80"}))
    make = {"chinese_clip": tiny_models.chinese_clip, "siglip2": tiny_families.siglip2}[family]
    model = f"local:{make(tmp_path / family, characters)}"
    towers = ("--image", model, "--text", model, "--precision", "fp32")
    done = run_here("extract", table, *towers, "-o", "store", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["ok"], report["warnings"]) == (ROWS, [])

    assert run_here("retrieve", "index", "store", "-o", "pictures").returncode == 0
    (tmp_path / "asked.txt").write_text("\n".join(captions(table)))
    words = ("--queries", "asked.txt", "-k", 1, "--format", "jsonl")
    done = run_here("retrieve", "search", "pictures", *words)
    assert (done.returncode, done.stderr) == (0, "")
    scores = [json.loads(line)["score"] for line in done.stdout.splitlines()]
    assert len(scores) == ROWS and len(set(scores)) > ROWS // 2  # captions can be told apart

    made = run_here("retrieve", "index", "store", "-o", "texts", "--modality", "text")
    assert made.returncode == 0 and "cannot be exported" not in made.stderr
    done = run_here("retrieve", "search", "texts", *words)
    found = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert found == [f"s{n:02d}" for n in range(ROWS)]


@pytest.mark.skipif(not has_starter(), reason="the starter packages are not installed")
def test_the_starter_warns_once_and_counts(run_here: Callable[..., Any], table: Path) -> None:
    """Extracting says how many captions it cannot read, and which preset can; so does a search."""
    done = run_here("extract", table, "--only", "text", "-o", "store")
    assert done.returncode == 0
    warnings = [line for line in done.stderr.splitlines() if "script" in line]
    assert len(warnings) == 1
    assert f"{ROWS} texts are in script Hani" in warnings[0]
    assert "`--preset chinese-clip` covers it" in warnings[0]
    assert run_here("retrieve", "index", "store", "-o", "index").returncode == 0
    done = run_here("retrieve", "search", "index", captions(table)[0], "-k", 1)
    assert done.stderr.count("Hani") == 1
