"""The picture of a made recording, as an animated PNG: a lamp, a ball, a wheel, a passer-by.

An animated PNG says itself how long each picture is shown, is one file, loses nothing, and any
browser plays it; Pillow reads and writes it without a video library.
"""

import io
import math
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmcli.data.streams.timeline import Event, Timeline

Pixels = NDArray[np.float32]
Mask = NDArray[np.float32]

#: Side of a picture in pixels.
SIDE = 64
LAMPS = {"red_lamp": (225, 25, 25), "blue_lamp": (30, 60, 235)}
_UNLIT = (45, 45, 45)
_BALL = (245, 215, 60)
_WHEEL = ((40, 160, 60), (240, 240, 240))
#: Cells of the coarse grid that the backdrop is drawn on, and the deviation of their grey.
_CELLS, _CLOUDS = 4, 25
#: Share of recordings in which somebody walks by.
_PASSERS = 0.5


def draw_movie(timeline: Timeline, rate_hz: int, draw: Random) -> bytes:
    """An animated PNG of `rate_hz` pictures a second; picture k shows the time k / rate_hz."""
    scene = _Scene(timeline, draw)
    count = max(1, math.ceil(timeline.duration_s * rate_hz))
    pictures = [Image.fromarray(scene.at(k / rate_hz)) for k in range(count)]
    starts_ms = [round(1000 * k / rate_hz) for k in range(count)]
    ends_ms = [*starts_ms[1:], max(starts_ms[-1] + 1, round(1000 * timeline.duration_s))]
    packed = io.BytesIO()
    pictures[0].save(
        packed,
        "PNG",
        save_all=True,
        append_images=pictures[1:],
        duration=[end - start for start, end in zip(starts_ms, ends_ms, strict=True)],
        loop=0,
    )
    return packed.getvalue()


class _Scene:
    """Where everything is in one recording, drawn once."""

    def __init__(self, timeline: Timeline, draw: Random) -> None:
        self.events = [event for event in timeline.events if event.kind.picture]
        grey, tint = draw.randint(80, 175), [draw.randint(-15, 15) for _ in range(3)]
        cells = np.array([draw.gauss(grey, _CLOUDS) for _ in range(_CELLS**2)])
        toned = cells.reshape(_CELLS, _CELLS, 1) + tint
        coarse = Image.fromarray(np.clip(toned, 0, 255).astype(np.uint8))
        smooth = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        self.ground = np.asarray(smooth, np.float32)
        self.lamp = (draw.uniform(14, 50), draw.uniform(12, 24), draw.uniform(9, 12))
        self.ball = (draw.uniform(36, 52), draw.uniform(7, 10), draw.choice((-1, 1)))
        self.wheel = (draw.uniform(15, 49), draw.uniform(40, 48), draw.uniform(11, 14))
        self.turn_hz = draw.uniform(0.3, 0.9)
        leaves_s = draw.uniform(0, timeline.duration_s)
        passes = draw.random() < _PASSERS
        speed = draw.choice((-1, 1)) * draw.uniform(18, 30)
        self.passer = (leaves_s, speed, draw.randint(30, 220)) if passes else None

    def at(self, time_s: float) -> NDArray[np.uint8]:
        """The picture at a time, uint8 `(SIDE, SIDE, 3)`."""
        picture = self.ground.copy()
        now = {e.kind.picture: e for e in self.events if e.start_s <= time_s < e.end_s}
        self._passer(picture, time_s)
        self._lamp(picture, next((name for name in LAMPS if name in now), ""))
        if "wheel" in now:
            self._wheel(picture, time_s)
        if "ball" in now:
            self._ball(picture, now["ball"], time_s)
        return np.clip(picture + 0.5, 0, 255).astype(np.uint8)

    def _passer(self, picture: Pixels, time_s: float) -> None:
        """A grey post that walks by and means nothing."""
        if self.passer is None:
            return
        leaves_s, speed, grey = self.passer
        at = (0 if speed > 0 else SIDE) + speed * (time_s - leaves_s)
        across, _ = _grid()
        _paint(picture, (np.abs(across - at) < 4).astype(np.float32), (grey, grey, grey))

    def _lamp(self, picture: Pixels, name: str) -> None:
        x, y, radius = self.lamp
        _paint(picture, _disc(x, y, radius + 2), (15, 15, 15))
        _paint(picture, _disc(x, y, radius), LAMPS.get(name, _UNLIT))

    def _ball(self, picture: Pixels, event: Event, time_s: float) -> None:
        """From one side to the other in the time of the event."""
        y, radius, direction = self.ball
        share = (time_s - event.start_s) / (event.end_s - event.start_s)
        across = share if direction > 0 else 1 - share
        bounce = 8 * abs(math.sin(3 * math.pi * share))
        _paint(picture, _disc(8 + 48 * across, y - bounce, radius), _BALL)

    def _wheel(self, picture: Pixels, time_s: float) -> None:
        x, y, radius = self.wheel
        across, down = _grid()
        angle = np.arctan2(down - y, across - x) + 2 * math.pi * self.turn_hz * time_s
        light = (np.floor(angle / (math.pi / 4)) % 2).astype(np.float32)
        disc = _disc(x, y, radius)
        _paint(picture, disc, _WHEEL[0])
        _paint(picture, disc * light, _WHEEL[1])


def _grid() -> tuple[Pixels, Pixels]:
    down, across = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    return across, down


def _disc(x: float, y: float, radius: float) -> Mask:
    """How much of each pixel is inside, `(SIDE, SIDE)`."""
    across, down = _grid()
    distance = np.hypot(across - np.float32(x), down - np.float32(y))
    return np.clip(np.float32(radius) - distance + np.float32(0.5), 0, 1)


def _paint(picture: Pixels, mask: Mask, colour: tuple[int, int, int]) -> None:
    picture += mask[:, :, None] * (np.array(colour, np.float32) - picture)
