"""eSpeak NG says a text into a WAV that soundfile reads, the same at every time."""

import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mmcli.core.errors import BadInput, MissingResource
from mmcli.data.voices import Speech, speak, write_speech
from tests.conftest import ROOT


def test_a_recording_holds_the_words(tmp_path: Path) -> None:
    path = write_speech("a cup of coffee", tmp_path / "coffee.wav")
    samples, rate_hz = soundfile.read(path)
    assert samples.ndim == 1
    assert rate_hz == 22050
    assert 0.5 < len(samples) / rate_hz < 2
    assert np.abs(samples).max() > 0.1
    with wave.open(str(path)) as file:
        assert file.readframes(file.getnframes()) == speak("a cup of coffee").samples


def test_what_was_said_before_changes_nothing() -> None:
    first = speak("a kitten")
    speak("a rather long sentence about a motorcycle in a garage, with a pause in it")
    assert speak("a kitten") == first


def test_another_process_at_another_second_says_the_same(tmp_path: Path) -> None:
    """The library seeds the noise of a breath by the clock, in seconds."""
    code = (
        "import sys; from mmcli.data.voices import write_speech; write_speech('a cat', sys.argv[1])"
    )
    for name in ("first.wav", "second.wav"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], cwd=ROOT, check=True)
        time.sleep(1.1)
    assert (tmp_path / "first.wav").read_bytes() == (tmp_path / "second.wav").read_bytes()


def _seconds(speech: Speech) -> float:
    return len(speech.samples) / 2 / speech.rate_hz


def test_a_longer_text_takes_longer_and_voices_differ() -> None:
    short = speak("a cat")
    assert _seconds(speak("a cat sleeps on the warm stove")) > 2 * _seconds(short)
    assert speak("a cat", "en-us").samples != short.samples
    assert _seconds(speak("un chat", "fr")) > 0.2
    assert _seconds(speak("一只猫", "cmn")) > 0.2


@pytest.mark.parametrize("voice", ["klingonese", "en-us+nobody", ""])
def test_an_unknown_voice_is_named(voice: str) -> None:
    with pytest.raises(BadInput, match=f"`{voice}`".replace("+", r"\+")):
        speak("hello", voice)


@pytest.mark.parametrize("text", ["", " \n\t", "\0"])
def test_no_words_are_an_error(text: str) -> None:
    with pytest.raises(BadInput):
        speak(text)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingResource) as caught:
        speak("hello")
    assert "mmcli[voices]" in caught.value.hint
