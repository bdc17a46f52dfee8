"""Reads the sound of a video with PyAV as mono samples at its own rate: all of it, or a span."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mmcli.data.audio import waveforms
from mmcli.data.files import PartError
from mmcli.data.media_container import first_stream, load_av, opened, starts_at
from mmcli.data.recipes import AudioRecipe, Waveform

#: Decoding begins this much before a span: a lossy decoder needs some packets to settle.
_SETTLE_S = 0.25


def read_soundtrack(
    path: str, recipes: Sequence[AudioRecipe], span: tuple[float, float] | None = None
) -> list[Waveform]:
    """One waveform a recipe. Raises PartError, also when the video is silent film."""
    start, stop = span or (0.0, math.inf)
    longest = max((recipe.max_duration_s for recipe in recipes), default=0.0)
    with opened(path) as container:
        stream = first_stream(container, "audio")
        if stream is None:
            raise PartError("empty", "holds no sound")
        rate = int(stream.codec_context.sample_rate)
        first = round(start * rate)
        last = first + round(min(stop - start, longest + 1 / rate) * rate)
        samples = _samples(container, stream, rate, first, last)
    return waveforms(samples, rate, recipes)


def _samples(container: Any, stream: Any, rate: int, first: int, last: int) -> Any:
    """Mono float32 from sample `first` to `last` (excluded) of the container's clock."""
    zero = starts_at(container)
    if first > _SETTLE_S * rate:
        clock_s = first / rate - _SETTLE_S + zero
        container.seek(int(clock_s / float(stream.time_base)), stream=stream, backward=True)
    parts: list[Any] = []
    position: int | None = None
    for block, time_s in _blocks(container, stream):
        if position is None:
            position = round((time_s - zero) * rate)
        begin, end = position, position + len(block)
        position = end
        if end > first:
            parts.append(block[max(0, first - begin) : max(0, last - begin)])
        if end >= last:
            break
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _blocks(container: Any, stream: Any) -> Iterator[tuple[Any, float]]:
    """Mono samples of one frame after another, and the time of its first."""
    av = load_av()
    planar = av.AudioResampler(format="fltp")
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            time_s = float(frame.time or 0.0)
            for even in planar.resample(frame):
                yield even.to_ndarray().mean(axis=0, dtype=np.float32), time_s
