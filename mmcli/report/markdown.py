"""Tables in Markdown, for the cards that go with a model.

Shows every value as its `str`; knows nothing about digits.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.report.page import columns_of


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row each, a column for every name that any has; None and what is absent is an empty cell.

    Source: GitHub Flavored Markdown, section 4.10.
    """
    names = columns_of(rows)
    lines = [_line(names), "|" + " --- |" * len(names)]
    return "\n".join([*lines, *(_line([row.get(name) for name in names]) for row in rows)])


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join("" if cell is None else _cell(str(cell)) for cell in cells) + " |"


def _cell(text: str) -> str:
    """On one line, and with no bar that would end the cell: a backslash before one is doubled."""
    return re.sub(r"(\\*)\|", r"\1\1\\|", " ".join(text.splitlines()))
