"""Tux Paint stamps, told apart from few shots, or none."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.example
def test_fewshot(stamps: Callable[..., str], tmp_path: Path) -> None:
    """Every rung rises from one shot to eight; the cache beats names alone from one shot on."""
    printed = stamps("fewshot.sh", "tuxpaint", "1,4,8", every=3)
    for rung in ("probe", "tip-adapter", "tip-adapter-f"):
        assert f"{rung} from 1 to 8 shots: rises" in printed
    found = re.findall(r"^(\S+) +(\d+) +\d+ +(0\.\d+) \[(0\.\d+), (0\.\d+)\]", printed, re.M)
    scores = {(rung, int(shots)): float(value) for rung, shots, value, _, _ in found}
    assert len(scores) == 1 + 3 * 3
    assert 0.2 < scores["zero-shot", 0] < scores["tip-adapter", 1] < 0.5
    assert scores["probe", 8] > 0.55 and scores["tip-adapter-f", 8] > 0.57
    report = json.loads((tmp_path / "tuxpaint/ladder/metrics.json").read_text("utf-8"))
    assert all(report["rises"].values()) and report["rows"]["test"] == 128
    assert report["ladder"][0]["accuracy"]["value"] < 0.35  # of guessing the largest class
