"""The measures a model is chosen by, each of weighted rows, so that resampling needs no copies.

Pure numpy. Rows: truth and probabilities, or values; weights: how often each row counts. Ties and
classes without rows are treated as in `classification.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.classification import class_counts, overall_scores

Floats = NDArray[np.float64]
#: Probabilities are kept this far from 0 before their logarithm is taken.
_LEAST = 1e-15


@dataclass(frozen=True)
class Measure:
    """One measure. value: of truth, probabilities (or numbers), predictions and weights.

    by_row: each row's own value, where the measure is their mean, else None.
    """

    name: str
    greater: bool
    value: Callable[[Any, Any, Any, Floats], float]
    by_row: Callable[[Any, Any, Any], Floats] | None = None

    def signed(self, value: float) -> float:
        """The value so that greater is better."""
        return value if self.greater else -value


def measures_for(kind: str) -> dict[str, Measure]:
    """The measures of a kind of output (classes, several, ordinal, number), the default first."""
    return {m.name: m for m in _BY_KIND[kind]}


def _mean_of(by_row: Callable[[Any, Any, Any], Floats]) -> Callable[[Any, Any, Any, Floats], float]:
    def value(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
        return float(weights @ by_row(truth, shares, predicted) / weights.sum())

    return value


def _right(truth: Any, shares: Any, predicted: Any) -> Floats:
    return (truth == predicted).astype(np.float64)


def _nats(truth: Any, shares: Any, predicted: Any) -> Floats:
    own = np.take_along_axis(shares, truth[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(own, _LEAST))


def _right_labels(truth: Any, shares: Any, predicted: Any) -> Floats:
    return (truth.astype(bool) == predicted.astype(bool)).mean(axis=1)


def _overall(name: str) -> Callable[[Any, Any, Any, Floats], float]:
    def value(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
        classes = max(int(truth.max(initial=0)), int(predicted.max(initial=0))) + 1
        return overall_scores(class_counts(truth, predicted, classes, weights))[name]

    return value


def _auc(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
    """Area under the ROC curve of the second of two classes; ties count half."""
    if shares.shape[1] != 2:
        return float("nan")
    score = shares[:, 1]
    levels, at = np.unique(score, return_inverse=True)
    positive = np.bincount(at, weights * (truth == 1), len(levels))
    negative = np.bincount(at, weights * (truth == 0), len(levels))
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")


def _label_counts(truth: Any, predicted: Any, weights: Floats) -> tuple[Floats, Floats, Floats]:
    truth, predicted = truth.astype(np.float64), predicted.astype(np.float64)
    return weights @ (truth * predicted), weights @ truth, weights @ predicted


def _micro_f1(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
    right, have, got = _label_counts(truth, predicted, weights)
    total = have.sum() + got.sum()
    return float(2 * right.sum() / total) if total else 0.0


def _macro_f1(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
    right, have, got = _label_counts(truth, predicted, weights)
    present = have > 0
    return float((2 * right[present] / (have + got)[present]).mean()) if present.any() else 0.0


def _absolute(truth: Any, shares: Any, predicted: Any) -> Floats:
    return np.abs(np.asarray(truth, np.float64) - np.asarray(predicted, np.float64))


def _square(truth: Any, shares: Any, predicted: Any) -> Floats:
    return _absolute(truth, shares, predicted) ** 2


def _rmse(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
    return float(np.sqrt(weights @ _square(truth, shares, predicted) / weights.sum()))


def _r2(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
    centre = weights @ truth / weights.sum()
    spread = weights @ (truth - centre) ** 2
    left = weights @ (truth - predicted) ** 2
    return float(1 - left / spread) if spread else float("nan")


def _pearson(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
    total = weights.sum()
    a = truth - weights @ truth / total
    b = predicted - weights @ predicted / total
    size = np.sqrt((weights @ a**2) * (weights @ b**2))
    return float((weights @ (a * b)) / size) if size else float("nan")


_ACCURACY = Measure("accuracy", True, _mean_of(_right), _right)
_MAE = Measure("mae", False, _mean_of(_absolute), _absolute)
_BY_KIND: dict[str, tuple[Measure, ...]] = {
    "classes": (
        _ACCURACY,
        Measure("balanced_accuracy", True, _overall("balanced_accuracy")),
        Measure("macro_f1", True, _overall("macro_f1")),
        Measure("log_loss", False, _mean_of(_nats), _nats),
        Measure("roc_auc", True, _auc),
    ),
    "several": (
        Measure("micro_f1", True, _micro_f1),
        Measure("macro_f1", True, _macro_f1),
        Measure("label_accuracy", True, _mean_of(_right_labels), _right_labels),
    ),
    "ordinal": (_ACCURACY, _MAE, Measure("macro_f1", True, _overall("macro_f1"))),
    "number": (
        _MAE,
        Measure("rmse", False, _rmse),
        Measure("r2", True, _r2),
        Measure("pearson", True, _pearson),
    ),
}
