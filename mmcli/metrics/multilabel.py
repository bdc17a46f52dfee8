"""Scores of predicted sets of labels. Pure numpy.

A label that no row has does not count in a mean over labels. Where both the true and the predicted
set are empty the prediction is right: F1 is 1.
"""

from dataclasses import dataclass

import numpy as np

from mmcli.metrics.classification import ClassCounts, Floats, Labels, class_scores, weighted_f1
from mmcli.metrics.probabilities import Bools


@dataclass(frozen=True)
class Pairs:
    """The cells of a matrix `(rows, labels)` that are true, as row and label numbers."""

    rows: Labels
    labels: Labels


@dataclass(frozen=True)
class LabelPairs:
    """Which labels each row has, which it was given, and which are both."""

    labels: int
    truth: Pairs
    predicted: Pairs
    correct: Pairs


def label_pairs(truth: Bools, predicted: Bools) -> LabelPairs:
    """The pairs of two matrices `(rows, labels)`, from which counts under weights are cheap."""
    of = [Pairs(*np.nonzero(cells)) for cells in (truth, predicted, truth & predicted)]
    return LabelPairs(truth.shape[1], *of)


def label_counts(pairs: LabelPairs, weights: Floats | None = None) -> ClassCounts:
    """For each label `(labels,)`: rows that have it, that got it, and where both.

    weights: how often each row counts, `(rows,)`.
    """
    return ClassCounts(
        *(
            np.bincount(
                of.labels, None if weights is None else weights[of.rows], pairs.labels
            ).astype(np.float64)
            for of in (pairs.truth, pairs.predicted, pairs.correct)
        )
    )


def label_scores(counts: ClassCounts) -> dict[str, float]:
    """micro_f1 over all decisions, macro_f1 over labels present, weighted_f1 by their rows."""
    present = counts.support > 0
    given = counts.support.sum() + counts.predicted.sum()
    each = class_scores(counts)["f1"]
    return {
        "micro_f1": float(2 * counts.correct.sum() / given) if given else float("nan"),
        "macro_f1": float(each[present].mean()) if present.any() else float("nan"),
        "weighted_f1": weighted_f1(counts),
    }


def set_scores(truth: Bools, predicted: Bools) -> dict[str, Floats]:
    """samples_f1, subset_accuracy and hamming_loss of each row, `(rows,)`.

    samples_f1: F1 of the row's own set. subset_accuracy: 1 where the sets are equal. hamming_loss:
    the share of labels that are wrong.
    """
    both = (truth & predicted).sum(axis=1).astype(np.float64)
    sizes = truth.sum(axis=1) + predicted.sum(axis=1)
    wrong = (truth != predicted).mean(axis=1)
    return {
        "samples_f1": np.divide(2 * both, sizes, out=np.ones(len(both)), where=sizes > 0),
        "subset_accuracy": (wrong == 0).astype(np.float64),
        "hamming_loss": wrong,
    }
