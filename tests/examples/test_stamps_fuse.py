"""Tux Paint stamps, told apart by picture, caption and recording."""

import re
from collections.abc import Callable

import pytest


@pytest.mark.example
def test_fuse_stamps(stamps: Callable[..., str]) -> None:
    """Picture and caption together know the category better than either, and say by how much."""
    printed = stamps("fuse_stamps.sh", "tuxpaint", "late:product", every=3)
    scores = {}
    for line in printed.splitlines():
        found = re.match(r"(single:\w+|early:concat|late:\w+) +\d+ +0\.\d+ +(0\.\d+)", line)
        if found:
            scores[found[1]] = float(found[2])
    assert set(scores) == {"single:image", "single:text", "single:speech", "early:concat",
                           "late:mean", "late:product"}  # fmt: skip
    assert scores["single:text"] > 0.68 and scores["single:image"] > 0.6
    assert scores["single:speech"] > 0.3
    assert scores["early:concat"] > max(scores["single:text"], scores["single:image"])
    assert re.search(r"late:product against single:\w+: (no )?(gain|loss) shown", printed)
