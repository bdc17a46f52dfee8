"""How well each rung does at each number of shots, and how sure that is.

One bootstrap holds both chances: which rows (or groups of rows) are tested on, and which draw of
shots came up. All cells share its resamples, so that differences are of the same rows and draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.classification import class_counts, overall_scores
from mmcli.metrics.statistics import draws, interval

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
MEASURES = ("accuracy", "macro_f1")
RESAMPLES = 1000


@dataclass(frozen=True)
class Cell:
    """One rung at one number of shots; predicted: int64 `(draws, test rows)`."""

    rung: str
    shots: int
    predicted: Labels


@dataclass(frozen=True)
class Scored:
    """Measures by name: mean over the draws, each draw's `(draws,)`, `(resamples,)`."""

    value: dict[str, float]
    each: dict[str, Floats]
    resampled: dict[str, Floats]

    def entry(self, name: str) -> dict[str, float]:
        """value, low, high at 95 %."""
        low, high = _ends(self.resampled[name])
        return {"value": self.value[name], "low": low, "high": high}

    def over_draws(self, name: str) -> float | None:
        """The standard deviation over draws."""
        return float(self.each[name].std(ddof=1)) if len(self.each[name]) > 1 else None


def score_cells(
    cells: Sequence[Cell],
    truth: Labels,
    classes: int,
    groups: Labels,
    seed: int,
    resamples: int = RESAMPLES,
) -> list[Scored]:
    """Each cell scored; truth, groups: `(test rows,)`.

    Of D draws each resample takes D - 1 with replacement, so that the spread of their mean is not
    too small by a factor (D - 1) / D, which for five draws counts (Rao and Wu 1988, JASA 83).
    """
    sums = [[_Sums(truth, p, classes, groups) for p in cell.predicted] for cell in cells]
    found: list[dict[str, list[Floats]]] = [{name: [] for name in MEASURES} for _ in cells]
    rng = np.random.default_rng((seed, 1))
    n_groups = int(groups.max(initial=-1)) + 1
    most = max((len(cell.predicted) for cell in cells), default=1)
    for weights in draws(n_groups, resamples if n_groups > 1 else 0, seed, width=len(truth)):
        chosen = rng.integers(0, most, (len(weights), max(1, most - 1)))
        counts = np.stack([(chosen == d).mean(axis=1) for d in range(most)], axis=1)
        for parts, here in zip(sums, found, strict=True):
            share = counts if len(parts) == most else np.full((len(weights), len(parts)), 1.0)
            each = [part.measures(weights) for part in parts]
            for name in MEASURES:
                values = np.stack([one[name] for one in each], axis=1)
                here[name].append((values * share).sum(axis=1) / share.sum(axis=1))
    return [
        _scored(
            cell, truth, classes, {n: np.concatenate([*v, np.zeros(0)]) for n, v in one.items()}
        )
        for cell, one in zip(cells, found, strict=True)
    ]


def steps(
    cells: Sequence[Cell], scored: Sequence[Scored], measure: str = "accuracy"
) -> list[dict[str, Any]]:
    """For each rung, what each number of shots adds to the one before, and the last to the first.

    The difference, its interval and a verdict: `rises`, `falls` or `no change shown`.
    """
    found = []
    for rung in dict.fromkeys(cell.rung for cell in cells):
        mine = [i for i, cell in enumerate(cells) if cell.rung == rung]
        pairs = list(pairwise(mine))
        if len(mine) > 2:
            pairs.append((mine[0], mine[-1]))
        for a, b in pairs:
            low, high = _ends(scored[b].resampled[measure] - scored[a].resampled[measure])
            word = "rises" if low > 0 else "falls" if high < 0 else "no change shown"
            found.append(
                {
                    "rung": rung,
                    "from": cells[a].shots,
                    "to": cells[b].shots,
                    "measure": measure,
                    "gain": scored[b].value[measure] - scored[a].value[measure],
                    "low": low,
                    "high": high,
                    "verdict": word,
                }
            )
    return found


def rising(found: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Whether a rung rises: more from the fewest to the most shots, and falling at no step."""
    rungs: dict[str, list[Mapping[str, Any]]] = {}
    for step in found:
        rungs.setdefault(step["rung"], []).append(step)
    return {
        rung: mine[-1]["verdict"] == "rises" and all(s["verdict"] != "falls" for s in mine)
        for rung, mine in rungs.items()
    }


class _Sums:
    """Rows of each class by group: that are it, were called it, and both, `(groups, classes)`."""

    def __init__(self, truth: Labels, predicted: Labels, classes: int, groups: Labels) -> None:
        n_groups = int(groups.max(initial=-1)) + 1

        def count(labels: Labels, of: NDArray[np.bool_] | slice) -> Floats:
            at = groups[of] * classes + labels[of]
            counted = np.bincount(at, minlength=n_groups * classes).astype(np.float64)
            return counted.reshape(n_groups, classes)

        self.support = count(truth, slice(None))
        self.predicted = count(predicted, slice(None))
        self.correct = count(truth, truth == predicted)

    def measures(self, weights: Floats) -> dict[str, Floats]:
        """Each measure `(resamples,)` as in `overall_scores`; weights `(resamples, groups)`."""
        support, correct = weights @ self.support, weights @ self.correct
        whole = support + weights @ self.predicted
        f1 = np.divide(2 * correct, whole, out=np.zeros_like(whole), where=whole > 0)
        there = support > 0
        return {
            "accuracy": correct.sum(axis=1) / support.sum(axis=1),
            "macro_f1": (f1 * there).sum(axis=1) / there.sum(axis=1),
        }


def _scored(cell: Cell, truth: Labels, classes: int, resampled: dict[str, Floats]) -> Scored:
    every = [overall_scores(class_counts(truth, p, classes)) for p in cell.predicted]
    each = {name: np.array([one[name] for one in every]) for name in MEASURES}
    return Scored({n: float(v.mean()) for n, v in each.items()}, each, resampled)


def _ends(resampled: Floats) -> tuple[float, float]:
    return interval(resampled) if len(resampled) else (float("nan"), float("nan"))
