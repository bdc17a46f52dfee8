"""Text to recorded speech by eSpeak NG, for spoken test data and demonstrations.

The library and its data come with the wheel `espeakng-loader` (GPL-3, so loaded at run time only)
and are called by ctypes. Knows nothing about encoders or items: a text goes in, a WAV comes out.
The same text and voice give the same samples.
"""

import ctypes
import importlib
import io
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, MissingResource
from mmcli.store.atomic import write_bytes

#: The voice that Whisper tiny.en understands best of those tried.
VOICE = "en-us+f3"
HINT = "pip install 'mmcli[voices]'"

# From eSpeak NG's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_TakeSamples = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_SEED = 1
#: The library has one voice and one callback in a process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Speech:
    """Mono 16-bit samples, little end first, at `rate_hz`."""

    samples: bytes
    rate_hz: int


def speak(text: str, voice: str = VOICE) -> Speech:
    """The text as eSpeak NG says it.

    voice: a language of eSpeak NG, `+` and a variant where wanted. Raises MissingResource when
    eSpeak NG is not installed, BadInput for a voice it does not have or a text it cannot say.
    """
    words = " ".join(text.replace("\0", " ").split()).encode("utf-8", "replace")
    if not words:
        raise BadInput("there is no text to say", "give words")
    heard = bytearray()

    def take(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            heard.extend(ctypes.string_at(samples, count * 2))
        return 0

    callback = _TakeSamples(take)  # must live while the library speaks: it holds the address only
    with _ONE_AT_A_TIME, _library() as (library, data, rate_hz):
        _choose_voice(library, data, voice)
        library.espeak_SetSynthCallback(callback)
        failed = library.espeak_Synth(
            ctypes.c_char_p(words),
            ctypes.c_size_t(len(words) + 1),
            ctypes.c_uint(0),
            ctypes.c_int(_POS_CHARACTER),
            ctypes.c_uint(0),
            ctypes.c_uint(_CHARS_UTF8),
            None,
            None,
        )
    if failed or not heard:
        raise BadInput(
            f"`{text[:60]}` cannot be said by the voice `{voice}`", "use a voice of its language"
        )
    return Speech(bytes(heard), rate_hz)


def write_speech(text: str, path: str | Path, voice: str = VOICE) -> Path:
    """Say the text into a WAV file (16 bit, mono), whole or not at all; gives its path."""
    speech = speak(text, voice)
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speech.rate_hz)
        file.writeframes(speech.samples)
    path = Path(path)
    write_bytes(path, packed.getvalue())
    return path


@contextmanager
def _library() -> Iterator[tuple[Any, Path, int]]:
    """eSpeak NG opened anew (5 ms), its data directory and sample rate.

    What the library said before would change what it says next, and nothing but closing it resets
    that; the noise of a breath is seeded by the clock unless it is told otherwise.
    Raises MissingResource when it is not installed or does not load.
    """
    try:
        loader = importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise MissingResource("package `espeakng-loader` is not installed", HINT) from error
    try:
        data = Path(loader.get_data_path())
        library = ctypes.CDLL(loader.get_library_path())
    except (OSError, RuntimeError) as error:
        raise MissingResource(f"eSpeak NG does not load: {error}", HINT) from error
    try:
        rate_hz = library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, str(data).encode(), _INITIALIZE_DONT_EXIT
        )
        if rate_hz <= 0:
            raise MissingResource(f"eSpeak NG cannot read its data in `{data}`", HINT)
        with suppress(AttributeError):  # since eSpeak NG 1.52
            library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
        yield library, data, rate_hz
    finally:
        library.espeak_Terminate()
        _close(library)


def _close(library: Any) -> None:
    """Unload it where Python can; elsewhere it stays open, and samples may vary a little."""
    with suppress(ImportError, AttributeError, OSError):
        importlib.import_module("_ctypes").dlclose(library._handle)


def _choose_voice(library: Any, data: Path, voice: str) -> None:
    variant = voice.partition("+")[2]
    # the library itself takes an unknown variant without a word
    known = not variant or (data / "voices" / "!v" / variant).is_file()
    if not known or library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise BadInput(f"eSpeak NG has no voice `{voice}`", f"as in `{VOICE}`, `fr` or `cmn`")
