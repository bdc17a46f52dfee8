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
from mmcli.metrics.multilabel import label_counts, label_pairs, label_scores
from mmcli.metrics.probabilities import curve_areas, log_losses, rank_scores
from mmcli.metrics.regression import regression_scores

Floats = NDArray[np.float64]


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
    return log_losses(shares, truth)


def _right_labels(truth: Any, shares: Any, predicted: Any) -> Floats:
    return (truth.astype(bool) == predicted.astype(bool)).mean(axis=1)


def _absolute(truth: Any, shares: Any, predicted: Any) -> Floats:
    return np.abs(np.asarray(truth, np.float64) - np.asarray(predicted, np.float64))


def _overall(name: str) -> Callable[[Any, Any, Any, Floats], float]:
    def value(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
        classes = max(int(truth.max(initial=0)), int(predicted.max(initial=0))) + 1
        return overall_scores(class_counts(truth, predicted, classes, weights))[name]

    return value


def _auc(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
    """Area under the ROC curve of the second of two classes."""
    if shares.shape[1] != 2:
        return float("nan")
    return curve_areas(rank_scores(shares[:, 1], truth == 1), weights)[0]


def _labels(name: str) -> Callable[[Any, Any, Any, Floats], float]:
    def value(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
        pairs = label_pairs(truth.astype(bool), predicted.astype(bool))
        return label_scores(label_counts(pairs, weights))[name]

    return value


def _numbers(name: str) -> Callable[[Any, Any, Any, Floats], float]:
    def value(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
        return regression_scores(truth, predicted, weights)[name]

    return value


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
        Measure("micro_f1", True, _labels("micro_f1")),
        Measure("macro_f1", True, _labels("macro_f1")),
        Measure("label_accuracy", True, _mean_of(_right_labels), _right_labels),
    ),
    "ordinal": (_ACCURACY, _MAE, Measure("macro_f1", True, _overall("macro_f1"))),
    "number": (
        _MAE,
        Measure("rmse", False, _numbers("rmse")),
        Measure("r2", True, _numbers("r2")),
        Measure("pearson", True, _numbers("pearson")),
    ),
}
