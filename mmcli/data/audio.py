"""Reads recordings with libsndfile (WAV, FLAC, OGG, Opus, MP3 …) as mono samples.

Any rate and any number of channels; resampling is the encoder's, which knows its rate.
"""

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.data.files import PartError, is_plain, open_regular
from mmcli.data.recipes import AudioRecipe, Waveform

#: Samples decoded at once, over all channels: 4 MB of float32.
_BLOCK_SAMPLES = 1 << 20
#: A day of 16-bit stereo at 48 kHz; only what a recipe asks for is ever decoded.
MAX_AUDIO_BYTES = 16_000_000_000
#: Two days: a header that says more is taken to lie, and would make millions of windows.
MAX_DURATION_S = 172_800.0
#: Samples decoded before a place in an MP3: eight frames, as bits of a frame lie in earlier ones.
_SETTLE = 8 * 1152
#: Members of archives up to this size are read at once.
_MOST_HELD = 1 << 28
#: Sizes from here on mean "unknown" in the header of a WAV that was written to a pipe.
_UNKNOWN_SIZE = 0x7FFF_0000


def read_audio(
    path: str, recipes: Sequence[AudioRecipe], span: tuple[float, float] | None = None
) -> list[Waveform]:
    """One waveform a recipe; the file, or the span of seconds, is decoded once. Raises PartError.

    A wave that is cut to its span does not count as truncated.
    """
    start, stop = span or (0.0, math.inf)
    longest = min(stop - start, max((recipe.max_duration_s for recipe in recipes), default=0.0))
    with _opened(path) as sound:
        rate = int(sound.samplerate)
        first = round(start * rate)
        if first and first >= sound.frames:
            raise PartError("empty", f"ends before {start:g} s")
        limit = int(longest * rate) if math.isinf(stop) else round(longest * rate) - 1
        samples = _read_mono(sound, first, limit + 1)
    return waveforms(samples, rate, recipes)


def waveforms(
    samples: "np.ndarray[Any, Any]", rate_hz: int, recipes: Sequence[AudioRecipe]
) -> list[Waveform]:
    """What each recipe takes of mono samples. Raises PartError for none, and for NaN."""
    if not len(samples):
        raise PartError("empty", "holds no samples")
    if not np.isfinite(samples).all():
        raise PartError("non-finite", "holds samples that are NaN or infinite")
    limits = [int(recipe.max_duration_s * rate_hz) for recipe in recipes]
    return [Waveform(samples[:limit], rate_hz, len(samples) > limit) for limit in limits]


@dataclass(frozen=True)
class SoundFacts:
    """Format as libsndfile names it, in small letters, seconds, samples a second, channels."""

    format: str
    duration_s: float
    rate_hz: int
    channels: int


def sound_facts(path: str, deep: bool = False) -> SoundFacts:
    """What the header of a recording says; deep: all of it is decoded too. Raises PartError."""
    with _opened(path) as sound:
        rate, channels = int(sound.samplerate), int(sound.channels)
        facts = SoundFacts(str(sound.format).lower(), float(sound.frames / rate), rate, channels)
        if deep:
            for block in sound.blocks(max(1, _BLOCK_SAMPLES // channels), dtype="float32"):
                if not np.isfinite(block).all():
                    raise PartError("non-finite", "holds samples that are NaN or infinite")
    seconds = facts.duration_s
    if not 0 < seconds <= MAX_DURATION_S:
        raise PartError("empty" if seconds <= 0 else "too-large", f"says it lasts {seconds:g} s")
    return facts


def sound_seconds(path: str) -> float:
    """How long a recording is, by its header. Raises PartError."""
    return sound_facts(path).duration_s


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """The file as libsndfile has it, its header read. Raises PartError."""
    import soundfile

    with open_regular(path, MAX_AUDIO_BYTES) as stream:
        head = stream.read(12)
        _refuse_truncated_riff(head, stream.seek(0, os.SEEK_END))
    quiet = _native_stderr_muted() if _may_be_mp3(head) else nullcontext()
    try:
        with quiet, _sound_source(path) as file, soundfile.SoundFile(file) as sound:
            yield sound
    except soundfile.SoundFileError as error:
        raise PartError("corrupt", "cannot be decoded as sound") from error


@contextmanager
def _sound_source(path: str) -> Iterator[Any]:
    """What libsndfile opens: a name, which it reads several times faster than through Python, or
    the bytes of what is no file of its own."""
    if is_plain(path):
        yield path
        return
    with open_regular(path, MAX_AUDIO_BYTES) as stream:
        content = stream.read(_MOST_HELD + 1)
        if len(content) <= _MOST_HELD:
            yield io.BytesIO(content)
        else:
            stream.seek(0)
            yield stream


def _read_mono(sound: Any, first: int, limit: int) -> "np.ndarray[Any, Any]":
    """At most `limit` frames from `first` on, channels averaged."""
    block = max(1, _BLOCK_SAMPLES // sound.channels)
    settle = _SETTLE if sound.format in ("MP3", "MPEG") else 0
    blocks = []
    if first and not settle:
        sound.seek(first)
    while limit > 0:
        before = min(first, settle)
        if before:  # soundfile seeks after every read, and so starts the decoder anew
            sound.seek(first - before)
        frames = sound.read(before + min(block, limit), dtype="float32", always_2d=True)[before:]
        if not len(frames):
            break
        blocks.append(frames[:, 0] if sound.channels == 1 else frames.mean(axis=1))
        first, limit = first + len(frames), limit - len(frames)
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _refuse_truncated_riff(head: bytes, n_bytes: int) -> None:
    """libsndfile silently gives the rest of a WAV that was cut short; a cut picture is an error."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    promised = int.from_bytes(head[4:8], "little")
    if 0 < promised < _UNKNOWN_SIZE and promised > n_bytes:
        raise PartError("corrupt", "is cut short")


def _may_be_mp3(head: bytes) -> bool:
    return head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")


@contextmanager
def _native_stderr_muted() -> Iterator[None]:
    """Keeps libmpg123, which ignores every request to be quiet, from writing to the terminal."""
    try:
        saved = os.dup(2)
    except OSError:  # no stderr to keep clean
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
