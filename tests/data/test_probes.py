"""Probing parts: whose fault it is when one cannot be read."""

import sys
from pathlib import Path

import pytest

from mmcli.data.decode import PartTask
from mmcli.data.probes import PartFacts, Probing, probe_parts


def probed(modality: str, path: Path) -> PartFacts:
    (facts,) = probe_parts([PartTask(0, modality, str(path), True)], Probing(digest=True))
    return facts


def test_a_defect_of_ours_is_not_blamed_on_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a kitten", "utf-8")
    with monkeypatch.context() as broken, pytest.raises(NameError, match="hashlib"):
        broken.delattr("mmcli.data.probes.hashlib")
        probed("text", path)
    with monkeypatch.context() as broken, pytest.raises(ImportError, match="main_script"):
        broken.delattr("mmcli.data.scripts.main_script")
        probed("text", path)
    assert not probed("text", path).error


def test_a_broken_part_and_a_missing_package_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert probed("image", tmp_path / "a.png").error == "corrupt"
    (tmp_path / "a.mp4").write_bytes(b"a film")
    monkeypatch.setitem(sys.modules, "av", None)
    facts = probed("video", tmp_path / "a.mp4")
    assert facts.error == "unseen" and "PyAV" in facts.message
