"""Exported towers are kept for the next index: the same files, and never a damaged one."""

from pathlib import Path

import pytest

from mmcli.encoders.kept_towers import MOST, fetch_tower, keep_tower, tower_key


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMCLI_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "towers"


@pytest.fixture
def tower(tmp_path: Path) -> Path:
    folder = tmp_path / "tower"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "query.json").write_text("{}")
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_only_towers_of_packages_have_a_key() -> None:
    key = tower_key("minilm-l6", {"dim": 384})
    assert key and key == tower_key("minilm-l6", {"dim": 384})
    assert key != tower_key("minilm-l6", {"dim": 256})
    for reference in ("local:somewhere", "hf:some/model", "clip", "no-such-encoder"):
        assert tower_key(reference, {"dim": 384}) == ""


def test_what_was_kept_comes_back(tower: Path, empty: Path) -> None:
    assert not fetch_tower("a", empty)
    keep_tower("a", tower)
    assert fetch_tower("a", empty)
    assert {path.name: path.read_bytes() for path in empty.iterdir()} == {
        path.name: path.read_bytes() for path in tower.iterdir()
    }


@pytest.mark.parametrize("damage", ["changed", "gone", "list"])
def test_a_damaged_one_is_not_used_and_makes_room(
    tower: Path, empty: Path, cache: Path, damage: str
) -> None:
    keep_tower("a", tower)
    if damage == "changed":
        (cache / "a" / "model.onnx").write_bytes(b"grape")
    elif damage == "gone":
        (cache / "a" / "model.onnx").unlink()
    else:
        (cache / "a" / "files.json").write_text("[]")
    assert not fetch_tower("a", empty)
    assert list(empty.iterdir()) == []
    keep_tower("a", tower)
    assert fetch_tower("a", empty)


def test_the_least_used_goes(tower: Path, empty: Path, cache: Path) -> None:
    for name in "abcd":
        keep_tower(name, tower)
    assert fetch_tower("a", empty)
    keep_tower("e", tower)
    assert MOST == 4
    assert sorted(path.name for path in cache.iterdir()) == ["a", "c", "d", "e"]


def test_a_cache_that_cannot_be_written_is_done_without(
    tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMCLI_CACHE_DIR", str(tmp_path / "file"))
    keep_tower("a", tower)
    assert not fetch_tower("a", empty)
