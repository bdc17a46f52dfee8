"""Small films that tests make: pictures shown for so long, with or without sound, turned or not."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

Shots = Sequence[tuple[Any, float]]


def film(
    path: Path,
    shots: Shots,
    *,
    rate: int = 10,
    codec: str = "mpeg4",
    turn: int = 0,
    sound: "np.ndarray[Any, Any] | None" = None,
    sound_hz: int = 16_000,
    every: int = 12,
) -> Path:
    """Each picture `(height, width, 3)` uint8 for its seconds. every: frames from key to key."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        height, width = shots[0][0].shape[:2]
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = every
        stream.bit_rate = 2_000_000
        if turn:
            stream.set_display_rotation(turn)
        track: Any = None
        if sound is not None:
            track = container.add_stream(
                "libopus" if path.suffix == ".webm" else "aac", rate=48_000
            )
            track.layout = "mono"
        for picture, seconds in shots:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            for _ in range(round(seconds * rate)):
                frame.pts = None
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_sound(container, track, sound, sound_hz)
    return path


def flat(level: int, size: tuple[int, int] = (64, 48)) -> "np.ndarray[Any, Any]":
    """A grey picture, width by height."""
    return np.full((size[1], size[0], 3), level, np.uint8)


def _add_sound(container: Any, track: Any, sound: "np.ndarray[Any, Any]", rate_hz: int) -> None:
    import av

    values = np.ascontiguousarray(sound, np.float32)
    for start in range(0, len(values), 1024):
        block = av.AudioFrame.from_ndarray(
            values[None, start : start + 1024], format="fltp", layout="mono"
        )
        block.sample_rate, block.pts, block.time_base = rate_hz, start, Fraction(1, rate_hz)
        container.mux(track.encode(block))
    container.mux(track.encode(None))


def sound_alone(path: Path, sound: "np.ndarray[Any, Any]", rate_hz: int = 16_000) -> Path:
    """Mono samples in a container without pictures, as telephones record them."""
    import av

    with av.open(str(path), "w", format="adts" if path.suffix == ".aac" else None) as container:
        track: Any = container.add_stream("wmav2" if path.suffix == ".wma" else "aac", rate=48_000)
        track.bit_rate = 64_000
        track.layout = "mono"
        _add_sound(container, track, sound, rate_hz)
    return path
