"""The task `event` on streams: learning to say which classes happen at each step of a recording.

A row needs a recording, a moving picture or both, and its events. Loss: binary cross-entropy or
focal, of each class at each step. Head: `streams_network.py`; from its probabilities to events:
`streams_decode.py`; measures: `metrics/detection.py`. Knows nothing about files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcli.data.streams.recordings import Recording
from mmcli.metrics.detection import (
    Events,
    average_precisions,
    mean_average_precision,
    rank_events,
)
from mmcli.tasks.streams_decode import Rule, decode_all
from mmcli.tasks.streams_network import StreamBatch, StreamNetwork, frame_loss
from mmcli.tasks.streams_tracks import Track, steps_of

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class StreamData:
    """Recordings, their classes and what is known of them at each step.

    tracks: by modality. rate_hz: steps a second.
    """

    recordings: Sequence[Recording]
    classes: tuple[str, ...]
    tracks: Mapping[str, Track]
    rate_hz: float

    def duration_s(self, row: int) -> float:
        return self.recordings[row].duration_s

    def steps(self, row: int) -> int:
        return steps_of(self.duration_s(row), self.rate_hz)

    def batch(
        self, rows: Sequence[int], *, absent: Any = None, target: bool = True, device: str = "cpu"
    ) -> StreamBatch:
        """Recordings padded to the longest. absent: parts left out, bool `(rows, modalities)`."""
        counts = [self.steps(row) for row in rows]
        longest = max(counts)
        mask = np.arange(longest) < np.array(counts)[:, None]
        values, index = {}, {}
        for place, (name, track) in enumerate(self.tracks.items()):
            parts = [track.take(row, count) for row, count in zip(rows, counts, strict=True)]
            most = max(1, *(len(vectors) for vectors, _ in parts)) if parts else 1
            packed = np.zeros((len(rows), most, track.dim), np.float32)
            places = np.full((len(rows), longest), -1, np.int64)
            for i, (vectors, at) in enumerate(parts):
                if absent is None or not absent[i, place]:
                    packed[i, : len(vectors)] = vectors
                    places[i, : len(at)] = at
            values[name] = torch.from_numpy(packed).to(device)
            index[name] = torch.from_numpy(places).to(device)
        wanted = None
        if target:
            wanted = torch.from_numpy(self._target(rows, longest)).to(device)
        return StreamBatch(values, index, torch.from_numpy(mask).to(device), wanted)

    def _target(self, rows: Sequence[int], longest: int) -> NDArray[np.float32]:
        """The share of each step that an event of a class covers, `(rows, steps, classes)`."""
        found = np.zeros((len(rows), longest, len(self.classes)), np.float32)
        numbers = {name: number for number, name in enumerate(self.classes)}
        start = np.arange(longest) / self.rate_hz
        for i, row in enumerate(rows):
            for event in self.recordings[row].events or ():
                low = np.maximum(start, event.start_s)
                high = np.minimum(start + 1 / self.rate_hz, event.end_s)
                found[i, :, numbers[event.label]] += np.clip(high - low, 0, None) * self.rate_hz
        return np.minimum(found, 1.0)

    def truth(self, rows: Sequence[int]) -> Events:
        """The true events of these rows; their recordings are numbers into `rows`."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return Events.of(
            [
                (i, numbers[event.label], event.start_s, event.end_s, 1.0)
                for i, row in enumerate(rows)
                for event in self.recordings[row].events or ()
                if event.label in numbers
            ]
        )

    def only(self, name: str) -> "StreamData":
        """The same with one modality."""
        return StreamData(self.recordings, self.classes, {name: self.tracks[name]}, self.rate_hz)


@dataclass
class StreamMethod:
    """What the training loop is given.

    focal_gamma: None for plain cross-entropy. dropout: how often each modality of a recording is
    left out, never all of them.
    """

    model: StreamNetwork
    data: StreamData
    train: Rows
    val: Rows
    batch: int = 16
    focal_gamma: float | None = None
    dropout: float = 0.0
    seed: int = 0
    device: str = "cpu"
    plain: frozenset[str] = frozenset()
    whole_epochs: bool = False

    @property
    def steps(self) -> int:
        return -(-len(self.train) // self.batch)

    def batches(self, epoch: int, start: int) -> Iterator[StreamBatch]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.train)
        away = self._absent(rng, len(order))
        for at in range(start, self.steps):
            part = slice(at * self.batch, (at + 1) * self.batch)
            yield self.data.batch(order[part].tolist(), absent=away[part], device=self.device)

    def step(self, batch: StreamBatch, backward: Callable[[Any], None]) -> dict[str, float]:
        assert batch.target is not None
        logits = self.model(batch)
        loss = frame_loss(logits.float(), batch.target, batch.mask, self.focal_gamma)
        backward(loss)
        return {"loss": float(loss.detach())}

    def score(self) -> float:
        """Mean average precision over the IoUs on the val rows, decoded by one usual rule."""
        if not len(self.val):
            return float("nan")
        rows = self.val.tolist()
        said = probabilities(self.model, self.data, rows, self.device)
        rules = [Rule()] * len(self.data.classes)
        durations = [self.data.duration_s(row) for row in rows]
        events = decode_all(said, rules, self.data.rate_hz, durations)
        ranked = rank_events(self.data.truth(rows), events, len(self.data.classes))
        return float(mean_average_precision(average_precisions(ranked)).mean())

    def _absent(self, rng: np.random.Generator, rows: int) -> Any:
        """Which parts are left out, bool `(rows, modalities)`."""
        count = len(self.data.tracks)
        away = rng.random((rows, count)) < self.dropout
        if count < 2:
            return np.zeros_like(away)
        away[away.all(axis=1)] = False
        return away


def probabilities(
    network: StreamNetwork,
    data: StreamData,
    rows: Sequence[int],
    device: str = "cpu",
    batch: int = 16,
) -> list[NDArray[np.float32]]:
    """What the network says of each recording, `(steps, classes)`, in the order of the rows."""
    found: dict[int, NDArray[np.float32]] = {}
    order = sorted(range(len(rows)), key=lambda i: data.steps(rows[i]))
    network.eval()
    with torch.inference_mode():
        for at in range(0, len(order), batch):
            some = order[at : at + batch]
            packed = data.batch([rows[i] for i in some], target=False, device=device)
            said = network(packed).float().sigmoid().cpu().numpy()
            for i, each in zip(some, said, strict=True):
                found[i] = each[: data.steps(rows[i])]
    return [found[i] for i in range(len(rows))]
