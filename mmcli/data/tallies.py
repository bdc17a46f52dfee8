"""Sums over many rows in bounded memory: numbers by their spread, values by how often they occur.

Knows Arrow columns and numbers; nothing about what they mean.
"""

import math
from array import array
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcli.data.cells import form_of, plain

#: Different values of a column that are counted by name; beyond it only how many rows have one.
MOST_VALUES = 10_000
#: Values shown of a column, most frequent first.
SHOWN = 20


class Spread:
    """Numbers, four bytes each; the ends, the middle and the sum of them."""

    def __init__(self) -> None:
        self._values = array("f")

    def add(self, value: float) -> None:
        """Take a number in; NaN is left out."""
        if math.isfinite(value):
            self._values.append(value)

    def extend(self, values: Any) -> None:
        """Take the finite numbers of an array in."""
        kept = values[np.isfinite(values)]
        self._values.frombytes(kept.astype(np.float32).tobytes())

    def __len__(self) -> int:
        return len(self._values)

    def array(self) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """The numbers as they came."""
        return np.frombuffer(self._values, np.float32) if self._values else np.zeros(0, np.float32)

    def summary(self) -> dict[str, float | int]:
        """count, min, median, mean, p95, max; {} of nothing."""
        if not self._values:
            return {}
        values = self.array().astype(np.float64)
        median, p95 = np.quantile(values, [0.5, 0.95])
        return {
            "count": len(values),
            "min": _short(values.min()),
            "median": _short(median),
            "mean": _short(values.mean()),
            "p95": _short(p95),
            "max": _short(values.max()),
        }

    def total(self) -> float:
        """The sum."""
        return _short(self.array().sum(dtype=np.float64))


class ColumnTally:
    """One column: missing rows, and the numbers or the values that it holds."""

    def __init__(self, kind: pa.DataType) -> None:
        self.form = form_of(kind)
        self.rows = 0
        self.missing = 0
        self._counts: Counter[str] = Counter()
        self._numbers = Spread()
        self.many = False

    def see(self, column: Any) -> None:
        """Take some rows in. Of a list every element counts once a row."""
        values = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
        values = plain(values)
        self.rows += len(values)
        self.missing += values.null_count
        if self.form == "list":
            values = pc.list_flatten(values)
            if form_of(values.type) in ("list", "other"):
                return
            values = plain(values)
        if self.form in ("integer", "number"):
            self._numbers.extend(pc.cast(values.drop_null(), pa.float64(), safe=False).to_numpy())
        if self.form in ("number", "other") or self.many:
            return
        for entry in pc.value_counts(values.drop_null()).to_pylist():
            self._counts[str(entry["values"])] += entry["counts"]
        if len(self._counts) > MOST_VALUES:
            self.many = True
            self._counts.clear()

    @property
    def counts(self) -> Counter[str]:
        """How often each value occurs; empty where there are more than `MOST_VALUES`."""
        return self._counts

    def summary(self) -> dict[str, Any]:
        """type, missing, distinct, the most frequent values, the spread of numbers."""
        found: dict[str, Any] = {"type": self.form, "missing": self.missing}
        spread = self._numbers.summary()
        if self.form in ("number", "other"):
            return found | spread
        found["distinct"] = f"over {MOST_VALUES}" if self.many else len(self._counts)
        few = len(self._counts) <= max(SHOWN, self.rows // 2)
        if self.form == "integer" and (self.many or not few):
            return found | spread
        if few and not self.many:
            found["values"] = dict(self._counts.most_common(SHOWN))
        return found


def _short(value: float) -> float:
    """Six digits: more say nothing about data."""
    number = float(f"{float(value):.6g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number
