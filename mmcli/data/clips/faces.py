"""Draws the face of a clip: mouth, brows and eyes show its level, all else is the speaker's.

Size, place, tilt and ground are drawn at random, and the expression is a little off its level.
Coordinates of a face: its centre is (0, 0), its chin at y = 1, y down.
"""

import io
import math
from random import Random

from PIL import Image, ImageDraw

from mmcli.data.clips.parts import LIMIT
from mmcli.data.clips.speakers import Colour, Look

SIDE = 224
#: Faces are drawn this many times larger, then averaged.
_OVERSAMPLING = 2
#: Half the height of a face in pixels of the picture.
_SIZES = (58, 88)
_TILT = math.radians(6)
#: How far an expression is off its level, as a share of the highest level.
_JITTER = 0.1
_LIPS: Colour = (165, 50, 55)
_MOUTH: Colour = (95, 20, 30)
_TEETH: Colour = (250, 250, 245)
_EYE: Colour = (250, 250, 250)
_PUPIL: Colour = (25, 25, 30)
_FRAME: Colour = (30, 30, 40)

Point = tuple[float, float]


def draw_face(look: Look, level: int, draw: Random) -> bytes:
    """A PNG of `SIDE` x `SIDE` pixels; level: of the face, -3 to 3."""
    large = SIDE * _OVERSAMPLING
    ground = _muted(draw)
    canvas = Image.new("RGB", (large, large), ground)
    paint = ImageDraw.Draw(canvas)
    if draw.random() < 0.5:  # a floor, a wall's lower half
        paint.rectangle((0, draw.randint(large // 2, large), large, large), fill=_muted(draw))
    expression = level / LIMIT + draw.gauss(0, _JITTER)
    pen = _Pen(
        paint,
        (large / 2 + draw.uniform(-28, 28), large / 2 + draw.uniform(-20, 24)),
        draw.uniform(*_SIZES) * _OVERSAMPLING,
        draw.uniform(-_TILT, _TILT),
    )
    _head(pen, look)
    _features(pen, look, min(max(expression, -1.2), 1.2))
    small = canvas.resize((SIDE, SIDE), Image.Resampling.BOX)
    packed = io.BytesIO()
    small.save(packed, "PNG", compress_level=1)
    return packed.getvalue()


class _Pen:
    """Draws in the coordinates of a face that lies, large and tilted, on a picture."""

    def __init__(self, paint: ImageDraw.ImageDraw, centre: Point, size: float, tilt: float) -> None:
        self._paint = paint
        self._centre = centre
        self._across = (size * math.cos(tilt), size * math.sin(tilt))
        self._size = size

    def _places(self, points: list[Point]) -> list[Point]:
        cos, sin = self._across
        cx, cy = self._centre
        return [(cx + x * cos - y * sin, cy + x * sin + y * cos) for x, y in points]

    def fill(self, points: list[Point], colour: Colour) -> None:
        self._paint.polygon(self._places(points), fill=colour)

    def line(self, points: list[Point], colour: Colour, width: float) -> None:
        pixels = max(1, round(width * self._size))
        places = self._places(points)
        self._paint.line(places, fill=colour, width=pixels, joint="curve")
        for x, y in (places[0], places[-1]):
            r = pixels / 2
            self._paint.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def oval(self, x: float, y: float, half_width: float, half_height: float, c: Colour) -> None:
        self.fill(_arc(x, y, half_width, half_height, 0, 360), c)


def _head(pen: _Pen, look: Look) -> None:
    w = look.narrow
    if look.style == "long":
        pen.oval(0, 0.05, w * 1.22, 1.25, look.hair)
        pen.fill([(-w * 1.22, 0), (w * 1.22, 0), (w * 1.15, 1.35), (-w * 1.15, 1.35)], look.hair)
    elif look.style == "round":
        pen.oval(0, -0.25, w * 1.3, 1.1, look.hair)
    pen.oval(0, 2.05, w * 1.7, 0.95, look.shirt)
    neck = _shaded(look.skin, 0.85)
    pen.fill([(-0.3, 0.6), (0.3, 0.6), (0.34, 1.3), (-0.34, 1.3)], neck)
    for side in (-1, 1):
        pen.oval(side * w, 0.02, 0.12, 0.2, neck)
    pen.oval(0, 0, w, 1, look.skin)
    if look.style != "bald":
        pen.fill(_arc(0, 0, w * 1.03, 1.04, 205, 335), look.hair)


def _features(pen: _Pen, look: Look, e: float) -> None:
    """e: the expression, from -1 for the saddest to 1 for the happiest."""
    brow = _shaded(look.hair, 0.7)
    for side in (-1, 1):
        x = side * 0.38
        open_ = 0.13 + 0.045 * e
        pen.oval(x, -0.13, 0.17, open_, _EYE)
        pen.oval(x, -0.13 + 0.02, 0.075, min(0.09, open_), _PUPIL)
        inner = (side * 0.17, -0.37 + 0.11 * min(-e, 1.2) - 0.02)
        middle = (side * 0.38, -0.40 - 0.07 * max(e, 0))
        outer = (side * 0.58, -0.36 - 0.06 * -e)
        pen.line([inner, middle, outer], brow, 0.06)
        if look.glasses:
            pen.line(_arc(x, -0.12, 0.25, 0.23, 0, 360), _FRAME, 0.03)
    if look.glasses:
        pen.line([(-0.13, -0.12), (0.13, -0.12)], _FRAME, 0.03)
    pen.line([(0.02, 0.0), (0.08, 0.24), (-0.04, 0.26)], _shaded(look.skin, 0.7), 0.035)
    _mouth(pen, e)


def _mouth(pen: _Pen, e: float) -> None:
    """Corners up and open for a smile, corners down for a frown."""
    half, depth = 0.34 + 0.08 * abs(e), 0.3 * e
    steps = [i / 8 - 1 for i in range(17)]
    top = 0.52 - depth / 2
    curve = [(half * s, top + depth * (1 - s * s)) for s in steps]
    opened = 0.28 * max(0.0, e - 0.2)
    if opened > 0:
        low = [(half * s, top + (depth + opened) * (1 - s * s)) for s in steps]
        pen.fill(curve + low[::-1], _MOUTH)
        teeth = [(half * s, top + (depth + opened * 0.4) * (1 - s * s)) for s in steps]
        pen.fill(curve + teeth[::-1], _TEETH)
        pen.line(low, _LIPS, 0.04)
    pen.line(curve, _LIPS, 0.06)


def _arc(x: float, y: float, a: float, b: float, first: int, last: int) -> list[Point]:
    """Points of an ellipse, angles in degrees clockwise from the right."""
    turns = [math.radians(angle) for angle in range(first, last + 1, 8)]
    return [(x + a * math.cos(t), y + b * math.sin(t)) for t in turns]


def _muted(draw: Random) -> Colour:
    grey = draw.randint(80, 215)
    red, green, blue = (min(max(grey + draw.randint(-35, 35), 0), 255) for _ in range(3))
    return red, green, blue


def _shaded(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(part * share) for part in colour)
    return red, green, blue
