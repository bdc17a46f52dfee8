"""What may be wrong with a column of labels: missing ones, rare classes, two spellings of one.

Sees the column a run of rows at a time. Knows nothing about where the rows are from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.data.cells import floats_of, plain
from mmcli.data.tallies import ColumnTally

#: More classes than this, or than a tenth of the rows, are taken to be no classes.
_MOST_CLASSES = 100


@dataclass(frozen=True)
class LabelProblem:
    """One problem. row: an example of it, -1 where none is known; value: the label."""

    row: int
    value: str
    message: str


class LabelWatch:
    """Watches a label column go by."""

    def __init__(self, name: str, kind: pa.DataType) -> None:
        self.name = name
        self.tally = ColumnTally(kind)
        self._first: dict[str, int] = {}
        self._missing = -1
        self._infinite: list[int] = []

    def see(self, start: int, column: Any) -> None:
        """Take rows from `start` on in."""
        self.tally.see(column)
        values = plain(column)
        if values.null_count and self._missing < 0:
            valid = values.is_valid().to_numpy(zero_copy_only=False)
            self._missing = start + int(np.argmin(valid))
        if self.tally.form == "number":
            numbers = floats_of(values)
            valid = values.is_valid().to_numpy(zero_copy_only=False)
            self._infinite += (start + np.flatnonzero(valid & ~np.isfinite(numbers))).tolist()
        elif not self.tally.many and self.tally.form != "other":
            for at, value in enumerate(values.to_pylist(), start):
                for one in value if isinstance(value, list) else (value,):
                    if one is not None:
                        self._first.setdefault(_text(one), at)

    def problems(self) -> Iterator[LabelProblem]:
        """All that is wrong, once every row was seen."""
        if self.tally.missing:
            message = f"{self.tally.missing} of {self.tally.rows} rows have no `{self.name}`"
            yield LabelProblem(self._missing, "", message)
        for row in self._infinite:
            yield LabelProblem(row, "", f"`{self.name}` is NaN or an infinity")
        counts = self.tally.counts
        if self.tally.form in ("text", "list", "bool", "integer") and not self.tally.many:
            if len(counts) == 1:
                value = next(iter(counts))
                yield LabelProblem(self._row(value), value, f"`{self.name}` has this value only")
            yield from self._spellings()
        if len(counts) > max(_MOST_CLASSES, self.tally.rows // 10) or len(counts) == 1:
            return
        for value, count in counts.items():
            if count == 1:
                yield LabelProblem(self._row(value), value, "the class has one row only")

    def _spellings(self) -> Iterator[LabelProblem]:
        alike: dict[str, list[str]] = {}
        for value in self.tally.counts:
            alike.setdefault(" ".join(value.casefold().split()), []).append(value)
        for values in alike.values():
            common = max(values, key=lambda value: self.tally.counts[value])
            for value in values:
                if value != common:
                    message = (
                        f"spelled otherwise than `{common}`"
                        f" ({self.tally.counts[value]} and {self.tally.counts[common]} rows)"
                    )
                    yield LabelProblem(self._row(value), value, message)

    def _row(self, value: str) -> int:
        return self._first.get(value, -1)


def _text(value: Any) -> str:
    return str(value)
