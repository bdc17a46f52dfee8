"""Scenes as pictures: where each thing lies, and its pixels.

What the words leave open is drawn at random: places within their bounds, exact sizes and shades,
the direction of stripes, and the ground behind two or three things.
"""

import io
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmcli.data.scenes.shapes import shape_mask, texture_mask
from mmcli.data.scenes.words import BACKDROPS, COLOURS, Scene

Pixels = NDArray[np.uint8]
Tones = NDArray[np.float32]

#: Side of a picture, what the usual image encoders take.
SIDE = 224
#: Widths in pixels, first and last: two and three of the 32-pixel cells of a 7 x 7 feature map.
WIDTHS = {"small": (64, 68), "large": (88, 94)}
#: From centre to centre along the row or column, by the number of things; how far the middle one
#: of three is from its neighbours across it; how far all may be off the middle together.
_STEPS = {2: 104, 3: 58}
_ZIGZAG = {2: 0, 3: 106}
_SHIFTS = {2: 30, 3: 4}
#: How far each may be off its own place.
_JITTER = 3
#: An outline of this many pixels sets a thing off from its ground.
_OUTLINE = 2
_OUTLINE_TONE = np.array((250, 250, 250), np.float32)
_LIGHT_TONE = np.array((250, 250, 250), np.float32)
_DARK_TONE = np.array((25, 25, 25), np.float32)
#: Most that a channel of a colour differs from its name's.
_SHADE = 10
#: Weights of red, green and blue in how bright a colour looks (ITU-R BT.601).
_BRIGHTNESS = (0.299, 0.587, 0.114)
#: A colour brighter than this has its texture in dark.
_BRIGHT = 150
#: Most that a channel of a backdrop differs from grey; side of the grid that clouds come from.
_TINT = 14
_CLOUDS = 6


@dataclass(frozen=True)
class Place:
    """Where a thing was drawn: its centre and width in pixels."""

    x: int
    y: int
    width: int


@dataclass(frozen=True)
class Picture:
    """A drawn scene: PNG bytes, the place of each thing, and the ground by name."""

    png: bytes
    places: tuple[Place, ...]
    backdrop: str


def draw_picture(scene: Scene, draw: Random) -> Picture:
    """The scene as a PNG of `SIDE` x `SIDE` pixels, the same for the same random numbers."""
    places = _places(scene, draw)
    if scene.ground is not None:
        backdrop = "named"
        ground = _rounded(_filled(scene.ground.colour, scene.ground.texture, SIDE, draw))
    else:
        backdrop = draw.choice(BACKDROPS)
        ground = _backdrop(backdrop, draw)
    for thing, place in zip(scene.things, places, strict=True):
        around = shape_mask(thing.shape, place.width + 2 * _OUTLINE)
        _paint(ground, around, _OUTLINE_TONE, place)
        inside = _filled(thing.colour, thing.texture, place.width, draw)
        _paint(ground, shape_mask(thing.shape, place.width), inside, place)
    packed = io.BytesIO()
    Image.fromarray(ground).save(packed, "PNG", compress_level=1)
    return Picture(packed.getvalue(), places, backdrop)


def _places(scene: Scene, draw: Random) -> tuple[Place, ...]:
    """A row is level and a column upright for two; three zigzag, so that large ones have room."""
    count = len(scene.things)
    widths = [draw.randint(*WIDTHS[thing.size]) for thing in scene.things]
    if count == 1:
        room = widths[0] // 2 + _OUTLINE + 4
        x, y = (draw.randint(room, SIDE - room) for _ in range(2))
        return (Place(x, y, widths[0]),)
    aside = draw.choice((-1, 1)) * _ZIGZAG[count] // 2
    middle = SIDE // 2
    shift = draw.randint(-_SHIFTS[count], _SHIFTS[count])
    found = []
    for slot, width in enumerate(widths):
        along = middle + round((slot - (count - 1) / 2) * _STEPS[count])
        across = middle + shift + (aside if slot % 2 else -aside)
        along += draw.randint(-_JITTER, _JITTER)
        across += draw.randint(-_JITTER, _JITTER)
        x, y = (along, across) if scene.layout == "row" else (across, along)
        found.append(Place(x, y, width))
    return tuple(found)


def _filled(colour: str, texture: str, width: int, draw: Random) -> Tones:
    """A square `(width, width, 3)` of a colour, with the texture in a second tone."""
    shade = [value + draw.randint(-_SHADE, _SHADE) for value in COLOURS[colour]]
    first = np.clip(np.array(shade, np.float32), 0, 255)
    turn = draw.randrange(4)
    if texture == "plain":
        return np.broadcast_to(first, (width, width, 3))
    second = _DARK_TONE if np.dot(first, _BRIGHTNESS) > _BRIGHT else _LIGHT_TONE
    mask = texture_mask(texture, turn, width)[:, :, None]
    return first + mask * (second - first)


def _backdrop(name: str, draw: Random) -> Pixels:
    """A ground `(SIDE, SIDE, 3)` in muted tones that are no colour of a thing."""
    grey = draw.randint(95, 175)
    first = np.array([grey + draw.randint(-_TINT, _TINT) for _ in range(3)], np.float32)
    change = draw.choice((-45, 45))
    second = np.array([grey + change + draw.randint(-_TINT, _TINT) for _ in range(3)], np.float32)
    if name == "clouds":
        weights = np.array([draw.random() for _ in range(_CLOUDS**2)], np.float32)
        coarse = first + weights.reshape(_CLOUDS, _CLOUDS, 1) * (second - first)
        smooth = Image.fromarray(_rounded(coarse)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return np.array(smooth)
    if name == "flat":
        second = first
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None]
    lines = _rounded(first + ramp * (second - first))
    lines = lines[:, None] if draw.random() < 0.5 else lines[None, :]
    return np.broadcast_to(lines, (SIDE, SIDE, 3)).copy()


def _paint(ground: Pixels, mask: NDArray[np.float32], tone: Tones, place: Place) -> None:
    """Lay a tone or a square of tones over the ground where the mask covers it."""
    width = len(mask)
    left, top = place.x - width // 2, place.y - width // 2
    under = ground[top : top + width, left : left + width]
    under[:] = _rounded(under + mask[:, :, None] * (tone - under))


def _rounded(tones: Tones) -> Pixels:
    return np.clip(tones + 0.5, 0, 255).astype(np.uint8)
