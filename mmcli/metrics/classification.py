"""Scores of predicted classes, from what each class was given, predicted and got right.

Pure numpy. A class that no row has does not count in a mean over classes: it could only add a
zero that says nothing about the predictions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.statistics import Groups, draws, interval

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """For each class, `(classes,)`: rows that have it, rows that got it, and rows where both."""

    support: Floats
    predicted: Floats
    correct: Floats


def class_counts(
    truth: Labels, predicted: Labels, classes: int, weights: Floats | None = None
) -> ClassCounts:
    """Counts of classes 0 to `classes` - 1; weights: how often each row counts, `(rows,)`."""
    right = truth == predicted
    right_weights = None if weights is None else weights[right]
    return ClassCounts(
        np.bincount(truth, weights, classes).astype(np.float64),
        np.bincount(predicted, weights, classes).astype(np.float64),
        np.bincount(truth[right], right_weights, classes).astype(np.float64),
    )


def class_scores(counts: ClassCounts) -> dict[str, Floats]:
    """precision, recall and f1 of each class; 0 where there is nothing to divide by."""
    return {
        "precision": _ratio(counts.correct, counts.predicted),
        "recall": _ratio(counts.correct, counts.support),
        "f1": _ratio(2 * counts.correct, counts.support + counts.predicted),
    }


def class_table(labels: Sequence[str], counts: ClassCounts) -> list[dict[str, Any]]:
    """A row a class: its name, the rows that have it, those that got it, and `class_scores`."""
    scores = class_scores(counts)
    return [
        {
            "class": label,
            "rows": int(counts.support[i]),
            "predicted": int(counts.predicted[i]),
            **{name: float(values[i]) for name, values in scores.items()},
        }
        for i, label in enumerate(labels)
    ]


def overall_scores(counts: ClassCounts) -> dict[str, float]:
    """accuracy; balanced_accuracy and macro_f1, the means of recall and f1 over classes present."""
    present = counts.support > 0
    if not present.any():
        return dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), float("nan"))
    scores = class_scores(counts)
    return {
        "accuracy": float(counts.correct.sum() / counts.support.sum()),
        "balanced_accuracy": float(scores["recall"][present].mean()),
        "macro_f1": float(scores["f1"][present].mean()),
    }


def weighted_f1(counts: ClassCounts) -> float:
    """The mean of F1 over classes, each weighted by the rows that have it; NaN without rows."""
    if not counts.support.any():
        return float("nan")
    return float(np.average(class_scores(counts)["f1"], weights=counts.support))


def confusion_matrix(truth: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """How many rows of class i were called class j, `(classes, classes)`."""
    counts = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def rank_of_truth(scores: Floats, truth: Labels) -> Floats:
    """The rank of the right class among the scores `(rows, classes)`, `(rows,)` from 1.

    Classes that tie with it count half: the mean rank over all orders of the tie.
    """
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    return (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) + 1) / 2


def resampled_scores(
    truth: Labels,
    predicted: Labels,
    classes: int,
    resamples: int,
    seed: int = 0,
    groups: Groups | None = None,
) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals (95 %) of `overall_scores`; NaN with fewer than two groups.

    groups: `(rows,)`, see `statistics.bootstrap_means`.
    """
    names = list(overall_scores(class_counts(truth, predicted, classes)))
    groups = np.arange(len(truth)) if groups is None else groups
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < 2 or resamples < 1:
        return dict.fromkeys(names, (float("nan"), float("nan")))
    found = [
        overall_scores(class_counts(truth, predicted, classes, weights))
        for weights in _row_weights(n_groups, groups, resamples, seed)
    ]
    return {name: interval(np.array([scores[name] for scores in found])) for name in names}


def _row_weights(n_groups: int, groups: Groups, resamples: int, seed: int) -> Iterator[Floats]:
    for block in draws(n_groups, resamples, seed):
        for weights in block:
            yield weights[groups]


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
