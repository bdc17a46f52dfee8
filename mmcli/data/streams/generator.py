"""The kind `streams`: recordings with moving pictures and timed events, heard, seen or both.

Source of the idea: soundscapes mixed from events on a timeline, as in Scaper (Salamon et al. 2017);
events that need both senses, as in audio-visual event localisation (Tian et al. 2018, arXiv
1803.08842).
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from mmcli.core.errors import UsageError
from mmcli.data.streams.ceilings import StreamTally
from mmcli.data.streams.readme import describe
from mmcli.data.streams.timeline import draw_timeline, listed
from mmcli.data.synth.kinds import Made, Row
from mmcli.data.synth.writing import block_sizes, write_file

#: Recordings made at a time.
BLOCK = 8
#: Of a hundred recordings so many train, so many validate, the rest test.
_TRAIN, _VAL = 65, 15
MOST_RATE_HZ = 30


@dataclass(frozen=True)
class Streams:
    """n: recordings. rate_hz: pictures a second."""

    n: int
    seed: int = 0
    rate_hz: int = 4

    tables: ClassVar[tuple[str, ...]] = ("items",)
    folders: ClassVar[tuple[str, ...]] = ("speech", "image")

    def options(self) -> dict[str, Any]:
        return {"n": self.n, "seed": self.seed, "rate_hz": self.rate_hz}

    def blocks(self) -> Sequence[int]:
        return block_sizes(self.n, BLOCK)

    def check(self) -> None:
        if self.n < 1:
            raise UsageError(f"`-n {self.n}` recordings are none", "give 1 or more")
        if not 1 <= self.rate_hz <= MOST_RATE_HZ:
            raise UsageError(
                f"`--rate {self.rate_hz}` pictures a second", f"give 1 to {MOST_RATE_HZ}"
            )

    def make(self, block: int, folder: Path) -> Made:
        rows: list[Row] = []
        files: dict[str, Mapping[str, Any]] = {}
        first = block * BLOCK
        for number in range(first, min(first + BLOCK, self.n)):
            name = f"{number:05d}"
            timeline = draw_timeline(Random(f"timeline {self.seed} {name}"))
            speech, image = f"speech/{name}.flac", f"image/{name}.png"
            files[speech] = write_file(folder / speech, self._sound(timeline, name))
            files[image] = write_file(folder / image, self._movie(timeline, name))
            rows.append(
                {
                    "id": name,
                    "speech": speech,
                    "image": image,
                    "duration_s": timeline.duration_s,
                    "events": listed(timeline.events),
                    "split": _split(self.seed, name),
                }
            )
        return Made({"items": rows}, files)

    def tally(self) -> StreamTally:
        return StreamTally()

    def readme(self, facts: Mapping[str, Any]) -> str:
        return describe(self.options(), facts)

    def _sound(self, timeline: Any, name: str) -> bytes:
        import numpy as np
        import soundfile

        from mmcli.data.streams.sounds import RATE_HZ, draw_sound

        draw = np.random.default_rng(_digest(f"sound {self.seed} {name}"))
        packed = io.BytesIO()
        samples = draw_sound(timeline, draw)
        soundfile.write(packed, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
        return packed.getvalue()

    def _movie(self, timeline: Any, name: str) -> bytes:
        from mmcli.data.streams.movies import draw_movie

        return draw_movie(timeline, self.rate_hz, Random(f"movie {self.seed} {name}"))


def _split(seed: int, name: str) -> str:
    place = _digest(f"split {seed} {name}") % 100
    return "train" if place < _TRAIN else "val" if place < _TRAIN + _VAL else "test"


def _digest(words: str) -> int:
    return int(hashlib.sha256(words.encode()).hexdigest(), 16)
