"""What a decoding worker makes of a file: picklable descriptions, no code and no torch.

An encoder names the recipe of its input; the worker that reads the file follows it. Equal recipes
are carried out once however many encoders ask.
"""

from dataclasses import dataclass
from typing import Literal

Fit = Literal["crop", "pad", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class ImageRecipe:
    """A picture as uint8 `(height, width, 3)`, RGB, transparency on white.

    crop: the shorter side becomes `resize` (default: the shorter of the target's sides), then the
    centre is cut out. pad: the longer side becomes the target's, the rest is white. squash: both
    sides become the target's, whatever the proportions; with `resize` both become that, and the
    centre is cut out.
    """

    height: int
    width: int
    fit: Fit = "crop"
    resize: int | None = None
    interpolation: Interpolation = "bicubic"


@dataclass(frozen=True)
class PatchRecipe(ImageRecipe):
    """A picture as the most whole patches of `(height, width)` that keep its proportions; there
    are at most `most_patches` of them."""

    most_patches: int = 256


@dataclass(frozen=True)
class AudioRecipe:
    """A recording as float32 mono samples at the file's own rate, cut at `max_duration_s`."""

    max_duration_s: float = 600.0


@dataclass(frozen=True)
class TextRecipe:
    """A text as `str`, as it stands in the source (NFC is not applied; a BOM is removed)."""


@dataclass(frozen=True)
class VideoRecipe:
    """A video, or a span of it, as uint8 `(frames, height, width, 3)`, RGB, upright.

    frame: how each frame is cut and scaled, as a picture is. frames: how many, always so many,
    from the middles of equal parts of the time; a shorter video repeats some.
    """

    frame: ImageRecipe
    frames: int = 8


Recipe = ImageRecipe | AudioRecipe | TextRecipe | VideoRecipe


@dataclass(frozen=True)
class Waveform:
    """Mono samples `(n,)` float32 in [-1, 1] at `rate_hz`; truncated when the file was longer."""

    samples: "object"  # numpy.ndarray; named loosely so that this module imports no numpy
    rate_hz: int
    truncated: bool = False
