"""Columns written into a text: what stands there, in which order, and what is left out."""

import math
from typing import Any

import pytest

from mmcli.fusion.early.as_text import example, written


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("a red chair", {"price": 12.5, "city": "Paris"}, "a red chair. price: 12.5, city: Paris"),
        ("a red chair", {"city": "Paris", "price": 12.5}, "a red chair. city: Paris, price: 12.5"),
        ("Is it red?", {"price": 3.0}, "Is it red? price: 3"),
        ("椅子。", {"price": 3.0}, "椅子。 price: 3"),
        ("a red chair", {"price": None, "size": math.nan, "city": " "}, "a red chair"),
        ("a red chair", {"price": math.nan, "city": "Paris"}, "a red chair. city: Paris"),
        (None, {"price": 0, "sold": False, "new": True}, "price: 0, sold: false, new: true"),
        (" ", {"price": 12.5}, "price: 12.5"),
        ("a red chair", {}, "a red chair"),
        ("a", {"id": 1234567, "share": 1 / 3, "tiny": 1e-9},
         "a. id: 1234567, share: 0.333333, tiny: 1e-09"),
        (None, {"price": None}, ""),
        (None, {}, ""),
    ],
)  # fmt: skip
def test_written(text: str | None, columns: dict[str, Any], expected: str) -> None:
    assert written(text, columns) == expected


def test_the_example_shows_what_is_written() -> None:
    assert example()[1:] == [
        'all present:   "a red chair. price: 12.5, city: Paris"',
        'price missing: "a red chair. city: Paris"',
        'text missing:  "price: 12.5, city: Paris"',
    ]
