"""What the pictures of posts are painted on, in shares of its side, y down.

Knows nothing about what is painted.
"""

import io
from random import Random

from PIL import Image, ImageDraw

SIDE = 224
#: Pictures are drawn this many times larger, then averaged.
_OVERSAMPLING = 2

Colour = tuple[int, int, int]
Point = tuple[float, float]
DARK: Colour = (28, 26, 28)


class Board:
    """A picture to paint on, in shares of its side."""

    def __init__(self, ground: Colour) -> None:
        large = SIDE * _OVERSAMPLING
        self._side = large
        self.image = Image.new("RGB", (large, large), ground)
        self._paint = ImageDraw.Draw(self.image)

    def fill(self, points: list[Point], colour: Colour) -> None:
        self._paint.polygon([(x * self._side, y * self._side) for x, y in points], fill=colour)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.fill([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def oval(self, x: float, y: float, a: float, b: float, colour: Colour) -> None:
        s = self._side
        self._paint.ellipse(((x - a) * s, (y - b) * s, (x + a) * s, (y + b) * s), fill=colour)

    def line(self, points: list[Point], colour: Colour, width: float) -> None:
        places = [(x * self._side, y * self._side) for x, y in points]
        self._paint.line(places, fill=colour, width=max(1, round(width * self._side)))

    def png(self) -> bytes:
        small = self.image.resize((SIDE, SIDE), Image.Resampling.BOX)
        packed = io.BytesIO()
        small.save(packed, "PNG", compress_level=1)
        return packed.getvalue()


def jagged(draw: Random, x: float, y: float, size: float) -> list[Point]:
    """The corners of a splinter about so large."""
    corners = ((-1, -0.6), (0.1, -1), (1, -0.3), (0.6, 0.9), (-0.5, 0.8))
    return [
        (x + size * dx * draw.uniform(0.6, 1.2), y + size * dy * draw.uniform(0.6, 1.2))
        for dx, dy in corners
    ]


def near(colour: Colour, draw: Random, most: int) -> Colour:
    """A colour of which each channel differs by at most so much."""
    red, green, blue = (min(max(part + draw.randint(-most, most), 0), 255) for part in colour)
    return red, green, blue
