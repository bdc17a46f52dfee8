"""How sure the measures of predictions are: intervals, and differences of two on the same rows.

Knows nothing about files; it is given judges and which rows are drawn together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.resampling import interval_where_defined, row_weights
from mmcli.metrics.statistics import LEVEL, sign_flip_test
from mmcli.workflows.predictions.measures import Judge

Groups = NDArray[np.int64]
#: One number a judge; and of every resample.
Values = dict[str, tuple[float, ...]]
Drawn = list[tuple[float, ...]]
#: Rows that the slow measures may go over in all: about eight seconds. Each resample also costs as
#: much as so many rows.
_BUDGET, _OVERHEAD = 2_000_000_000, 3000
#: With fewer resamples than this the ends of an interval say little, so there is none.
_LEAST = 100


@dataclass(frozen=True)
class Draws:
    """How rows are resampled.

    groups: `(rows,)` from 0, drawn whole; None for each row by itself. share: of the time that
    slow measures may take.
    """

    resamples: int = 1000
    seed: int = 0
    groups: Groups | None = None
    share: float = 1.0

    def among(self, rows: NDArray[Any], share: float = 1.0) -> "Draws":
        """The same for some of the rows."""
        if self.groups is None:
            return Draws(self.resamples, self.seed, None, share)
        _, groups = np.unique(self.groups[rows], return_inverse=True)
        return Draws(self.resamples, self.seed, groups.astype(np.int64), share)

    def slow(self, rows: int, passes: int) -> int:
        """Resamples that measures of so many passes over the rows get; 0 when too few."""
        possible = int(self.share * _BUDGET / max(1, passes * (rows + _OVERHEAD)))
        if possible >= self.resamples:
            return self.resamples
        return possible if possible >= _LEAST else 0


@dataclass(frozen=True)
class Summary:
    """Measures with their intervals, and how many resamples those have that got fewer."""

    measures: dict[str, dict[str, float]]
    fewer: dict[str, int]

    def report(self, rows: int) -> dict[str, Any]:
        """As a part of a report."""
        fewer = {"fewer_resamples": self.fewer} if self.fewer else {}
        return {"rows": rows, "measures": self.measures, **fewer}


def summarise(judge: Judge, draws: Draws) -> Summary:
    """`{measure: {value, low, high}}`: the percentile interval at 95 % (Efron and Tibshirani)."""
    found, drawn = _measured([judge], draws)
    measures = {}
    for name, (value,) in found.items():
        low, high = interval_where_defined(np.array([one for (one,) in drawn[name]]))
        measures[name] = {"value": value, "low": low, "high": high}
    return Summary(measures, _fewer(drawn))


def compare(this: Judge, other: Judge, draws: Draws) -> Summary:
    """`{measure: {this, other, difference, low, high, p}}`, of the measures that both have.

    The interval is a paired bootstrap of this minus the other; p, where the measure is a mean over
    rows, a two-sided sign-flip permutation test, else NaN.
    """
    found, drawn = _measured([this, other], draws)
    p = _flip_tests(this, other, draws)
    measures = {}
    for name, (mine, theirs) in found.items():
        differences = np.array([a - b for a, b in drawn[name]])
        low, high = interval_where_defined(differences)
        measures[name] = {
            "this": mine,
            "other": theirs,
            "difference": mine - theirs,
            "low": low,
            "high": high,
            "p": p.get(name, float("nan")),
        }
    return Summary(measures, _fewer(drawn))


def _measured(judges: list[Judge], draws: Draws) -> tuple[Values, dict[str, Drawn]]:
    """Each measure of every judge on all rows, and in each resample that it gets."""
    rows, every = judges[0].rows, np.ones(judges[0].rows)
    slow = [judge.slow for judge in judges if judge.slow is not None]
    slow = slow if len(slow) == len(judges) else []
    most = draws.slow(rows, max(judge.passes for judge in judges))
    found = _together([judge.quick(every) for judge in judges])
    found |= _together([measure(every) for measure in slow])
    drawn: dict[str, Drawn] = {name: [] for name in found}
    for i, weights in enumerate(row_weights(rows, draws.resamples, draws.seed, draws.groups)):
        here = _together([judge.quick(weights) for judge in judges])
        if i < most:
            here |= _together([measure(weights) for measure in slow])
        for name, values in here.items():
            drawn[name].append(values)
    return found, drawn


def _together(measured: list[Mapping[str, float]]) -> Values:
    """Each measure that all have, side by side."""
    names = measured[0] if measured else ()
    return {
        n: tuple(float(of[n]) for of in measured) for n in names if all(n in m for m in measured)
    }


def _fewer(drawn: Mapping[str, Drawn]) -> dict[str, int]:
    most = max(map(len, drawn.values()), default=0)
    return {name: len(values) for name, values in drawn.items() if len(values) < most}


def _flip_tests(this: Judge, other: Judge, draws: Draws) -> dict[str, float]:
    names = [name for name in this.by_row if name in other.by_row]
    if not names:
        return {}
    differences = np.stack([this.by_row[n] - other.by_row[n] for n in names], axis=1)
    # a row that a measure is not about has no difference, whatever its sign
    p = sign_flip_test(np.nan_to_num(differences), draws.seed, draws.groups)
    return dict(zip(names, p.tolist(), strict=True))


def described(
    draws: Draws, group_by: str | None, rows: int, fewer: Mapping[str, int]
) -> dict[str, Any]:
    """What a report says of its intervals."""
    drawn = rows if draws.groups is None else int(draws.groups.max(initial=-1)) + 1
    return {
        "level": LEVEL,
        "resamples": draws.resamples,
        "groups": group_by,
        "drawn": drawn,
        "seed": draws.seed,
        "fewer_resamples": dict(fewer),
    }
