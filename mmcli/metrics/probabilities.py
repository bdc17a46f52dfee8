"""How good probabilities are: log loss, Brier score, calibration error, areas under curves.

Pure numpy; definitions are scikit-learn's (1.9), exact where scores tie. What is computed many
times with other weights (calibration error, areas) is prepared once: sorting is what costs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.classification import Floats, Labels

Bools = NDArray[np.bool_]
#: The least probability that log loss knows, so that one 0 does not make it infinite.
LEAST = float(np.finfo(np.float64).eps)


def log_losses(probabilities: Floats, truth: Labels) -> Floats:
    """-log of the probability of each row's own class, in nats, `(rows,)`.

    probabilities: `(rows, classes)`; truth: `(rows,)` class numbers.
    """
    own = np.take_along_axis(probabilities, truth[:, None], axis=1)[:, 0]
    return -np.log(np.clip(own, LEAST, 1.0))


def label_log_losses(probabilities: Floats, truth: Bools) -> Floats:
    """The mean over labels of each one's log loss, in nats, `(rows,)`; both `(rows, labels)`."""
    own = np.where(truth, probabilities, 1.0 - probabilities)
    return -np.log(np.clip(own, LEAST, 1.0)).mean(axis=1)


def brier_scores(probabilities: Floats, truth: Labels) -> Floats:
    """Squared difference to what came true, summed over the classes, `(rows,)`.

    Of two classes half of that: the squared difference of either. Source: Brier 1950.
    """
    own = np.take_along_axis(probabilities, truth[:, None], axis=1)[:, 0]
    squares = np.einsum("ij,ij->i", probabilities, probabilities)
    found = np.maximum(squares - own * own + (1.0 - own) ** 2, 0.0)
    return found / 2 if probabilities.shape[1] == 2 else found


@dataclass(frozen=True)
class Binned:
    """Probabilities in bins of equal width, each closed on its right.

    number: `(rows,)` the bin of each row. stated: `(rows,)` its probability; came_true: `(rows,)`
    1 where what it speaks of came true, else 0.
    """

    bins: int
    number: Labels
    stated: Floats
    came_true: Floats


@dataclass(frozen=True)
class Reliability:
    """For each bin, `(bins,)`: rows in it, their mean probability, and how often it came true.

    The last two are NaN in an empty bin. edges: `(bins + 1,)`.
    """

    edges: Floats
    rows: Labels
    stated: Floats
    observed: Floats


def bin_probabilities(stated: Floats, came_true: Bools, bins: int = 15) -> Binned:
    """Put probabilities into bins over 0 to 1; `bins` as in Guo et al. 2017."""
    edges = np.linspace(0, 1, bins + 1)
    number = np.searchsorted(edges[1:-1], stated, side="left").astype(np.int64)
    return Binned(bins, number, stated.astype(np.float64), came_true.astype(np.float64))


def calibration_error(binned: Binned, weights: Floats | None = None) -> float:
    """Mean distance between probability and frequency, bins weighted by their rows; NaN of none.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    gaps = binned.came_true - binned.stated
    total = len(gaps) if weights is None else weights.sum()
    if not total:
        return float("nan")
    sums = np.bincount(binned.number, gaps if weights is None else gaps * weights, binned.bins)
    return float(np.abs(sums).sum() / total)


def gaps_by_row(binned: Binned, rows: int) -> Floats:
    """What came true minus what was stated, summed over the labels of a row that share a bin.

    `(rows, bins)`, of `(rows * labels,)` probabilities, row by row. The calibration error of labels
    under row weights w is the sum of |w @ gaps| over sum(w) * labels.
    """
    row = np.arange(len(binned.number)) // max(1, len(binned.number) // max(1, rows))
    gaps = binned.came_true - binned.stated
    found = np.bincount(row * binned.bins + binned.number, gaps, rows * binned.bins)
    return found.astype(np.float64).reshape(rows, binned.bins)


def reliability(binned: Binned) -> Reliability:
    """What a reliability diagram shows."""
    rows = np.bincount(binned.number, minlength=binned.bins)
    means = [
        np.divide(
            np.bincount(binned.number, values, binned.bins),
            rows,
            out=np.full(binned.bins, np.nan),
            where=rows > 0,
        )
        for values in (binned.stated, binned.came_true)
    ]
    return Reliability(np.linspace(0, 1, binned.bins + 1), rows, *means)


@dataclass(frozen=True)
class RankedScores:
    """Rows in ascending order of a score, and where the positive ones stand.

    order: `(rows,)`. positive: `(positives,)` row numbers. tie: `(positives,)` which of the ties
    below each is in. first, stop: `(ties,)` the places in the order that a tie with a positive row
    takes.
    """

    order: Labels
    positive: Labels
    tie: Labels
    first: Labels
    stop: Labels


def rank_scores(scores: Floats, positive: Bools) -> RankedScores:
    """Sort scores `(rows,)` of which some belong to positive rows."""
    order = np.argsort(scores, kind="stable")
    sorted_scores = scores[order]
    opens = np.ones(len(order), bool)
    opens[1:] = sorted_scores[1:] != sorted_scores[:-1]
    tie_of = np.cumsum(opens) - 1
    starts = np.append(np.flatnonzero(opens), len(order))
    places = np.flatnonzero(positive[order])
    ties, tie = np.unique(tie_of[places], return_inverse=True)
    return RankedScores(order, order[places], tie, starts[ties], starts[ties + 1])


def curve_areas(ranked: RankedScores, weights: Floats | None = None) -> tuple[float, float]:
    """The area under the ROC curve, and average precision.

    ROC-AUC: the share of pairs of a positive and a negative row that are in the right order, a tie
    counting half; NaN without either. Average precision: precision at each threshold, weighted by
    the recall gained there, not interpolated; NaN without a positive row.
    """
    weights = np.ones(len(ranked.order)) if weights is None else weights
    reached = np.zeros(len(ranked.order) + 1)
    np.cumsum(weights[ranked.order], out=reached[1:])
    here = np.bincount(ranked.tie, weights[ranked.positive], len(ranked.first))
    positives, everything = here.sum(), reached[-1]
    if not positives:
        return float("nan"), float("nan")
    below = reached[ranked.first]
    positives_below = np.cumsum(here) - here
    negatives_below = below - positives_below
    negatives_here = reached[ranked.stop] - below - here
    negatives = everything - positives
    right = (here * (negatives_below + negatives_here / 2)).sum()
    area = float(right / (positives * negatives)) if negatives else float("nan")
    above = everything - below
    precision = np.divide(
        positives - positives_below, above, out=np.zeros_like(above), where=above > 0
    )
    return area, float((here * precision).sum() / positives)
