"""The kind `clips`: a face, a spoken sentence and its words, each with a part of a sentiment.

The shape of the data is that of CMU-MOSI (Zadeh et al. 2016, arXiv 1606.06259: a score from -3 to
3) with a label a modality as in CH-SIMS (Yu et al. 2020, ACL 2020.acl-main.343) and sarcasm as in
MUStARD (Castro et al. 2019, arXiv 1906.01815).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from mmcli.core.errors import UsageError
from mmcli.data.clips.ceilings import ClipTally
from mmcli.data.clips.faces import draw_face
from mmcli.data.clips.parts import draw_label, draw_levels
from mmcli.data.clips.readme import describe
from mmcli.data.clips.sentences import LANGUAGES, draw_sentence, split_at
from mmcli.data.clips.speakers import COUNTS, speakers
from mmcli.data.clips.speech import say
from mmcli.data.synth.kinds import Made, Row
from mmcli.data.synth.writing import block_sizes, write_file
from mmcli.data.voices import speak

#: Clips made at a time.
BLOCK = 25


@dataclass(frozen=True)
class Clips:
    """n: clips. language: of the words and voices, one of `LANGUAGES`."""

    n: int
    seed: int = 0
    language: str = "en"

    tables: ClassVar[tuple[str, ...]] = ("items",)
    folders: ClassVar[tuple[str, ...]] = ("images", "speech")

    def options(self) -> dict[str, Any]:
        return {"n": self.n, "seed": self.seed, "language": self.language}

    def blocks(self) -> Sequence[int]:
        return block_sizes(self.n, BLOCK)

    def check(self) -> None:
        if self.n < 1:
            raise UsageError(f"`-n {self.n}` clips are none", "give 1 or more")
        if self.language not in LANGUAGES:
            raise UsageError(
                f"`--language {self.language}` is not known", f"give {' or '.join(LANGUAGES)}"
            )
        for voice in {one.voice for split in COUNTS for one in speakers(split, self.language)}:
            speak("1", voice)

    def make(self, block: int, folder: Path) -> Made:
        rows: list[Row] = []
        files: dict[str, Mapping[str, Any]] = {}
        for number in range(block * BLOCK, min((block + 1) * BLOCK, self.n)):
            draw = Random(f"clip {self.seed} {number}")
            split = split_at(draw.random())
            speaker = draw.choice(speakers(split, self.language))
            levels = draw_levels(draw)
            text = draw_sentence(self.language, levels.text, split, draw)
            name = f"{number:06d}"
            image, speech = f"images/{name}.png", f"speech/{name}.wav"
            face = draw_face(speaker.look, levels.image, Random(f"face {self.seed} {name}"))
            voice = Random(f"voice {self.seed} {name}")
            files[image] = write_file(folder / image, face)
            files[speech] = write_file(folder / speech, say(text, speaker, levels.speech, voice))
            rows.append(
                {
                    "id": name,
                    "image": image,
                    "text": text,
                    "speech": speech,
                    "sentiment": draw_label(levels, draw),
                    "sentiment_text": levels.text,
                    "sentiment_speech": levels.speech,
                    "sentiment_image": levels.image,
                    "sarcasm": levels.sarcastic(),
                    "speaker": speaker.name,
                    "split": split,
                }
            )
        return Made({"items": rows}, files)

    def tally(self) -> ClipTally:
        return ClipTally()

    def readme(self, facts: Mapping[str, Any]) -> str:
        return describe(self.options(), facts)
