"""Features of recordings on one grid of time, whatever the rate at which they come.

A track is one modality of every recording: vectors in the order of time, and for each step of the
grid which of them it sees. What comes faster than the grid is averaged within a step, what comes
slower stays until the next. Plain numpy; knows nothing about models.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmcli.store.mapped import MappedKey
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
#: How the senses are fused: before the convolutions, or after them.
METHODS = ("early", "late")
#: One recording's vectors `(n, dim)` and, for each step, the number of its vector or -1.
Part = tuple[Floats, Numbers]


def steps_of(duration_s: float, rate_hz: float) -> int:
    """How many steps of the grid a recording takes, at least one."""
    return max(1, math.ceil(duration_s * rate_hz - 1e-6))


class Track(Protocol):
    """One modality of every recording; dim: width of its vectors."""

    dim: int

    def take(self, row: int, steps: int) -> Part:
        """The vectors of a recording, and which of them each step sees."""


@dataclass(frozen=True)
class AbsentTrack:
    """A modality that no recording has."""

    dim: int

    def take(self, row: int, steps: int) -> Part:
        return np.zeros((0, self.dim), np.float32), np.full(steps, -1, np.int64)


class SoundTrack:
    """Sequences of one or more encoders over the same recordings, averaged within each step.

    durations: seconds of the recordings in the store, by the caller's row, in the store's order.
    """

    def __init__(
        self, store: Store, keys: Sequence[str], durations: Mapping[int, float], rate_hz: float
    ) -> None:
        self._sequences = [MappedSequences(store, key) for key in keys]
        self._present = np.logical_and.reduce([store.has(key).astype(bool) for key in keys])
        self._places = {row: place for place, row in enumerate(durations)}
        self._durations, self._rate_hz = durations, rate_hz
        self.dim = sum(sequence.dim for sequence in self._sequences)

    def take(self, row: int, steps: int) -> Part:
        place = self._places.get(row, -1)
        found = []
        if place >= 0 and self._present[place]:
            found = [sequence.take([place])[0] for sequence in self._sequences]
        if not found or not all(map(len, found)):
            return np.zeros((0, self.dim), np.float32), np.full(steps, -1, np.int64)
        duration_s = self._durations[row]
        parts = [pooled(values, duration_s, steps, self._rate_hz) for values in found]
        return np.concatenate(parts, axis=1), np.arange(steps, dtype=np.int64)


@dataclass(frozen=True)
class Shown:
    """The pictures of one recording: when each begins, and its row in the store of pictures."""

    start_s: NDArray[np.float64]
    picture: Numbers


class PictureTrack:
    """Vectors of single pictures, each seen from its start until the next one's."""

    def __init__(
        self, store: Store, keys: Sequence[str], shown: Mapping[int, Shown], rate_hz: float
    ) -> None:
        self._maps = [MappedKey(store, key) for key in keys]
        self._present = np.logical_and.reduce([store.has(key).astype(bool) for key in keys])
        self._shown, self._rate_hz = shown, rate_hz
        self.dim = sum(mapped.dim for mapped in self._maps)

    def take(self, row: int, steps: int) -> Part:
        index = np.full(steps, -1, np.int64)
        shown = self._shown.get(row)
        if shown is None:
            return np.zeros((0, self.dim), np.float32), index
        pictures, places = np.unique(shown.picture, return_inverse=True)
        middle = (np.arange(steps) + 0.5) / self._rate_hz
        at = np.searchsorted(shown.start_s, middle, side="right") - 1
        index[:] = places[np.maximum(at, 0)]
        index[~self._present[pictures][index]] = -1
        return np.concatenate([mapped.take(pictures) for mapped in self._maps], axis=1), index


def pooled(values: Floats, duration_s: float, steps: int, rate_hz: float) -> Floats:
    """Vectors `(length, dim)`, evenly spread over a recording, as one a step `(steps, dim)`.

    The mean of those whose middle lies in the step; where there is none, the nearest one.
    """
    middle = (np.arange(len(values)) + 0.5) * duration_s / len(values)
    step = np.minimum((middle * rate_hz).astype(np.int64), steps - 1)
    edges = np.searchsorted(step, np.arange(steps + 1))
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0, np.float64)])
    counts = np.diff(edges)
    found = (sums[edges[1:]] - sums[edges[:-1]]) / np.maximum(counts, 1)[:, None]
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        wanted = (empty + 0.5) / rate_hz
        nearest = np.abs(middle[None, :] - wanted[:, None]).argmin(axis=1)
        found[empty] = values[nearest]
    return found.astype(np.float32)


def statistics(track: Track, rows: Sequence[int], steps: Sequence[int]) -> tuple[Floats, Floats]:
    """Mean and deviation of each coordinate over the vectors of these recordings, `(dim,)` each.

    A coordinate that never changes has deviation 1.
    """
    total, first, second = 0, np.zeros(track.dim), np.zeros(track.dim)
    for row, count in zip(rows, steps, strict=True):
        values, _ = track.take(row, count)
        total += len(values)
        first += values.sum(axis=0, dtype=np.float64)
        second += np.square(values, dtype=np.float64).sum(axis=0)
    mean = first / max(1, total)
    deviation = np.sqrt(np.maximum(second / max(1, total) - mean**2, 0))
    deviation[deviation < 1e-6] = 1.0
    return mean.astype(np.float32), deviation.astype(np.float32)
