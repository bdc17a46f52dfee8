"""A contact sheet of where each word looks in a picture: the picture once for each, lit by weight.

Knows pixels and weights; nothing about models.
"""

from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Sides of a cell in pixels, and of the band above it that holds the word.
CELL, BAND, GAP = 168, 20, 6
#: What a dark cell keeps of the picture's light, so that it can still be made out.
LEAST_LIGHT = 0.15
_PAPER, _INK = (255, 255, 255), (32, 32, 32)


def write_sheet(
    path: Path,
    pixels: NDArray[np.uint8],
    words: Sequence[str],
    maps: NDArray[np.float32],
    columns: int | None = None,
) -> None:
    """Write a PNG: the picture as it is, then once a word.

    pixels: `(height, width, 3)`. maps: `(words, rows, columns)` of a grid over the picture; each is
    lit from its least to its largest weight, which the band says beside the word. columns: of the
    sheet; None makes it about square.
    """
    from PIL import Image, ImageDraw

    cells = 1 + len(words)
    across = columns or ceil(sqrt(cells))
    down = ceil(cells / across)
    size = (across * (CELL + GAP) + GAP, down * (CELL + BAND + GAP) + GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, word in enumerate(["", *words]):
        left = GAP + number % across * (CELL + GAP)
        top = GAP + number // across * (CELL + BAND + GAP)
        if number:
            weights = maps[number - 1]
            lit, label = _lit(pixels, weights), f"{_fitting(word)}  {weights.max():.2f}"
        else:
            lit, label = pixels, "the picture"
        picture = Image.fromarray(lit).resize((CELL, CELL), Image.Resampling.BILINEAR)
        sheet.paste(picture, (left, top + BAND))
        draw.text((left, top + 4), label, fill=_INK)
    sheet.save(path, "PNG")


def _lit(pixels: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture, dark where the weight is least and as it is where it is largest."""
    from PIL import Image

    spread = float(weights.max() - weights.min())
    share = (weights - weights.min()) / spread if spread > 0 else np.ones_like(weights)
    light = LEAST_LIGHT + (1 - LEAST_LIGHT) * share.astype(np.float32)
    size = (pixels.shape[1], pixels.shape[0])
    smooth: Any = Image.fromarray(light, "F").resize(size, Image.Resampling.BILINEAR)
    found: NDArray[np.uint8] = (pixels * np.asarray(smooth)[..., None]).astype(np.uint8)
    return found


def _fitting(word: str) -> str:
    """What the sheet's font has, and not more than fits over a cell."""
    plain = word.encode("latin-1", "replace").decode("latin-1")
    return plain if len(plain) <= 18 else plain[:17] + "~"
