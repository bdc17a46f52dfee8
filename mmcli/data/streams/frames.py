"""Moving pictures without a video library: the frames of an animated PNG, GIF or WebP, and when
each is shown.

Pillow reads them; a video becomes one by `ffmpeg -i clip.mp4 -vf fps=4,scale=224:-2 -f apng
clip.png`. A still picture is one frame that is always shown.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mmcli.data.files import PartError, open_regular
from mmcli.data.images import MAX_IMAGE_BYTES, MAX_PIXELS, to_rgb

#: More pictures than an hour has at 30 a second are a mistake.
MOST_FRAMES = 108_000
#: How long a frame is shown whose file says 0, as browsers do.
_UNSAID_MS = 100


@dataclass(frozen=True)
class Frame:
    """A picture in RGB and the seconds for which it is shown; 0 for a still picture."""

    picture: Any
    shown_s: float


def read_frames(path: str) -> Iterator[Frame]:
    """The frames of a moving picture, in order. Raises PartError."""
    with open_regular(path, MAX_IMAGE_BYTES) as stream:
        try:
            with Image.open(stream) as picture:
                count = getattr(picture, "n_frames", 1)
                if picture.width * picture.height > MAX_PIXELS or count > MOST_FRAMES:
                    raise PartError("too-large", f"has {count} frames of {picture.size}")
                for number in range(count):
                    picture.seek(number)
                    picture.load()
                    shown_ms = picture.info.get("duration") or _UNSAID_MS
                    rgb = to_rgb(picture).copy()  # the next frame is read into the same object
                    yield Frame(rgb, shown_ms / 1000 if count > 1 else 0.0)
        except (PartError, MemoryError):
            raise
        except Exception as error:  # Pillow's readers raise whatever broken bytes lead them to
            reason = str(error) or type(error).__name__
            raise PartError("corrupt", f"cannot be decoded: {reason}") from error


def animation_s(path: str) -> float:
    """How long all frames are shown; 0 for a still picture. Raises PartError."""
    return sum(frame.shown_s for frame in read_frames(path))


def cut_frames(path: str, folder: Path, stem: str) -> list[tuple[float, str]]:
    """Write each different frame to `folder` as PNG: when every frame begins, and its file's name.

    A frame that was there before is not written again. Raises PartError.
    """
    written: dict[bytes, str] = {}
    shown: list[tuple[float, str]] = []
    start_s = 0.0
    for frame in read_frames(path):
        digest = hashlib.sha256(repr(frame.picture.size).encode() + frame.picture.tobytes())
        key = digest.digest()
        if key not in written:
            written[key] = f"{stem}-{len(written):05d}.png"
            frame.picture.save(folder / written[key], "PNG", compress_level=1)
        shown.append((start_s, written[key]))
        start_s += frame.shown_s
    return shown
