"""Long recordings and films with one known moment: what is said or shown when is written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from mmcli.data.voices import speak
from mmcli.workflows.demo_photographs import CAPTIONS, find_photographs
from tests.films import film

VOICES = ("en-us+f3", "en-us+f4", "en-us+f3")
PHRASE = "The lighthouse keeper feeds three orange cats every morning."
#: What else is said: none of it is about animals or the sea.
OTHERS = (
    "The committee will publish the annual budget in the spring.",
    "Interest rates rose again and the bank changed its forecast.",
    "Please remember to back up the server before the update.",
    "The violin concerto was written in eighteen seventy eight.",
    "A new railway tunnel will connect the two cities.",
    "She repaired the old bicycle with parts from the market.",
    "The recipe needs two cups of flour and some butter.",
    "Our telescope photographed a distant galaxy last night.",
    "The lawyer asked the witness about the missing contract.",
    "Tomorrow it will rain in the north and stay dry in the south.",
    "The football team won the final after extra time.",
    "The museum opens a room of medieval paintings.",
    "The doctor prescribed rest and plenty of warm tea.",
    "Farmers planted wheat and barley along the river.",
    "The program crashed because a file was missing.",
    "He studied the grammar of ancient Greek for years.",
    "The mayor opened a library beside the station.",
    "The battery of this phone lasts for two days.",
)


@dataclass(frozen=True)
class Moment:
    """When the known phrase or scene begins and ends."""

    start_s: float
    end_s: float

    def overlap_s(self, start_s: float, end_s: float) -> float:
        """Seconds of it that a segment holds."""
        return max(0.0, min(self.end_s, end_s) - max(self.start_s, start_s))


def talk(path: Path, seconds: float, at_s: float, *, phrase: str = PHRASE) -> Moment:
    """A recording of other sentences in two voices, a second or two of hiss between them; the
    phrase is the first one said after `at_s`."""
    rng = np.random.default_rng(0)
    rate = speak("yes").rate_hz
    parts: list[Any] = []
    length, number, moment = 0, 0, None
    while length < seconds * rate:
        known = moment is None and length >= at_s * rate
        text = phrase if known else OTHERS[number % len(OTHERS)]
        said = speak(text, VOICES[number % len(VOICES)])
        samples = np.frombuffer(said.samples, np.int16).astype(np.float32) / 32768
        if known:
            moment = Moment(length / rate, (length + len(samples)) / rate)
        hiss = rng.normal(size=int(rng.uniform(0.5, 2.0) * rate)).astype(np.float32) * 0.003
        for part in (samples, hiss):
            parts.append(part)
            length += len(part)
        number += 1
    assert moment is not None, "the phrase must be said before the recording ends"
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        whole = np.concatenate(parts)[: round(seconds * rate)]
        for start in range(0, len(whole), rate):
            file.write(whole[start : start + rate])
    return moment


def tour(path: Path, names: Sequence[str], each_s: float, **settings: Any) -> dict[str, Moment]:
    """A film that shows photographs one after another, and when it shows each."""
    shots = [(_frame(find_photographs() / name), each_s) for name in names]
    film(path, shots, **settings)
    return {name: Moment(i * each_s, (i + 1) * each_s) for i, name in enumerate(names)}


def photographs() -> list[str]:
    """The photographs of the demo."""
    return list(CAPTIONS)


def _frame(path: Path) -> "np.ndarray[Any, Any]":
    """A photograph in a frame of 320 by 240, black beside it."""
    canvas = Image.new("RGB", (320, 240))
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail(canvas.size)
    canvas.paste(small, ((320 - small.width) // 2, (240 - small.height) // 2))
    return np.asarray(canvas)
