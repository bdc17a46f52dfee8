"""Tables in Markdown: any text keeps to its cell, as GitHub reads a row."""

import re
from typing import Any

import pytest

from mmcli.report.markdown import markdown_table
from mmcli.workflows.finetune.streams.page import card


def cells(line: str) -> list[str]:
    """Of a row, by GitHub's rule: a backslash takes the next character with it."""
    found = re.findall(r"((?:\\.|[^|\\])*)\|", line)[1:]
    return [re.sub(r"\\([|\\])", r"\1", cell.strip()) for cell in found]


def test_a_table_has_every_column_and_empty_cells() -> None:
    rows: list[dict[str, Any]] = [{"model": "a", "score": 1}, {"model": None, "p": "0.5"}]
    assert markdown_table(rows).split("\n") == [
        "| model | score | p |",
        "| --- | --- | --- |",
        "| a | 1 |  |",
        "|  |  | 0.5 |",
    ]


@pytest.mark.parametrize("word", ["a|b", "|", r"a\|b", r"a\\|", "a || b"])
def test_a_bar_stays_in_its_cell(word: str) -> None:
    head, _, row = markdown_table([{word: word, "rows": 3}]).split("\n")
    assert cells(row) == [word, "3"] and cells(head) == [word, "rows"]


@pytest.mark.parametrize("word", ["two\nlines", "two\r\nlines", "two\rlines"])
def test_a_cell_is_one_line(word: str) -> None:
    assert markdown_table([{"class": word}]).split("\n")[2:] == ["| two lines |"]


def test_the_card_of_a_class_with_a_bar() -> None:
    """It broke the row: `a|b` took two cells of the card."""
    counts = {"recordings": 2}
    report = {
        "rows": {"train": counts, "val": counts, "test": counts},
        "modalities": {"speech": ["whisper"]},
        "classes": ["a|b"],
        "chosen": {"rate_hz": 10.0},
        "splits": "column",
        "kept_seed": 0,
        "scored_rows": "test",
        "lines": [],
        "table": [{"model": "both", "f1": 0.5}],
        "tables": {"by class": [{"class": "a|b", "f1": 0.5, "n": 2}]},
    }
    row = next(line for line in card(report, "").split("\n") if line.startswith("| a"))
    assert cells(row) == ["a|b", "0.500", "2"]
