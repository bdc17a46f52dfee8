"""Tux Paint stamps, aligned over five folds."""

import re
from collections.abc import Callable

import pytest


@pytest.mark.example
def test_align_stamps(stamps: Callable[..., str]) -> None:
    """Over five folds of half the stamps every aligner is far above the bridge."""
    printed = stamps(
        "align_stamps.sh", "tuxpaint", "linear:ridge,linear:kernel,contrastive", every=2
    )
    hits: dict[str, tuple[float, float]] = {}
    for line in printed.splitlines():
        values = re.findall(r"(0\.\d{3}) ± 0\.\d{3}", line)
        if len(values) >= 4:  # the first row's columns come first, those of gains after them
            hits[line.split()[0]] = (float(values[0]), float(values[1]))
    assert set(hits) == {"before", "linear:ridge", "linear:kernel", "contrastive"}
    assert 0.23 < hits["before"][0] < 0.30
    assert 0.47 < hits["before"][1] < 0.57
    assert hits["linear:kernel"][0] >= 0.42
    assert hits["linear:kernel"][1] >= 0.79
    assert hits["contrastive"][0] > hits["before"][0] + 0.1
