"""Ids of table rows: how they are made, and that no two are equal, in eight bytes a row.

Knows nothing about files. Duplicates are found in two steps: equal hashes while the table is
scanned, then, among the rows with those hashes only, equal ids while it is spooled.
"""

import unicodedata
from array import array
from collections.abc import Callable, Sequence

import numpy as np

from mmcli.core.errors import BadInput

#: Shortest row number as an id, fixed so that ids do not change when a table grows.
_DIGITS = 8
#: Hashes followed up at once; one true duplicate is all that is needed to refuse the table.
_MAX_SUSPECTS = 1000

Where = Callable[[int], str]


def numbered(start: int, stop: int) -> list[str]:
    """Ids of rows that have none: the row number from 0, padded with zeros."""
    return [f"{row:0{_DIGITS}d}" for row in range(start, stop)]


def normalised(ids: Sequence[str | None], lines: Sequence[int], where: Where) -> list[str]:
    """The ids in NFC. Raises BadInput naming the row of an empty one."""
    for line, item_id in zip(lines, ids, strict=True):
        if not item_id:
            raise BadInput(
                f"{where(line)}: the id is empty", "give every row an id, or none of them"
            )
    return [i if i.isascii() else unicodedata.normalize("NFC", i) for i in ids if i]


class UniqueIds:
    """Finds two rows of one id: `scan` every id, then `check` every id again, in the same order."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._suspects: frozenset[int] | None = None
        self._first: dict[str, int] = {}

    def scan(self, ids: Sequence[str]) -> None:
        """First pass: remember the hashes."""
        self._hashes.extend(map(hash, ids))

    def check(self, ids: Sequence[str], lines: Sequence[int], where: Where) -> None:
        """Second pass. Raises BadInput that names both rows of a duplicate."""
        if self._suspects is None:
            self._suspects = self._find_suspects()
        if not self._suspects:
            return
        for item_id, line in zip(ids, lines, strict=True):
            if hash(item_id) not in self._suspects:
                continue
            first = self._first.setdefault(item_id, line)
            if first != line:
                raise BadInput(
                    f'{where(line)}: id "{item_id}" is the id of {where(first)} too',
                    "ids must be unique; without an `id` column, rows are numbered",
                )

    def _find_suspects(self) -> frozenset[int]:
        hashes = np.sort(np.frombuffer(self._hashes, np.int64)) if self._hashes else np.empty(0)
        self._hashes = array("q")
        repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        return frozenset(repeated[:_MAX_SUSPECTS].tolist())
