"""Scores of predicted numbers. Pure numpy; a measure that a sample does not define is NaN."""

from dataclasses import dataclass

import numpy as np

from mmcli.metrics.classification import Floats, Labels

#: A spread this small beside the values is rounding: a constant, whose correlation is undefined.
_ROUNDING = 1e-13


def regression_scores(
    truth: Floats, predicted: Floats, weights: Floats | None = None
) -> dict[str, float]:
    """mae, rmse, pearson and r2 of `(rows,)`; weights: how often each row counts.

    pearson: NaN where either side is constant. r2: 1 - squared error over the squared error of the
    mean; NaN where the truth is constant.
    """
    weights = np.ones(len(truth)) if weights is None else weights
    total = weights.sum()
    if not total:
        return dict.fromkeys(("mae", "rmse", "pearson", "r2"), float("nan"))
    errors = predicted - truth
    squared = weights @ (errors * errors)
    spread = _spread(truth, weights)
    return {
        "mae": float(weights @ np.abs(errors) / total),
        "rmse": float(np.sqrt(squared / total)),
        "pearson": pearson(truth, predicted, weights),
        "r2": float(1 - squared / spread) if spread else float("nan"),
    }


def pearson(x: Floats, y: Floats, weights: Floats | None = None) -> float:
    """The linear correlation of `(rows,)` and `(rows,)`; NaN where either is constant."""
    weights = np.ones(len(x)) if weights is None else weights
    spread_x, spread_y = _spread(x, weights), _spread(y, weights)
    if not spread_x or not spread_y:
        return float("nan")
    both = weights @ (_centred(x, weights) * _centred(y, weights))
    return float(np.clip(both / np.sqrt(spread_x) / np.sqrt(spread_y), -1.0, 1.0))


@dataclass(frozen=True)
class Ties:
    """The distinct values of a column in ascending order. number: `(rows,)` which one each is."""

    number: Labels
    values: int


def find_ties(values: Floats) -> Ties:
    """Sort `(rows,)` once, so that ranks under many weights cost no sorting."""
    distinct, number = np.unique(values, return_inverse=True)
    return Ties(number.astype(np.int64), len(distinct))


def mean_ranks(ties: Ties, weights: Floats | None = None) -> Floats:
    """The rank of each row from 1, `(rows,)`; equal values share the mean of their ranks.

    weights: whole numbers, how often each row counts.
    """
    sizes = np.bincount(ties.number, weights, ties.values).astype(np.float64)
    return (np.cumsum(sizes) - sizes + (sizes + 1) / 2)[ties.number]


def spearman(x: Ties, y: Ties, weights: Floats | None = None) -> float:
    """The correlation of the ranks; NaN where either is constant."""
    return pearson(mean_ranks(x, weights), mean_ranks(y, weights), weights)


def _centred(values: Floats, weights: Floats) -> Floats:
    return values - weights @ values / weights.sum()


def _spread(values: Floats, weights: Floats) -> float:
    """The weighted sum of squares around the mean; 0 when it is no more than rounding."""
    total = weights.sum()
    if not total:
        return 0.0
    centred = _centred(values, weights)
    found = float(weights @ (centred * centred))
    scale = _ROUNDING * float(np.abs(values).max())
    return found if found > total * scale * scale else 0.0
