"""The kind `scenes`: matched pairs of pictures and captions, said aloud and asked about.

Source of the idea: captions of the same words in another order, as in Winoground (Thrush et al.
2022, arXiv 2204.03162); shapes and questions with known answers, as in CLEVR (Johnson et al. 2016,
arXiv 1612.06890).
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from mmcli.core.errors import UsageError
from mmcli.data.scenes.ceilings import SceneTally
from mmcli.data.scenes.pairs import Pair, draw_pair
from mmcli.data.scenes.pictures import Picture, draw_picture
from mmcli.data.scenes.questions import ask
from mmcli.data.scenes.readme import describe
from mmcli.data.scenes.words import ATTRIBUTES, Scene
from mmcli.data.synth.kinds import Made, Row
from mmcli.data.synth.writing import block_sizes, write_file
from mmcli.data.voices import speak

#: English voices of eSpeak NG, the one that Whisper tiny.en understands best first.
VOICES = (
    "en-us+f3",
    "en-us+m3",
    "en-gb-scotland+m2",
    "en-us+f1",
    "en-gb-x-rp+f4",
    "en-us+m7",
    "en-029+f5",
    "en-us+klatt3",
)
#: Pairs made at a time.
BLOCK_PAIRS = 16
MOST_THINGS = 3


@dataclass(frozen=True)
class Scenes:
    """n: scenes, in pairs. voices: how many of `VOICES` say the captions; 0 for silence."""

    n: int
    seed: int = 0
    voices: int = 0

    tables: ClassVar[tuple[str, ...]] = ("items", "questions")

    @property
    def folders(self) -> tuple[str, ...]:
        return ("images", "speech") if self.voices else ("images",)

    def options(self) -> dict[str, Any]:
        return {"n": self.n, "seed": self.seed, "voices": list(VOICES[: self.voices])}

    def blocks(self) -> Sequence[int]:
        return [2 * pairs for pairs in block_sizes(self.n // 2, BLOCK_PAIRS)]

    def check(self) -> None:
        if self.n < 2 or self.n % 2:
            raise UsageError(f"`-n {self.n}` scenes are no pairs", "give an even number")
        if not 0 <= self.voices <= len(VOICES):
            raise UsageError(f"`--voices {self.voices}` are too many", f"give 1 to {len(VOICES)}")
        for voice in VOICES[: self.voices]:
            speak("yes", voice)

    def make(self, block: int, folder: Path) -> Made:
        rows: dict[str, list[Row]] = {table: [] for table in self.tables}
        files: dict[str, Mapping[str, Any]] = {}
        first = block * BLOCK_PAIRS
        for number in range(first, min(first + BLOCK_PAIRS, self.n // 2)):
            pair = draw_pair(self.seed, number)
            questions = ask(pair, Random(f"questions {self.seed} {number}"))
            for letter, scene in (("a", pair.first), ("b", pair.second)):
                name = f"{number:06d}{letter}"
                picture = draw_picture(scene, Random(f"picture {self.seed} {name}"))
                image = f"images/{name}.png"
                files[image] = write_file(folder / image, picture.png)
                spoken: Row = {}
                if self.voices:
                    voice = Random(f"voice {self.seed} {name}").choice(VOICES[: self.voices])
                    spoken = {"speech": f"speech/{name}.flac", "voice": voice}
                    recording = _say(scene.caption(), voice)
                    files[spoken["speech"]] = write_file(folder / spoken["speech"], recording)
                rows["items"].append(
                    {"id": name, "image": image, "text": scene.caption(), **spoken}
                    | _truth(pair, scene, picture)
                )
                for question in questions:
                    rows["questions"].append(
                        {
                            "id": f"{name}-{question.kind}",
                            "image": image,
                            "question": question.text,
                            "answer": question.answer(scene),
                            "type": question.kind,
                            "scene": name,
                            "pair_id": f"{number:06d}",
                            "split": pair.split,
                        }
                    )
        return Made(rows, files)

    def tally(self) -> SceneTally:
        return SceneTally()

    def readme(self, facts: Mapping[str, Any]) -> str:
        return describe(self.options(), facts)


def _truth(pair: Pair, scene: Scene, picture: Picture) -> Row:
    """Everything that is in the picture, and what the partner has otherwise."""
    row: Row = {
        "pair_id": f"{pair.number:06d}",
        "split": pair.split,
        "swap": pair.swap,
        "n_objects": len(scene.things),
        "layout": scene.layout,
        "backdrop": picture.backdrop,
        "background_colour": scene.ground.colour if scene.ground else None,
        "background_texture": scene.ground.texture if scene.ground else None,
    }
    for slot in range(MOST_THINGS):
        there = slot < len(scene.things)
        for name in ATTRIBUTES:
            row[f"{name}_{slot + 1}"] = getattr(scene.things[slot], name) if there else None
        for name in ("x", "y", "width"):
            row[f"{name}_{slot + 1}"] = getattr(picture.places[slot], name) if there else None
    return row


def _say(caption: str, voice: str) -> bytes:
    """The caption as FLAC: the samples of a WAV in six tenths of its bytes."""
    import numpy as np
    import soundfile

    speech = speak(caption, voice)
    packed = io.BytesIO()
    samples = np.frombuffer(speech.samples, "<i2")
    soundfile.write(packed, samples, speech.rate_hz, format="FLAC", subtype="PCM_16")
    return packed.getvalue()
