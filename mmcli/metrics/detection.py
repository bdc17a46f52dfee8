"""Scores of timed events: mean average precision over temporal IoU, and F1 with a collar.

Pure numpy. Events are given as columns; recordings and classes are numbers from 0. Which
predictions are right is settled once, so that resampling recordings only counts again.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.classification import ClassCounts, class_scores

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: The thresholds of THUMOS (Idrees et al. 2017, arXiv 1604.06182).
TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
#: Tolerances of Mesaros et al. 2016: of onsets, and of offsets at least; of offsets, the share of
#: the true length where that is more.
COLLAR_S = 0.2
COLLAR_SHARE = 0.5
#: Decimal seconds are not exact: 1.3 - 1.1 is more than 0.2.
_SLACK = 1e-9


@dataclass(frozen=True)
class Events:
    """Timed events, one an entry: recording and class `(n,)`, start, end in seconds, score `(n,)`.

    The score of a true event is not read.
    """

    recording: Numbers
    label: Numbers
    start_s: Floats
    end_s: Floats
    score: Floats

    def __len__(self) -> int:
        return len(self.recording)

    def take(self, rows: Numbers | Flags) -> "Events":
        """Some of them."""
        return Events(
            self.recording[rows],
            self.label[rows],
            self.start_s[rows],
            self.end_s[rows],
            self.score[rows],
        )

    @classmethod
    def of(cls, entries: "list[tuple[int, int, float, float, float]]") -> "Events":
        """From (recording, class, start, end, score) of each."""
        columns = list(zip(*entries, strict=True)) or [()] * 5
        recording, label = (np.array(column, np.int64) for column in columns[:2])
        start_s, end_s, score = (np.array(column, np.float64) for column in columns[2:])
        return cls(recording, label, start_s, end_s, score)


def temporal_iou(start_s: Floats, end_s: Floats, truth: Events) -> Floats:
    """Overlap over union of intervals `(n,)` with every true event `(n, len(truth))`."""
    low = np.maximum(start_s[:, None], truth.start_s)
    high = np.minimum(end_s[:, None], truth.end_s)
    both = np.clip(high - low, 0.0, None)
    union = (end_s - start_s)[:, None] + (truth.end_s - truth.start_s) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


# -- mean average precision ------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranked:
    """The predictions of one class from the highest score to the lowest, and which are right.

    recording: `(n,)`. right: `(tious, n)`. closes: `(n,)`, the last of each run of equal scores.
    truth: `(truths,)`, the recording of every true event.
    """

    recording: Numbers
    right: Flags
    closes: Flags
    truth: Numbers


def rank_events(
    truth: Events, predicted: Events, classes: int, tious: tuple[float, ...] = TIOUS
) -> list[Ranked]:
    """Match predictions to true events, class by class.

    From the highest score on, a prediction takes the true event of its recording and class that it
    overlaps most among those not taken, and is right if their IoU is the threshold or more. Within
    equal scores the order is recording, start, end. Source: the ActivityNet evaluation (Caba
    Heilbron et al. 2015).
    """
    return [
        _rank_class(truth.take(truth.label == k), predicted.take(predicted.label == k), tious)
        for k in range(classes)
    ]


def _rank_class(truth: Events, predicted: Events, tious: tuple[float, ...]) -> Ranked:
    order = np.lexsort((predicted.end_s, predicted.start_s, predicted.recording, -predicted.score))
    ranked = predicted.take(order)
    right = np.zeros((len(tious), len(ranked)), bool)
    for mine, theirs in _by_recording(ranked, truth):
        overlap = temporal_iou(ranked.start_s[mine], ranked.end_s[mine], truth.take(theirs))
        for i, least in enumerate(tious):
            right[i, mine] = _greedy(overlap, least)
    closes = np.ones(len(ranked), bool)
    closes[:-1] = ranked.score[1:] != ranked.score[:-1]
    return Ranked(ranked.recording, right, closes, truth.recording)


def _greedy(overlap: Floats, least: float) -> Flags:
    """Which predictions, in their order, find a true event that is not taken."""
    found = np.zeros(len(overlap), bool)
    free = np.ones(overlap.shape[1], bool)
    for i, row in enumerate(overlap):
        best = int(np.argmax(np.where(free, row, -1.0)))
        if free[best] and row[best] >= least - _SLACK:
            found[i], free[best] = True, False
    return found


def _by_recording(predicted: Events, truth: Events) -> Iterator[tuple[Numbers, Numbers]]:
    """Rows of the predictions and of the true events, for each recording that has both."""
    both = np.intersect1d(predicted.recording, truth.recording)
    parts = []
    for recording in (predicted.recording, truth.recording):
        order = np.argsort(recording, kind="stable")
        ends = [np.searchsorted(recording[order], both, side) for side in ("left", "right")]
        parts.append([order[a:b] for a, b in zip(*ends, strict=True)])
    yield from zip(*parts, strict=True)


def average_precisions(ranked: list[Ranked], weights: Floats | None = None) -> Floats:
    """All-point interpolated average precision `(classes, tious)`; NaN for a class without truth.

    weights: how often each recording counts, `(recordings,)`. Predictions of equal score come in
    together: precision is taken where their run ends, so that no order of them matters.
    """
    return np.stack([_average_precision(one, weights) for one in ranked])


def _average_precision(ranked: Ranked, weights: Floats | None) -> Floats:
    if weights is None:
        each, total = np.ones(len(ranked.recording)), float(len(ranked.truth))
    else:
        each, total = weights[ranked.recording], float(weights[ranked.truth].sum())
    if total == 0:
        return np.full(len(ranked.right), np.nan)
    correct = np.cumsum(each * ranked.right, axis=1)[:, ranked.closes]
    given = np.cumsum(each)[ranked.closes]
    precision = np.divide(correct, given, out=np.zeros_like(correct), where=given > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    gained = np.diff(correct, axis=1, prepend=0.0)
    return np.asarray((gained * best).sum(axis=1) / total, np.float64)


def mean_average_precision(precisions: Floats) -> Floats:
    """The mean over the classes that have a true event `(tious,)`; NaN when none has."""
    known = ~np.isnan(precisions).any(axis=1)
    if not known.any():
        return np.full(precisions.shape[1], np.nan)
    return np.asarray(precisions[known].mean(axis=0), np.float64)


# -- F1 with a collar ------------------------------------------------------------------------------


@dataclass(frozen=True)
class EventCounts:
    """True, predicted and matched events `(recordings, classes)`."""

    truth: Floats
    predicted: Floats
    matched: Floats

    def summed(self, weights: Floats | None = None) -> ClassCounts:
        """Over recordings; weights: how often each counts."""
        every = np.ones(len(self.truth)) if weights is None else weights
        return ClassCounts(every @ self.truth, every @ self.predicted, every @ self.matched)


def collar_counts(
    truth: Events,
    predicted: Events,
    recordings: int,
    classes: int,
    collar_s: float = COLLAR_S,
    share: float = COLLAR_SHARE,
) -> EventCounts:
    """How many predictions have a true event of their recording and class within the collar.

    Onsets may differ by `collar_s`, offsets by that or by `share` of the true length, whichever is
    more. One true event for each prediction, as many pairs as possible. Source: Mesaros, Heittola
    and Virtanen 2016, "Metrics for polyphonic sound event detection".
    """
    shape = (recordings, classes)
    there, given = (
        np.bincount(of.recording * classes + of.label, minlength=recordings * classes)
        .reshape(shape)
        .astype(np.float64)
        for of in (truth, predicted)
    )
    matched = np.zeros(shape)
    for label in range(classes):
        mine, theirs = (of.take(of.label == label) for of in (predicted, truth))
        for some, others in _by_recording(mine, theirs):
            near = _near(mine.take(some), theirs.take(others), collar_s, share)
            matched[mine.recording[some[0]], label] = _most_pairs(near)
    return EventCounts(there, given, matched)


def _near(predicted: Events, truth: Events, collar_s: float, share: float) -> Flags:
    onset = np.abs(predicted.start_s[:, None] - truth.start_s)
    offset = np.abs(predicted.end_s[:, None] - truth.end_s)
    allowed = np.maximum(collar_s, share * (truth.end_s - truth.start_s))
    return np.asarray((onset <= collar_s + _SLACK) & (offset <= allowed + _SLACK), np.bool_)


def _most_pairs(near: Flags) -> int:
    """The size of a largest matching, by augmenting paths (Kuhn 1955)."""
    owner = np.full(near.shape[1], -1)

    def place(row: int, tried: set[int]) -> bool:
        for column in np.flatnonzero(near[row]).tolist():
            if column in tried:
                continue
            tried.add(column)
            if owner[column] < 0 or place(int(owner[column]), tried):
                owner[column] = row
                return True
        return False

    return sum(place(row, set()) for row in range(len(near)))


def event_scores(counts: ClassCounts) -> dict[str, float]:
    """event_f1, event_precision, event_recall: means over the classes that have a true event.

    micro_event_f1: over all events alike, those of classes without truth too. NaN without events.
    """
    present = counts.support > 0
    each = class_scores(counts)
    found = {
        f"event_{name}": float(each[name][present].mean()) if present.any() else float("nan")
        for name in ("f1", "precision", "recall")
    }
    given = float(counts.support.sum() + counts.predicted.sum())
    found["micro_event_f1"] = float(2 * counts.correct.sum() / given) if given else float("nan")
    return found


# -- two systems -----------------------------------------------------------------------------------


def swap_test(
    measure: Callable[[Floats], Mapping[str, float]],
    recordings: int,
    permutations: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Two-sided p of each measure's difference between two systems on the same recordings.

    measure: from weights `(2 x recordings,)`, the first half those of one system's recordings and
    the second half of the other's. Under the hypothesis that the two are alike it does not matter
    which of them a recording's answer came from: the answers of each recording change places at
    random. The observed difference counts as one of the permutations. Source: Noreen 1989,
    approximate randomisation.
    """
    rng = np.random.default_rng(seed)

    def difference(mine: Floats) -> dict[str, float]:
        first = measure(np.concatenate([mine, 1 - mine]))
        second = measure(np.concatenate([1 - mine, mine]))
        return {name: first[name] - second[name] for name in first}

    observed = difference(np.ones(recordings))
    as_far = dict.fromkeys(observed, 1)
    for _ in range(permutations):
        here = difference(rng.integers(0, 2, recordings).astype(np.float64))
        for name, value in here.items():
            as_far[name] += abs(value) >= abs(observed[name]) - 1e-12
    return {
        name: count / (permutations + 1) if observed[name] == observed[name] else float("nan")
        for name, count in as_far.items()
    }


def side_by_side(first: Events, second: Events, recordings: int) -> Events:
    """Two systems' events, or the truth twice, as one: the second's recordings follow."""
    return Events(
        np.concatenate([first.recording, second.recording + recordings]),
        *(
            np.concatenate([getattr(first, name), getattr(second, name)])
            for name in ("label", "start_s", "end_s", "score")
        ),
    )
