"""Tux Paint stamps, found by their captions and recordings."""

import re
from collections.abc import Callable

import pytest


@pytest.mark.slow
def test_tuxpaint_search(stamps: Callable[..., str]) -> None:
    """The figures of the design are floors: captions 0.14 and 0.27, recordings 0.30 and 0.43."""
    printed = stamps("tuxpaint_search.sh", own=True)
    found = re.findall(r"^(\d+) (\w+): hit@1 (\S+), hit@10 (\S+)$", printed, re.MULTILINE)
    figures = {name: (int(n), float(one), float(ten)) for n, name, one, ten in found}
    assert figures["captions"][0] == 785
    assert figures["captions"][1] >= 0.14
    assert figures["captions"][2] >= 0.27
    assert figures["recordings"][0] == 65
    assert figures["recordings"][1] >= 0.30
    assert figures["recordings"][2] >= 0.43
