"""Tux Paint stamps, found by their captions and recordings."""

import re
from collections.abc import Callable

import pytest


@pytest.mark.example
def test_tuxpaint_search(stamps: Callable[..., str]) -> None:
    """Among a third of the stamps; `python -m tests.bench stamps` takes all of them."""
    printed = stamps("tuxpaint_search.sh", "tuxpaint", every=3)
    found = re.findall(r"^(\d+) (\w+): hit@1 (\S+), hit@10 (\S+)$", printed, re.MULTILINE)
    figures = {name: (int(n), float(one), float(ten)) for n, name, one, ten in found}
    assert figures["captions"][0] == 319
    assert figures["captions"][1] >= 0.2
    assert figures["captions"][2] >= 0.33
    assert figures["recordings"][0] == 19
    assert figures["recordings"][1] >= 0.35
    assert figures["recordings"][2] >= 0.42
