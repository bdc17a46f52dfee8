"""One measure where it may differ: in slices of the judged rows, and with modalities left out.

Knows columns of a store and what was said of rows; nothing about models or HTML.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.types import PART_COLUMNS
from mmcli.data.groups import encode
from mmcli.data.splits import FOLD_COLUMN
from mmcli.fusion.inputs import Inputs, Rows
from mmcli.fusion.objective import Objective
from mmcli.metrics.choice import Measure
from mmcli.metrics.resampling import interval_where_defined, resampled
from mmcli.store.reader import Store

Floats = NDArray[np.float64]
RESAMPLES = 500
#: Values of a column that is sliced by, and columns at most.
FEWEST_VALUES, MOST_VALUES, MOST_COLUMNS = 2, 20, 12
_NEVER = ("id", *PART_COLUMNS, "transcript", FOLD_COLUMN)


@dataclass(frozen=True)
class Scored:
    """A measure of the judged rows. truth: `(rows,)` or `(rows, classes)`; groups: `(rows,)`,
    numbers of what is resampled together."""

    objective: Objective
    measure: Measure
    truth: Any
    groups: NDArray[np.int64]
    seed: int = 0

    def value(self, shares: Floats, at: Any = slice(None)) -> dict[str, float]:
        """`{value, low, high}` of what was said of all rows, on those at `at`; 95 %."""
        return self._summary({"value": shares}, at, lambda found: found["value"])

    def gain(self, shares: Floats, other: Floats) -> dict[str, float]:
        """`{value, low, high}`: how much better these are than the other, signed so."""
        sign = 1.0 if self.measure.greater else -1.0
        said = {"this": shares, "other": other}
        return self._summary(said, slice(None), lambda f: sign * (f["this"] - f["other"]))

    def _summary(
        self, said: dict[str, Floats], at: Any, of: Callable[[dict[str, float]], float]
    ) -> dict[str, float]:
        truth = self.truth[at]
        given = {n: (s[at], self.objective.predicted(s[at])) for n, s in said.items()}
        _, groups = np.unique(self.groups[at], return_inverse=True)

        def values(weights: Floats) -> dict[str, float]:
            each = {n: self.measure.value(truth, s, p, weights) for n, (s, p) in given.items()}
            return {"": of(each)}

        drawn = resampled(values, len(truth), RESAMPLES, self.seed, groups.astype(np.int64))[""]
        low, high = interval_where_defined(drawn)
        return {"value": values(np.ones(len(truth)))[""], "low": low, "high": high}


def slices(
    scored: Scored,
    shares: Floats,
    store: Store,
    rows: Rows,
    inputs: Inputs,
    without: Collection[str] = (),
) -> list[dict[str, Any]]:
    """`{slice, value, rows, score}` of each value of the columns that have 2 to 20 of them.

    Which parts a row has comes first. without: columns that say nothing of the model, such as the
    label and the split. A row without a value is in no slice of that column.
    """
    found = []
    for name, codes, values in _columns(store, rows, inputs, without):
        sizes = np.bincount(codes[codes >= 0], minlength=len(values))
        for code in np.argsort(-sizes, kind="stable"):
            if sizes[code]:
                score = scored.value(shares, np.flatnonzero(codes == code))
                said = {"slice": name, "value": str(values[code]), "rows": int(sizes[code])}
                found.append({**said, "score": score})
    return found


def modalities(
    scored: Scored,
    shares: Floats,
    names: Sequence[str],
    said: Callable[[Sequence[str]], Floats],
) -> list[dict[str, Any]]:
    """`{modality, alone, without, loss}`: the score of each by itself, the score without it, and
    what leaving it out costs on the same rows. Nothing for a single one.

    said: what is said of the rows when these modalities are taken as absent.
    """
    if len(names) < 2:
        return []
    found = []
    for name in names:
        left = said([name])
        found.append(
            {
                "modality": name,
                "alone": scored.value(said([other for other in names if other != name])),
                "without": scored.value(left),
                "loss": scored.gain(shares, left),
            }
        )
    return found


def _columns(
    store: Store, rows: Rows, inputs: Inputs, without: Collection[str]
) -> list[tuple[str, NDArray[np.intp], list[Any]]]:
    """Name, the number of each row's value (-1: none) and the values of what is sliced by."""
    found: list[tuple[str, NDArray[np.intp], list[Any]]] = []
    for name, there in zip(inputs.names, inputs.present(rows).T, strict=True):
        if 0 < there.sum() < len(there):
            found.append((f"has {name}", there.astype(np.intp), ["no", "yes"]))
    known = [n for n in store.columns if n not in (*_NEVER, *without) and not n.startswith("has_")]
    for name in known:
        column = store.items([name]).column(name)
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            continue
        codes, values = encode(column)
        here = codes[rows]
        different = len(np.unique(here[here >= 0]))
        if FEWEST_VALUES <= different <= MOST_VALUES:
            found.append((name, here, values))
        if len(found) == MOST_COLUMNS:
            break
    return found
