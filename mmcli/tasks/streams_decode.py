"""From what is said of each step to events with a start, an end and a score.

For each class two thresholds and a median filter, all chosen on validation recordings. A segment is
where the filtered probability is `edge` or more; its ends lie where the line between two steps
crosses that; its score is the mean of the probability, not filtered. Lower edges then add
segments where nothing of a higher one lies: they are for the tail of a ranking. What counts as
found is a segment whose score is `keep` or more. Plain numpy.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.classification import class_scores
from mmcli.metrics.detection import (
    Events,
    average_precisions,
    collar_counts,
    rank_events,
)

Floats = NDArray[np.float32]
EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
MEDIANS_S = (0.0, 0.3, 0.7)
#: Edges are halved down to this for the tail.
_LOWEST = 0.02
Entry = tuple[int, int, float, float, float]


@dataclass(frozen=True)
class Rule:
    """How one class is decoded. median_s: the width of the filter, 0 for none."""

    edge: float = 0.5
    median_s: float = 0.3
    keep: float = 0.5


def decode(
    probabilities: Floats, rules: Sequence[Rule], rate_hz: float, duration_s: float, row: int
) -> list[Entry]:
    """The events of one recording from `(steps, classes)`: (row, class, start, end, score)."""
    found = []
    for label, rule in enumerate(rules):
        for segment in segments(probabilities[:, label], rule, rate_hz, duration_s):
            found.append((row, label, *segment))
    return found


def segments(
    probability: Floats, rule: Rule, rate_hz: float, duration_s: float
) -> list[tuple[float, float, float]]:
    """Start, end and score of each segment of one class, of all edges."""
    smooth = filtered(probability, rule.median_s, rate_hz)
    found: list[tuple[float, float, float]] = []
    free = np.ones(len(smooth), bool)
    edge, top = rule.edge, float(smooth.max())
    while edge > top:
        edge /= 2
    while edge >= _LOWEST:
        for first, last in _runs(smooth >= edge):
            if free[first : last + 1].all():
                start_s, end_s = _ends(smooth, first, last, edge, rate_hz)
                end_s = min(end_s, duration_s)
                if end_s > start_s:
                    score = float(probability[first : last + 1].mean())
                    found.append((round(start_s, 4), round(end_s, 4), score))
            free[first : last + 1] = False
        edge /= 2
    return found


def filtered(probability: Floats, median_s: float, rate_hz: float) -> Floats:
    """The running median over an odd number of steps, the ends repeated."""
    half = round(median_s * rate_hz / 2)
    if half == 0:
        return probability
    padded = np.pad(probability, half, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return np.asarray(np.median(windows, axis=1), np.float32)


def _runs(above: Any) -> list[tuple[int, int]]:
    """First and last step of each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], above, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]


def _ends(
    smooth: Floats, first: int, last: int, edge: float, rate_hz: float
) -> tuple[float, float]:
    """Where the line through the middles of the steps crosses the edge, in seconds."""
    start, end = 0.0, float(len(smooth))
    if first > 0:
        below, above = float(smooth[first - 1]), float(smooth[first])
        start = first - 0.5 + (edge - below) / (above - below)
    if last + 1 < len(smooth):
        above, below = float(smooth[last]), float(smooth[last + 1])
        end = last + 0.5 + (above - edge) / (above - below)
    return start / rate_hz, end / rate_hz


def choose_rules(
    probabilities: Sequence[Floats],
    truth: Events,
    durations: Sequence[float],
    classes: int,
    rate_hz: float,
) -> list[Rule]:
    """The rule of each class that does best on these recordings.

    truth: its recordings are numbers into the others. Edge and filter by the mean average precision
    over the IoUs; then `keep` by the F1 with a collar. Of equal ones the first edge nearest to 0.5
    with the shortest filter. A class without a true event keeps the usual rule.
    """
    usual = Rule()
    best = [(-1.0, usual)] * classes
    for edge in sorted(EDGES, key=lambda e: (abs(e - usual.edge), e)):
        for median_s in MEDIANS_S:
            rule = Rule(edge, median_s)
            said = decode_all(probabilities, [rule] * classes, rate_hz, durations)
            precisions = average_precisions(rank_events(truth, said, classes)).mean(axis=1)
            for label, precision in enumerate(precisions):
                if precision > best[label][0]:
                    best[label] = (float(precision), rule)
    rules = [rule for _, rule in best]
    said = decode_all(probabilities, rules, rate_hz, durations)
    return [
        Rule(rule.edge, rule.median_s, _keep(truth, said, label, len(probabilities)))
        for label, rule in enumerate(rules)
    ]


def _keep(truth: Events, said: Events, label: int, recordings: int) -> float:
    """The score from which segments of a class count, by F1: in the middle of a gap between two."""
    real, mine = truth.take(truth.label == label), said.take(said.label == label)
    if not len(real) or not len(mine):
        return Rule().keep
    real, mine = _only(real), _only(mine)
    scores = np.unique(mine.score)
    cuts = np.concatenate([[0.0], (scores[1:] + scores[:-1]) / 2])
    if len(cuts) > 50:
        cuts = np.quantile(cuts, np.linspace(0, 1, 50))
    f1 = [
        class_scores(collar_counts(real, mine.take(mine.score >= cut), recordings, 1).summed())[
            "f1"
        ][0]
        for cut in cuts
    ]
    top = np.flatnonzero(np.asarray(f1) == max(f1))
    return round(float(cuts[top[len(top) // 2]]), 4)


def _only(events: Events) -> Events:
    """The same events as class 0."""
    return Events(
        events.recording,
        np.zeros(len(events), np.int64),
        events.start_s,
        events.end_s,
        events.score,
    )


def decode_all(
    probabilities: Sequence[Floats],
    rules: Sequence[Rule],
    rate_hz: float,
    durations: Sequence[float],
) -> Events:
    """The events of recordings 0, 1, …"""
    return Events.of(
        [
            entry
            for row, (each, duration_s) in enumerate(zip(probabilities, durations, strict=True))
            for entry in decode(each, rules, rate_hz, duration_s, row)
        ]
    )


def kept(events: Events, keep: Sequence[float]) -> Events:
    """The events that count as found: those of their class's `keep` or more."""
    return events.take(events.score >= np.asarray(keep, np.float64)[events.label])


def rules_to_json(rules: Sequence[Rule], classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """By the names of the classes."""
    return {name: asdict(rule) for name, rule in zip(classes, rules, strict=True)}


def rules_from_json(content: dict[str, dict[str, float]], classes: Sequence[str]) -> list[Rule]:
    """The reverse."""
    return [Rule(**content[name]) for name in classes]
