"""How sure a mean is: bootstrap intervals, and paired tests of two systems on the same queries.

Everything is seeded, and done in blocks so that a hundred thousand queries fit. Rows that are not
independent (several questions on one picture) are drawn as one: they share a group.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Groups = NDArray[np.int64]
LEVEL = 0.95
PERMUTATIONS = 10_000
#: Weights held at a time: 32 MB in double precision.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Estimates:
    """Values and their intervals, each `(measures,)`; NaN where there is nothing to resample."""

    value: Values
    low: Values
    high: Values


def bootstrap_means(
    values: Values, resamples: int, seed: int = 0, groups: Groups | None = None
) -> Estimates:
    """The mean of each column and its percentile interval at 95 %.

    values: `(rows, measures)`. groups: `(rows,)` numbers from 0; whole groups are drawn, and a
    resample's mean is over the rows it came to hold. Source: Efron and Tibshirani 1993, ch. 13;
    Field and Welsh 2007 on groups.
    """
    mean = values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
    sums, sizes = _by_group(values, groups)
    if len(sums) < 2 or resamples < 1:
        return _unknown(mean)
    found = np.concatenate(
        [(w @ sums) / (w @ sizes)[:, None] for w in draws(len(sums), resamples, seed)]
    )
    return Estimates(mean, *_percentiles(found))


def bootstrap_median(
    values: Values, resamples: int, seed: int = 0, groups: Groups | None = None
) -> Estimates:
    """The median of `(rows,)` and its interval, each `(1,)`."""
    middle = np.array([np.median(values) if len(values) else np.nan])
    groups = np.arange(len(values)) if groups is None else groups
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < 2 or resamples < 1:
        return _unknown(middle)
    order = np.argsort(values, kind="stable")
    ordered, members = values[order], groups[order]
    found = []
    for weights in draws(n_groups, resamples, seed, width=len(values)):
        reached = np.cumsum(weights[:, members], axis=1)
        half = reached[:, -1:] / 2
        # with an even number of rows the median lies between the two in the middle
        lower, upper = (reached < half).sum(axis=1), (reached <= half).sum(axis=1)
        found.append((ordered[lower] + ordered[np.minimum(upper, len(ordered) - 1)]) / 2)
    return Estimates(middle, *_percentiles(np.concatenate(found)[:, None]))


def sign_flip_test(
    differences: Values,
    seed: int = 0,
    groups: Groups | None = None,
    permutations: int = PERMUTATIONS,
) -> Values:
    """Two-sided p of each column's mean difference under random signs, `(measures,)`.

    differences: `(rows, measures)`, one system minus the other on the same queries; a group keeps
    one sign. The observed signs count as one of the permutations, so that p is never 0.
    Source: Fisher 1935; Smucker, Allan and Carterette 2007 for retrieval.
    """
    sums, _ = _by_group(differences, groups)
    observed = np.abs(sums.sum(axis=0))
    # sums are rounded differently in another order; less than this is no difference
    slack = 1e-12 * np.abs(sums).sum(axis=0)
    rng = np.random.default_rng(seed)
    as_far = np.zeros(differences.shape[1])
    done = 0
    while done < permutations:
        rows = min(permutations - done, max(1, _BLOCK // max(1, len(sums))))
        bits = np.unpackbits(rng.integers(0, 256, (rows, -(-len(sums) // 8)), np.uint8), axis=1)
        signs = 2.0 * bits[:, : len(sums)] - 1.0
        as_far += (np.abs(signs @ sums) >= observed - slack).sum(axis=0)
        done += rows
    return (as_far + 1) / (permutations + 1)


def draws(groups: int, resamples: int, seed: int, width: int | None = None) -> Iterator[Values]:
    """How often each group is drawn in each resample: `(some resamples, groups)` at a time.

    width: entries that the caller makes of each resample, when those are more than the groups.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // max(groups, width or 0))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, groups, (rows, groups)) + groups * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * groups)
        yield counts.reshape(rows, groups).astype(np.float64)


def interval(resampled: Values) -> tuple[float, float]:
    """The percentile interval of one measure's resampled values, `(resamples,)`."""
    low, high = _percentiles(resampled[:, None])
    return float(low[0]), float(high[0])


def _by_group(values: Values, groups: Groups | None) -> tuple[Values, Values]:
    """Sums `(groups, measures)` and sizes `(groups,)`."""
    if groups is None:
        return values, np.ones(len(values))
    n = int(groups.max(initial=-1)) + 1
    sums = [np.bincount(groups, values[:, i], n) for i in range(values.shape[1])]
    return np.stack(sums, axis=1), np.bincount(groups, minlength=n).astype(np.float64)


def _percentiles(resampled: Values) -> tuple[Values, Values]:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    return low, high


def _unknown(value: Values) -> Estimates:
    nothing = np.full(value.shape, np.nan)
    return Estimates(value, nothing, nothing)
