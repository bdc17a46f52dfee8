"""How good anyone can be on made recordings, by ears, by eyes and by both.

Scored by the measures themselves on what an ideal listener would say: every event it perceives at
its true times, and where two classes sound or look the same, both of them, in random order.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmcli.data.streams.timeline import KINDS, Kind
from mmcli.data.synth.kinds import Row
from mmcli.metrics.detection import (
    Events,
    Ranked,
    average_precisions,
    mean_average_precision,
    rank_events,
)

SENSES = ("sound", "pictures", "both")
#: Random orders of what cannot be told apart.
_DRAWS = 200


class StreamTally:
    """Counts events, and knows what each sense could make of them."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._events: list[tuple[str, list[Row]]] = []

    def add(self, rows: Mapping[str, Sequence[Row]]) -> None:
        for row in rows["items"]:
            self._seconds += row["duration_s"]
            self._events.append((row["split"], row["events"]))

    def facts(self) -> dict[str, Any]:
        """splits, hours, events by class, best mean average precision by split."""
        splits = Counter(split for split, _ in self._events)
        by_class = Counter(e["class"] for _, events in self._events for e in events)
        return {
            "splits": dict(sorted(splits.items())),
            "hours": round(self._seconds / 3600, 3),
            "events": {kind.name: by_class[kind.name] for kind in KINDS},
            "best_map": {
                split: stream_ceilings([events for s, events in self._events if s == split])
                for split in sorted(splits)
            },
        }


def stream_ceilings(recordings: Sequence[Sequence[Row]]) -> dict[str, float]:
    """The mean average precision, the same at any IoU, of an ideal listener of each sense.

    Of the classes that it cannot tell apart it names all, in random order: the mean over `_DRAWS`.
    """
    truth = _events(recordings, lambda kind: [kind])
    found = {}
    for sense in SENSES:
        said = _events(recordings, lambda kind, sense=sense: _alike(kind, sense))
        ranked = rank_events(truth, said, len(KINDS), (0.5,))
        rng = np.random.default_rng(0)
        draws = [
            mean_average_precision(average_precisions([_shuffled(one, rng) for one in ranked]))
            for _ in range(_DRAWS)
        ]
        found[sense] = float(np.mean(draws))
    return found


def _shuffled(ranked: Ranked, rng: np.random.Generator) -> Ranked:
    order = rng.permutation(len(ranked.recording))
    closes = np.ones(len(order), bool)
    return Ranked(ranked.recording[order], ranked.right[:, order], closes, ranked.truth)


def _alike(kind: Kind, sense: str) -> list[Kind]:
    """The classes that seem the same to this sense; none when it misses the event."""
    names = {"sound": ("sound",), "pictures": ("picture",), "both": ("sound", "picture")}[sense]
    if not any(getattr(kind, name) for name in names):
        return []
    return [k for k in KINDS if all(getattr(k, n) == getattr(kind, n) for n in names)]


def _events(recordings: Sequence[Sequence[Row]], said: Callable[[Kind], list[Kind]]) -> Events:
    numbers = {kind: number for number, kind in enumerate(KINDS)}
    by_name = {kind.name: kind for kind in KINDS}
    return Events.of(
        [
            (number, numbers[kind], event["start_s"], event["end_s"], 1.0)
            for number, events in enumerate(recordings)
            for event in events
            for kind in said(by_name[event["class"]])
        ]
    )
