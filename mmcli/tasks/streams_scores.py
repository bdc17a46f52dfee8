"""How good events are: mean average precision over temporal IoU and F1 with a collar, how sure that
is, and whether one set of events is better than another.

Recordings are drawn, not events: those of one recording share its noise. Knows nothing about files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.classification import class_scores
from mmcli.metrics.detection import (
    TIOUS,
    Events,
    average_precisions,
    collar_counts,
    event_scores,
    mean_average_precision,
    rank_events,
    side_by_side,
    swap_test,
)
from mmcli.metrics.resampling import interval_where_defined, resampled

Floats = NDArray[np.float64]
#: Permutations of a paired test; each scores both systems again.
PERMUTATIONS = 1000
#: What is compared between two systems.
MAIN = "map"


@dataclass(frozen=True)
class Said:
    """What a system says of some recordings, and what is true.

    events: all of them, scored, for the ranking. kept: those that count as found, for F1.
    """

    truth: Events
    events: Events
    kept: Events
    recordings: int
    classes: int

    def judged(self) -> "Judge":
        """Ready to be counted under any weights."""
        return Judge(
            rank_events(self.truth, self.events, self.classes),
            collar_counts(self.truth, self.kept, self.recordings, self.classes),
        )

    def beside(self, other: "Said") -> "Judge":
        """Both systems' answers, one after the other, for a paired test."""
        n = self.recordings
        truth = side_by_side(self.truth, other.truth, n)
        pairs = (side_by_side(self.events, other.events, n), side_by_side(self.kept, other.kept, n))
        return Said(truth, *pairs, 2 * n, self.classes).judged()


class Judge:
    """Measures by how often each recording counts."""

    def __init__(self, ranked: Any, counts: Any) -> None:
        self._ranked, self._counts = ranked, counts

    def measures(self, weights: Floats | None = None) -> dict[str, float]:
        """`map`, the mean over the IoUs, `map@0.3` … and the scores of `event_scores`."""
        means = mean_average_precision(average_precisions(self._ranked, weights))
        return {
            MAIN: float(means.mean()),
            **{f"map@{iou:g}": float(mean) for iou, mean in zip(TIOUS, means, strict=True)},
            **event_scores(self._counts.summed(weights)),
        }

    def wrong_by_recording(self) -> Floats:
        """True events not found and found ones not true, `(recordings,)`."""
        counts = self._counts
        each: Floats = (counts.truth + counts.predicted - 2 * counts.matched).sum(axis=1)
        return each

    def by_class(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """A row a class: events, average precisions, F1 with its parts."""
        precisions = average_precisions(self._ranked)
        counts = self._counts.summed()
        each = class_scores(counts)
        return [
            {
                "class": name,
                "events": int(counts.support[i]),
                "found": int(counts.predicted[i]),
                "ap": float(precisions[i].mean()),
                **{f"ap@{t:g}": float(precisions[i, j]) for j, t in enumerate(TIOUS)},
                **{f"event_{what}": float(values[i]) for what, values in each.items()},
            }
            for i, name in enumerate(names)
        ]


def summarised(said: Said, resamples: int, seed: int) -> dict[str, dict[str, float]]:
    """`{measure: {value, low, high}}`: percentile intervals at 95 % over recordings."""
    judge = said.judged()
    drawn = resampled(judge.measures, said.recordings, resamples, seed)
    found = {}
    for name, value in judge.measures().items():
        low, high = interval_where_defined(drawn[name])
        found[name] = {"value": value, "low": low, "high": high}
    return found


def compared(
    this: Said, other: Said, resamples: int, seed: int, permutations: int = PERMUTATIONS
) -> dict[str, dict[str, float]]:
    """`{measure: {this, other, difference, low, high, p}}` on the same recordings.

    The interval is a paired bootstrap, p two-sided by exchanging the answers of recordings.
    """
    both, n = this.beside(other), this.recordings

    def of(weights: Floats) -> tuple[Mapping[str, float], Mapping[str, float]]:
        nothing = np.zeros(n)
        return (
            both.measures(np.concatenate([weights, nothing])),
            both.measures(np.concatenate([nothing, weights])),
        )

    def differences(weights: Floats) -> dict[str, float]:
        first, second = of(weights)
        return {name: first[name] - second[name] for name in first}

    mine, theirs = of(np.ones(n))
    drawn = resampled(differences, n, resamples, seed)
    p = swap_test(both.measures, n, permutations, seed)
    found = {}
    for name in mine:
        low, high = interval_where_defined(drawn[name])
        found[name] = {
            "this": mine[name],
            "other": theirs[name],
            "difference": mine[name] - theirs[name],
            "low": low,
            "high": high,
            "p": p[name],
        }
    return found


def chance(
    truth: Events,
    durations: Sequence[float],
    test: Events,
    test_durations: Sequence[float],
    classes: int,
    seed: int,
    draws: int = 10,
) -> dict[str, float]:
    """Mean measures of guesses that know only how often each class occurs, and how long it lasts.

    truth, durations: of the train recordings. For each test recording and class as many events as a
    Poisson draw at the train rate gives, each as long as a train event of the class, placed and
    scored at random.
    """
    rng = np.random.default_rng(seed)
    total_s = max(1e-9, float(np.sum(durations)))
    lengths = [(truth.end_s - truth.start_s)[truth.label == k] for k in range(classes)]
    found: list[dict[str, float]] = []
    for _ in range(draws):
        entries = []
        for row, duration_s in enumerate(test_durations):
            for label, known in enumerate(lengths):
                for _ in range(rng.poisson(len(known) / total_s * duration_s)):
                    length = min(float(rng.choice(known)), duration_s)
                    start = float(rng.uniform(0, duration_s - length))
                    entries.append((row, label, start, start + length, float(rng.random())))
        guess = Events.of(entries)
        said = Said(test, guess, guess, len(test_durations), classes)
        found.append(said.judged().measures())
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}
