"""Makes probabilities say what comes true, and chooses thresholds. Fit them on rows of their own.

Pure numpy. Source of temperature scaling: Guo et al. 2017, arXiv 1706.04599.
"""

from collections.abc import Callable

import numpy as np

from mmcli.metrics.classification import Floats, Labels
from mmcli.metrics.probabilities import LEAST, Bools

#: What a probability of 0 is taken for: the least that single precision holds, since 0 is what
#: comes out of a softmax in it.
_FLOOR = 1e-45
#: Temperatures that are tried; outside them a model says nothing, or the rows are too few.
RANGE = (0.02, 50.0)
_GOLDEN = (np.sqrt(5) - 1) / 2
#: Steps of the search: each keeps 62 % of an interval of 7.8 in log temperature.
_STEPS = 48
DEFAULT_THRESHOLD = 0.5


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """`(rows, classes)` after dividing their logarithms by the temperature; rows sum to 1."""
    logits = _logs(probabilities) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares


def tempered_labels(probabilities: Floats, temperature: float) -> Floats:
    """The same for labels that do not exclude each other: each one's log odds are divided."""
    shares: Floats = np.exp(-np.logaddexp(0.0, -_log_odds(probabilities) / temperature))
    return shares


def fit_temperature(probabilities: Floats, truth: Labels) -> float:
    """The temperature with the least log loss on `(rows, classes)`, truth `(rows,)`."""
    logits = _logs(probabilities)
    logits -= np.take_along_axis(logits, truth[:, None], axis=1)
    most = logits.max(axis=1, keepdims=True)

    def loss(temperature: float) -> float:
        shares = np.exp((logits - most) / temperature).sum(axis=1)
        return float((np.log(shares) + most[:, 0] / temperature).mean())

    return _best(loss)


def fit_label_temperature(probabilities: Floats, truth: Bools) -> float:
    """The same for labels; both `(rows, labels)`."""
    wrong = np.where(truth, -1.0, 1.0) * _log_odds(probabilities)
    return _best(lambda temperature: float(np.logaddexp(0.0, wrong / temperature).mean()))


def best_threshold(probabilities: Floats, positive: Bools) -> float:
    """The least probability `(rows,)` to be called positive with which F1 is best.

    It lies half-way between two probabilities that occur; of equally good ones the one nearest to
    0.5; 0.5 where no row is positive.
    """
    if not positive.any():
        return DEFAULT_THRESHOLD
    values, number = np.unique(probabilities, return_inverse=True)
    called = np.cumsum(np.bincount(number)[::-1])[::-1]
    right = np.cumsum(np.bincount(number, positive)[::-1])[::-1]
    f1 = 2 * right / (called + positive.sum())
    below = np.concatenate([[0.0], values[:-1]])
    middle = (below + values) / 2
    middle = np.where(middle > below, middle, values)  # neighbours with nothing between them
    good = middle[f1 >= f1.max() * (1 - 1e-12)]
    return float(good[np.argmin(np.abs(good - DEFAULT_THRESHOLD))])


def best_thresholds(probabilities: Floats, truth: Bools) -> Floats:
    """`best_threshold` of each label, `(labels,)`; both `(rows, labels)`."""
    return np.array(
        [best_threshold(probabilities[:, i], truth[:, i]) for i in range(truth.shape[1])]
    )


def _logs(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, _FLOOR))


def _log_odds(probabilities: Floats) -> Floats:
    inside = np.clip(probabilities, _FLOOR, 1 - LEAST)
    odds: Floats = np.log(inside) - np.log1p(-inside)
    return odds


def _best(loss: Callable[[float], float]) -> float:
    """Golden section on log temperature: log loss is convex in 1 / T, so it has one minimum."""
    low, high = np.log(RANGE[0]), np.log(RANGE[1])
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(float(np.exp(left))), loss(float(np.exp(right)))
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(float(np.exp(left)))
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(float(np.exp(right)))
    return float(np.exp((low + high) / 2))
