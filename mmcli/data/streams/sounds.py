"""The sound of a made recording: events over a ground that differs from recording to recording.

Six sounds by plain synthesis, each with a pitch, a pace and a loudness of its own every time; five
grounds. Samples are 16 kHz, mono.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmcli.data.streams.timeline import Timeline

Samples = NDArray[np.float64]
Draw = np.random.Generator

RATE_HZ = 16_000
#: Root mean square of a ground, and how many decibels above it an event is.
_GROUND_LEVEL = (0.004, 0.03)
_ABOVE_DB = (6.0, 24.0)
#: Most that the mixture may reach; louder ones are scaled down.
_PEAK = 0.95
_FADE_S = 0.01
_HUM_HZ = (50.0, 60.0)


def draw_sound(timeline: Timeline, draw: Draw) -> NDArray[np.int16]:
    """The whole recording as 16-bit samples."""
    total = round(timeline.duration_s * RATE_HZ)
    name = str(draw.choice(sorted(GROUNDS)))
    level = np.exp(draw.uniform(*np.log(_GROUND_LEVEL)))
    mixed = level * _scaled(GROUNDS[name](total, draw))
    for event in timeline.events:
        if not event.kind.sound:
            continue
        start, stop = round(event.start_s * RATE_HZ), round(event.end_s * RATE_HZ)
        sound = _scaled(SOUNDS[event.kind.sound](stop - start, draw))
        loudness = level * 10 ** (draw.uniform(*_ABOVE_DB) / 20)
        mixed[start:stop] += loudness * sound * _faded(stop - start)
    mixed *= min(1.0, _PEAK / float(np.abs(mixed).max()))
    return np.round(mixed * 32767).astype(np.int16)


# -- events ----------------------------------------------------------------------------------------


def _chirp(n: int, draw: Draw) -> Samples:
    """A bird: short upward sweeps, again and again."""
    every = int(draw.uniform(0.14, 0.28) * RATE_HZ)
    low, high = draw.uniform(2200, 3200), draw.uniform(3600, 5200)
    at = np.arange(n) % every / every
    sung = np.clip(at / 0.7, 0, 1)
    phase = 2 * np.pi * np.cumsum(low + (high - low) * sung) / RATE_HZ
    return np.asarray(np.sin(phase) * np.sin(np.pi * sung) ** 2, np.float64)


def _knock(n: int, draw: Draw) -> Samples:
    """Wood: thumps that die away at once."""
    every = int(draw.uniform(0.16, 0.35) * RATE_HZ)
    pitch, decay = draw.uniform(110, 260), draw.uniform(25, 60)
    t = np.arange(n) % every / RATE_HZ
    thump = np.sin(2 * np.pi * pitch * t) + 0.4 * np.sin(2 * np.pi * 2.7 * pitch * t)
    click = draw.standard_normal(n) * np.exp(-400 * t)
    return np.asarray((thump + 0.6 * click) * np.exp(-decay * t), np.float64)


def _siren(n: int, draw: Draw) -> Samples:
    """One tone that rises and falls."""
    t = np.arange(n) / RATE_HZ
    middle, width = draw.uniform(700, 1100), draw.uniform(200, 400)
    pitch = middle + width * np.sin(2 * np.pi * draw.uniform(0.7, 2.5) * t + draw.uniform(0, 6.28))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    return np.asarray(np.sin(phase) + 0.3 * np.sin(2 * phase), np.float64)


def _hiss(n: int, draw: Draw) -> Samples:
    """Steam: noise above a corner."""
    low = draw.uniform(2500, 4500)
    return _filtered(draw.standard_normal(n), lambda hz: hz > low)


def _bell(n: int, draw: Draw) -> Samples:
    """A struck bell: partials that are no multiples of each other."""
    every = int(draw.uniform(0.09, 0.2) * RATE_HZ)
    pitch, decay = draw.uniform(550, 900), draw.uniform(5, 12)
    t = np.arange(n) / RATE_HZ
    ring = np.exp(-decay * (np.arange(n) % every) / RATE_HZ)
    partials = ((1.0, 1.0), (2.0, 0.6), (2.4, 0.5), (3.0, 0.4), (4.5, 0.35), (5.33, 0.3))
    waves = (share * np.sin(2 * np.pi * ratio * pitch * t) for ratio, share in partials)
    return np.asarray(ring * sum(waves), np.float64)


def _horn(n: int, draw: Draw) -> Samples:
    """Two reeds a third apart, rich in harmonics."""
    t = np.arange(n) / RATE_HZ
    low = draw.uniform(180, 330)
    found = np.zeros(n)
    for pitch in (low, 1.26 * low):
        for k in range(1, 9):
            found += np.sin(2 * np.pi * k * pitch * t + draw.uniform(0, 6.28)) / k
    return found


SOUNDS: dict[str, Callable[[int, Draw], Samples]] = {
    "chirp": _chirp,
    "knock": _knock,
    "siren": _siren,
    "hiss": _hiss,
    "bell": _bell,
    "horn": _horn,
}


# -- grounds ---------------------------------------------------------------------------------------


def _white(n: int, draw: Draw) -> Samples:
    return draw.standard_normal(n)


def _pink(n: int, draw: Draw) -> Samples:
    return _filtered(draw.standard_normal(n), lambda hz: 1 / np.sqrt(np.maximum(hz, 20)))


def _rumble(n: int, draw: Draw) -> Samples:
    return _filtered(draw.standard_normal(n), lambda hz: 1 / np.maximum(hz, 40))


def _hum(n: int, draw: Draw) -> Samples:
    """A mains hum and its harmonics over a little noise."""
    t = np.arange(n) / RATE_HZ
    pitch = draw.choice(_HUM_HZ)
    waves = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 8))
    return np.asarray(_scaled(waves) + 0.3 * _pink(n, draw), np.float64)


def _street(n: int, draw: Draw) -> Samples:
    """Noise in the band of voices that swells and sinks at a few hertz."""
    noise = _filtered(draw.standard_normal(n), lambda hz: (hz > 200) & (hz < 1800))
    slow = _filtered(draw.standard_normal(n), lambda hz: hz < 4)
    return np.asarray(noise * (1 + 0.6 * np.tanh(_scaled(slow))) + 0.3 * _pink(n, draw))


GROUNDS: dict[str, Callable[[int, Draw], Samples]] = {
    "white": _white,
    "pink": _pink,
    "rumble": _rumble,
    "hum": _hum,
    "street": _street,
}


def _filtered(samples: Samples, gain: Callable[[Samples], Samples]) -> Samples:
    """The samples with each frequency multiplied; scaled to a mean square of 1."""
    spectrum = np.fft.rfft(samples)
    shaped = spectrum * gain(np.fft.rfftfreq(len(samples), 1 / RATE_HZ))
    return _scaled(np.fft.irfft(shaped, len(samples)))


def _scaled(samples: Samples) -> Samples:
    power = float(np.sqrt(np.mean(np.square(samples))))
    return samples / max(power, 1e-12)


def _faded(n: int) -> Samples:
    """1 but for short ramps at both ends, so that nothing clicks."""
    ramp = np.arange(1, n + 1) / (_FADE_S * RATE_HZ)
    return np.minimum(1.0, np.minimum(ramp, ramp[::-1]))
