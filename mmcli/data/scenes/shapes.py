"""Masks of shapes and textures, antialiased, made once a process and then copied.

A mask is a float32 array of coverage from 0 to 1. Knows nothing about colours or scenes.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Mask = NDArray[np.float32]
#: Shapes are drawn this many times larger, then averaged.
_OVERSAMPLING = 4
#: Periods and widths of the textures in pixels: two to three repeats fit into the smallest object.
_STRIPES = (18, 8)
_DOTS = (18, 5.0)
_CHECKS = 13
_WHOLE_TURN = 2 * math.pi


@lru_cache(maxsize=512)
def shape_mask(shape: str, width: int) -> Mask:
    """Coverage `(width, width)` of a shape that touches the edges; its centre is covered."""
    large = width * _OVERSAMPLING
    canvas = Image.new("L", (large, large), 0)
    pen = ImageDraw.Draw(canvas)
    if shape == "circle":
        pen.ellipse((0, 0, large - 1, large - 1), fill=255)
    else:
        points = [(x * (large - 1), y * (large - 1)) for x, y in _outline(shape)]
        pen.polygon(points, fill=255)
    small = canvas.resize((width, width), Image.Resampling.BOX)
    return _frozen(np.asarray(small, np.float32) / 255)


@lru_cache(maxsize=512)
def texture_mask(texture: str, turn: int, width: int) -> Mask:
    """Where `(width, width)` the second tone lies, from 0 to 1; never at the centre.

    turn: of the stripes, in steps of 45 degrees.
    """
    centre = (width - 1) / 2
    y, x = np.mgrid[:width, :width].astype(np.float32) - centre
    if texture == "striped":
        period, stripe = _STRIPES
        along = x * math.cos(turn * math.pi / 4) + y * math.sin(turn * math.pi / 4)
        from_middle = np.abs(along % period - period / 2)
        found = np.clip(stripe / 2 - from_middle + 0.5, 0, 1)
    elif texture == "dotted":
        period, radius = _DOTS
        away = np.hypot(x % period - period / 2, y % period - period / 2)
        found = np.clip(radius - away + 0.5, 0, 1)
    elif texture == "checkered":
        column, row = (np.floor(part / _CHECKS + 0.5) for part in (x, y))
        found = (column + row) % 2
    else:
        found = np.zeros_like(x)
    return _frozen(found.astype(np.float32))


def _outline(shape: str) -> list[tuple[float, float]]:
    """Corners in a square of side 1, y down."""
    if shape == "square":  # a little smaller, so that its area is nearer to the circle's
        return [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)]
    if shape == "triangle":
        return [(0.5, 0.02), (1.0, 0.95), (0.0, 0.95)]
    if shape == "cross":
        a, b = 0.32, 0.68
        return [(a, 0), (b, 0), (b, a), (1, a), (1, b), (b, b),
                (b, 1), (a, 1), (a, b), (0, b), (0, a), (a, a)]  # fmt: skip
    if shape == "star":
        return [
            (0.5 + r * math.sin(step * _WHOLE_TURN / 10),
             0.53 - r * math.cos(step * _WHOLE_TURN / 10))
            for step, r in ((s, 0.52 if s % 2 == 0 else 0.23) for s in range(10))
        ]  # fmt: skip
    if shape == "heart":  # the curve of 16 sin^3 t, 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t
        turns = (step * _WHOLE_TURN / 64 for step in range(64))
        return [
            (0.5 + math.sin(t) ** 3 / 2,
             0.42 - (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t)
                     - math.cos(4 * t)) / 32)
            for t in turns
        ]  # fmt: skip
    raise ValueError(shape)


def _frozen(mask: Mask) -> Mask:
    mask.flags.writeable = False
    return mask
