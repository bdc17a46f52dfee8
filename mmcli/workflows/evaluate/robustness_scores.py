"""Curves of a score over the grades of a corruption: intervals, drops, the area under them.

Knows probabilities and truth; nothing about corruptions, models or files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.fusion.objective import Objective
from mmcli.metrics.choice import Measure
from mmcli.metrics.resampling import interval_where_defined, resampled
from mmcli.metrics.statistics import bootstrap_means

Floats = NDArray[np.float64]
#: Values of a measure that is no mean over rows, computed at most: rows x resamples x points.
_MOST_VALUES = 100_000_000
#: With fewer resamples than this the ends of an interval say little.
_LEAST = 100


@dataclass(frozen=True)
class Judge:
    """What scores are made of.

    truth: labels of the rows under evaluation. groups: `(rows,)` from 0, drawn whole; None for each
    row by itself.
    """

    truth: Any
    objective: Objective
    measure: Measure
    resamples: int
    seed: int
    groups: NDArray[np.int64] | None = None

    def score(self, shares: Any) -> float:
        """The measure on all rows."""
        ones = np.ones(len(self.truth))
        return self.measure.value(self.truth, shares, self.objective.predicted(shares), ones)

    def worse_by(self, clean: float, score: float) -> float:
        """How much worse a score is than the clean one: positive is worse, whatever the measure."""
        return self.measure.signed(clean) - self.measure.signed(score)


def affordable(measure: Measure, resamples: int, rows: int, points: int) -> int:
    """Resamples of so many points that a measure gets: fewer where it is slow and rows are many."""
    work = max(1, rows * points)
    if measure.by_row is not None or resamples * work <= _MOST_VALUES:
        return resamples
    return min(resamples, max(_LEAST, _MOST_VALUES // work))


def scored(judge: Judge, clean: Any, graded: Sequence[Any]) -> list[dict[str, float]]:
    """The clean score, then that of each grade: `{score, low, high, drop, drop_low, drop_high}`.

    clean, graded: probabilities or values of the rows. The interval of a drop is a paired bootstrap
    at 95 %: the same rows are drawn for both. NaN where a measure has no value.
    """
    every = [clean, *graded]
    scores = [judge.score(shares) for shares in every]
    ends, drops = _ends(judge, every)
    return [
        {
            "score": score,
            "low": low,
            "high": high,
            "drop": judge.worse_by(scores[0], score),
            "drop_low": drop_low,
            "drop_high": drop_high,
        }
        for score, (low, high), (drop_low, drop_high) in zip(scores, ends, drops, strict=True)
    ]


def summary(judge: Judge, points: Sequence[dict[str, float]]) -> dict[str, float]:
    """Area under a curve of points, the clean one first, and what is lost.

    The grades stand at equal distances from 0 (clean) to 1 (the last). relative_area: over the
    clean score, NaN unless that is above 0. drop: the mean one along the curve; last_drop: at its
    end; positive is worse. Source: the area of Liang et al. 2021, arXiv 2107.07502, without
    normalising it by other methods.
    """
    values = np.array([point["score"] for point in points])
    area = float(((values[1:] + values[:-1]) / 2).mean()) if len(values) > 1 else float("nan")
    clean = float(values[0])
    return {
        "area": area,
        "relative_area": area / clean if clean > 0 else float("nan"),
        "drop": judge.worse_by(clean, area),
        "last_drop": points[-1]["drop"],
    }


def strict(value: float) -> float | None:
    """A number as JSON has it: None for one that is none."""
    return float(value) if math.isfinite(value) else None


def _ends(
    judge: Judge, every: Sequence[Any]
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Intervals of the scores, and of the drops from the first."""
    measure, objective = judge.measure, judge.objective
    predicted = [objective.predicted(shares) for shares in every]
    if measure.by_row is not None:
        rows = [measure.by_row(judge.truth, s, p) for s, p in zip(every, predicted, strict=True)]
        sign = measure.signed(1.0)
        columns = np.stack([*rows, *(sign * (rows[0] - row) for row in rows)], axis=1)
        found = bootstrap_means(columns, judge.resamples, judge.seed, judge.groups)
        pairs = list(zip(found.low.tolist(), found.high.tolist(), strict=True))
        return pairs[: len(every)], pairs[len(every) :]

    def all_of(weights: Floats) -> dict[str, float]:
        return {
            str(i): measure.value(judge.truth, s, p, weights)
            for i, (s, p) in enumerate(zip(every, predicted, strict=True))
        }

    drawn = resampled(all_of, len(judge.truth), judge.resamples, judge.seed, judge.groups)
    values = [drawn[str(i)] for i in range(len(every))]
    sign = measure.signed(1.0)
    return (
        [interval_where_defined(v) for v in values],
        [interval_where_defined(sign * (values[0] - v)) for v in values],
    )
