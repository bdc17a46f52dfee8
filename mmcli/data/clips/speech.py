"""Says the sentence of a clip with the prosody of its level, as a WAV of 16 kHz.

A happy voice is higher, wider in pitch, faster and louder than its speaker's usual one; a sad one
lower, flatter, slower and softer (Banse and Scherer 1996, doi 10.1037/0022-3514.70.3.614, for joy
and sadness). eSpeak NG takes these as commands within the text, so `voices.speak` says them.
"""

import io
import wave
from random import Random

import numpy as np
from numpy.typing import NDArray

from mmcli.data.clips.parts import LIMIT
from mmcli.data.clips.speakers import Speaker
from mmcli.data.voices import speak

RATE_HZ = 16_000
#: What the highest level adds to the speaker's usual pitch (of 0 to 99), pitch range (50 of 0 to
#: 99), pace (words a minute) and loudness (percent); the lowest takes it away.
PITCH, RANGE, PACE, LOUDNESS = 30, 42, 36, 38
_USUAL_RANGE = 50
#: How far a recording is off its level, as a share of the highest level.
_JITTER = 0.12
#: Silence before and after in seconds, at most; the loudness of the room's noise in samples.
_SILENCE_S = 0.12
_NOISE = (5, 60)
_BEGIN = "\x01"  # of a command to eSpeak NG


def say(sentence: str, speaker: Speaker, level: int, draw: Random) -> bytes:
    """The sentence as a WAV file, 16 bit, mono; level: of the voice, -3 to 3."""
    text = commands(speaker, level, draw) + sentence
    spoken = speak(text, speaker.voice)
    samples = resampled(np.frombuffer(spoken.samples, "<i2"), spoken.rate_hz)
    before, after = (np.zeros(int(draw.uniform(0, _SILENCE_S) * RATE_HZ)) for _ in range(2))
    whole = np.concatenate([before, samples, after])
    whole += _noise(len(whole), draw)
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.clip(np.round(whole), -32768, 32767).astype("<i2").tobytes())
    return packed.getvalue()


def commands(speaker: Speaker, level: int, draw: Random) -> str:
    """Pitch, pitch range, pace and loudness, as eSpeak NG reads them within a text."""
    found = ""
    for letter, usual, most, low, high in (
        ("P", speaker.pitch, PITCH, 0, 99),
        ("R", _USUAL_RANGE, RANGE, 0, 99),
        ("S", speaker.pace, PACE, 80, 260),
        ("A", speaker.loudness, LOUDNESS, 20, 180),
    ):
        value = round(usual + most * (level / LIMIT + draw.gauss(0, _JITTER)))
        found += f"{_BEGIN}{min(max(value, low), high)}{letter}"
    return f"{found} "


def resampled(samples: NDArray[np.int16], rate_hz: int) -> NDArray[np.float64]:
    """At `RATE_HZ`, by the Fourier transform; all that the lower rate can hold is kept as it is."""
    shared = np.gcd(rate_hz, RATE_HZ)
    step, wanted = rate_hz // shared, RATE_HZ // shared
    parts = -(-len(samples) // step)
    padded = np.zeros(parts * step)
    padded[: len(samples)] = samples
    return np.fft.irfft(np.fft.rfft(padded), parts * wanted) * wanted / step


def _noise(count: int, draw: Random) -> NDArray[np.float64]:
    loudness = draw.uniform(*_NOISE)
    even = np.frombuffer(draw.randbytes(count), np.int8) / 128
    return loudness * np.sqrt(3) * even
