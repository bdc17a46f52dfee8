"""The honest table: every model of a run on the same rows, with intervals and paired differences.

Rows (or groups of rows) and seeds are resampled together, the same ones for every model, so that a
difference of two models is of the same rows and seeds. Which single modality and which simple
fusion a method is held against is chosen on validation rows. Prints nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.fusion.objective import Objective
from mmcli.metrics.choice import Measure
from mmcli.metrics.statistics import draws, sign_flip_test

Floats = NDArray[np.float64]
SINGLE, SIMPLE, METHOD = "single", "simple", "method"
RESAMPLES = 1000
#: Values of a measure that is no mean over rows, computed at most: rows x resamples x seeds.
_MOST_VALUES = 200_000_000


@dataclass(frozen=True)
class Entrant:
    """One model of a run. val, test: probabilities or values `(seeds, rows, …)`."""

    name: str
    role: str
    val: Floats
    test: Floats
    parameters: int


@dataclass(frozen=True)
class Judged:
    """The rows of the table, best single and simple fusion, and the verdicts on the method."""

    rows: list[dict[str, Any]]
    best_single: str | None
    best_simple: str | None
    verdicts: list[dict[str, Any]]


def judge(
    entrants: Sequence[Entrant],
    method: str,
    objective: Objective,
    measure: Measure,
    truth_val: Any,
    truth: Any,
    groups: NDArray[np.int64],
    seed: int,
) -> Judged:
    """The table of a run; groups: `(test rows,)`, numbers of what is resampled together."""
    val = {e.name: _mean_value(e.val, truth_val, objective, measure) for e in entrants}
    _, numbers = np.unique(groups, return_inverse=True)
    each, resampled = _resampled(entrants, truth, objective, measure, numbers, seed)
    best_single = _best([e for e in entrants if e.role == SINGLE], val, measure)
    simple = [e for e in entrants if e.role == SIMPLE and e.name != method]
    best_simple = _best(simple, val, measure)
    rows = []
    for entrant in entrants:
        low, high = _percentiles(resampled[entrant.name])
        row: dict[str, Any] = {
            "model": entrant.name,
            "parameters": entrant.parameters,
            f"val {measure.name}": val[entrant.name],
            measure.name: float(each[entrant.name].mean()),
            "low": low,
            "high": high,
            "over seeds": float(each[entrant.name].std(ddof=1)) if len(entrant.test) > 1 else None,
        }
        if best_single is not None and entrant.role != SINGLE:
            gain = _gain(
                entrant.name,
                best_single,
                entrants,
                each,
                resampled,
                truth,
                objective,
                measure,
                numbers,
                seed,
            )
            row |= {
                f"gain on {best_single}": gain["gain"],
                "gain low": gain["low"],
                "gain high": gain["high"],
                "p (rows)": gain["p"],
            }
        rows.append(row)
    verdicts = [
        _gain(method, other, entrants, each, resampled, truth, objective, measure, numbers, seed)
        for other in (best_single, best_simple)
        if other is not None and other != method
    ]
    return Judged(rows, best_single, best_simple, verdicts)


def _best(found: Sequence[Entrant], val: Mapping[str, float], measure: Measure) -> str | None:
    if not found:
        return None
    return max(found, key=lambda e: _finite(measure.signed(val[e.name]))).name


def _finite(value: float) -> float:
    return value if np.isfinite(value) else -np.inf


def _mean_value(shares: Floats, truth: Any, objective: Objective, measure: Measure) -> float:
    if not len(truth):
        return float("nan")
    ones = np.ones(len(truth))
    values = [measure.value(truth, s, objective.predicted(s), ones) for s in shares]
    return float(np.mean(values))


def _resampled(
    entrants: Sequence[Entrant],
    truth: Any,
    objective: Objective,
    measure: Measure,
    groups: NDArray[np.intp],
    seed: int,
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Each seed's value, and the mean over resampled seeds of resampled rows, by model."""
    n_seeds = len(entrants[0].test)
    n_groups = int(groups.max(initial=-1)) + 1
    work = len(truth) * RESAMPLES * n_seeds * len(entrants)
    resamples = RESAMPLES
    if measure.by_row is None and work > _MOST_VALUES:
        resamples = max(200, RESAMPLES * _MOST_VALUES // work)
    predicted = {e.name: [objective.predicted(s) for s in e.test] for e in entrants}
    ones = np.ones(len(truth))
    each = {
        e.name: np.array(
            [
                measure.value(truth, s, p, ones)
                for s, p in zip(e.test, predicted[e.name], strict=True)
            ]
        )
        for e in entrants
    }
    by_row = {
        e.name: np.stack(
            [measure.by_row(truth, s, p) for s, p in zip(e.test, predicted[e.name], strict=True)]
        )
        for e in entrants
        if measure.by_row is not None
    }
    rng = np.random.default_rng((seed, 1))
    found: dict[str, list[Floats]] = {e.name: [] for e in entrants}
    for block in draws(n_groups, resamples, seed, width=len(truth)):
        weights = block[:, groups]
        seeds = rng.integers(0, n_seeds, (len(weights), n_seeds))
        counts = np.stack([np.bincount(s, minlength=n_seeds) for s in seeds]) / n_seeds
        for entrant in entrants:
            name = entrant.name
            if measure.by_row is not None:
                values = weights @ by_row[name].T / weights.sum(1, keepdims=True)
            else:
                values = np.array(
                    [
                        [
                            measure.value(truth, s, p, w)
                            for s, p in zip(entrant.test, predicted[name], strict=True)
                        ]
                        for w in weights
                    ]
                )
            found[name].append((values * counts).sum(1))
    return each, {name: np.concatenate(parts) for name, parts in found.items()}


def _gain(
    name: str,
    other: str,
    entrants: Sequence[Entrant],
    each: Mapping[str, Floats],
    resampled: Mapping[str, Floats],
    truth: Any,
    objective: Objective,
    measure: Measure,
    groups: NDArray[np.intp],
    seed: int,
) -> dict[str, Any]:
    """A paired difference, signed so that more is better, its interval and its p."""
    sign = 1.0 if measure.greater else -1.0
    differences = sign * (resampled[name] - resampled[other])
    low, high = _percentiles(differences)
    few = len(np.unique(groups)) < 2
    if few:  # one row, or one group, says nothing of the spread
        low = high = float("nan")
    gain = sign * float(each[name].mean() - each[other].mean())
    if few or not np.isfinite(differences).any():
        p = float("nan")
    elif measure.by_row is not None:
        mean = {
            e.name: np.mean([measure.by_row(truth, s, objective.predicted(s)) for s in e.test], 0)
            for e in entrants
            if e.name in (name, other)
        }
        p = float(sign_flip_test((mean[name] - mean[other])[:, None], seed, groups)[0])
    else:
        tail = min((differences <= 0).sum(), (differences >= 0).sum())
        p = float(min(1.0, 2 * (tail + 1) / (len(differences) + 1)))
    shown = low > 0 or high < 0
    word = ("gain shown" if gain > 0 else "loss shown") if shown else "no gain shown"
    return {
        "method": name,
        "against": other,
        "measure": measure.name,
        "gain": gain,
        "low": low,
        "high": high,
        "p": p,
        "verdict": word,
    }


def _percentiles(values: Floats) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
