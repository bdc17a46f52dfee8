"""What validation remembers of every row: a few bytes of content, place, duration, split, label.

Finds rows that repeat others by them. Knows numbers of rows, never what to call them.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.data.decode import PartTask
from mmcli.data.probes import PartFacts

Numbers = NDArray[np.int64]
#: Columns that make rows of one file different: windows of a recording.
SPAN_COLUMNS = ("start_s", "end_s", "start_char", "end_char")


class Ledger:
    """Arrays over the rows. parts: modalities that occur."""

    def __init__(self, rows: int, parts: Sequence[str]) -> None:
        self.rows = rows
        self.content = {part: np.zeros((rows, 2), np.uint64) for part in parts}
        self.place = {part: np.zeros(rows, np.int64) for part in parts if part != "text"}
        self.item = np.zeros((rows, 2), np.uint64)
        self.duration = {p: np.zeros(rows, np.float32) for p in parts if p in ("speech", "video")}
        self.split = np.zeros(rows, np.int32)
        self.split_names = [""]
        self.label = np.zeros(rows, np.int64)
        self.group = np.zeros(rows, np.int64)
        self._parts_of: dict[int, list[bytes]] = {}

    def see(self, task: PartTask, facts: PartFacts) -> None:
        """Note a part that is sound, or that could not be read."""
        row = task.row
        told = facts.digest or task.value.encode("utf-8", "surrogatepass")
        if facts.digest and not facts.error:
            self.content[task.modality][row] = np.frombuffer(facts.digest, np.uint64)
        if task.modality in self.place:
            self.place[task.modality][row] = hash(task.value) or 1
        if facts.duration_s and task.modality in self.duration:
            self.duration[task.modality][row] = facts.duration_s
        self._parts_of.setdefault(row, []).append(task.modality.encode() + b"\0" + told)

    def close_row(self, row: int, span: str) -> bool:
        """All parts of a row were seen. Returns whether it has any."""
        parts = self._parts_of.pop(row, [])
        if not parts:
            return False
        found = hashlib.blake2b(digest_size=16)
        for part in [*sorted(parts), span.encode("utf-8", "surrogatepass")]:
            found.update(len(part).to_bytes(8, "little") + part)
        self.item[row] = np.frombuffer(found.digest(), np.uint64)
        return True

    def splits(self, start: int, values: Sequence[Any]) -> None:
        """The splits of some rows."""
        for at, value in enumerate(values, start):
            name = "" if value is None else str(value)
            if name not in self.split_names:
                self.split_names.append(name)
            self.split[at] = self.split_names.index(name)

    def split_of(self, row: int) -> str:
        """The name of a row's split, "" without one."""
        return self.split_names[int(self.split[row])]


def hashed(values: Sequence[Any]) -> Numbers:
    """A number for each value, 0 where there is none."""
    return np.fromiter(
        (0 if v is None or v == "" else hash(str(v)) or 1 for v in values), np.int64, len(values)
    )


def repeats(
    keys: NDArray[np.uint64], among: NDArray[np.bool_] | None = None
) -> tuple[Numbers, Numbers]:
    """Rows whose key an earlier row has, ascending, and the first row of that key.

    keys: `(rows, 2)`; one of zeros is none. among: only these rows.
    """
    there = keys.any(axis=1)
    rows = np.flatnonzero(there if among is None else there & among)
    order = np.lexsort((rows, keys[rows, 1], keys[rows, 0]))
    sorted_rows = rows[order]
    sorted_keys = keys[sorted_rows]
    starts = np.ones(len(rows), bool)
    starts[1:] = (sorted_keys[1:] != sorted_keys[:-1]).any(axis=1)
    first = sorted_rows[np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))]
    again = np.flatnonzero(~starts)
    by_row = np.argsort(sorted_rows[again], kind="stable")
    return (
        sorted_rows[again][by_row].astype(np.int64),
        first[again][by_row].astype(np.int64),
    )


def across(values: Numbers, splits: NDArray[np.int32]) -> list[tuple[int, int]]:
    """For each value that lies in several splits, its first row and its first row elsewhere."""
    rows = np.flatnonzero((values != 0) & (splits != 0))
    order = np.lexsort((rows, values[rows]))
    rows = rows[order]
    starts = np.flatnonzero(np.diff(values[rows], prepend=np.int64(0)) != 0)
    found = []
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        group = rows[start:stop]
        other = group[splits[group] != splits[group[0]]]
        if len(other):
            found.append((int(group[0]), int(other[0])))
    return sorted(found)
