"""The speakers of clips: a voice with its usual pitch, pace and loudness, and a look.

A speaker belongs to one split. Looks and voices are dealt by the number of the speaker, the same in
every set. Knows nothing about sentiment.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

#: How many speakers each split has.
COUNTS = {"train": 24, "val": 6, "test": 10}
#: Languages and variants of eSpeak NG that are dealt, by language of the words.
_ACCENTS = {"en": ("en-us", "en-gb-scotland", "en-gb-x-rp", "en-029"), "zh": ("cmn",)}
_VARIANTS = (
    "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8",
)  # fmt: skip

Colour = tuple[int, int, int]
SKINS: tuple[Colour, ...] = (
    (255, 224, 196), (241, 194, 155), (224, 172, 125), (198, 134, 88), (141, 92, 58), (96, 62, 42),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (35, 28, 24), (80, 50, 30), (140, 92, 48), (205, 165, 90), (150, 60, 30), (170, 170, 175),
)  # fmt: skip
STYLES = ("short", "long", "bald", "round")


@dataclass(frozen=True)
class Look:
    """What a face has that no expression changes. narrow: width by height of the face."""

    skin: Colour
    hair: Colour
    style: str
    narrow: float
    glasses: bool
    shirt: Colour


@dataclass(frozen=True)
class Speaker:
    """voice: of eSpeak NG. pitch: 0 to 99. pace: words a minute. loudness: percent."""

    name: str
    voice: str
    pitch: int
    pace: int
    loudness: int
    look: Look


@lru_cache(maxsize=16)
def speakers(split: str, language: str) -> tuple[Speaker, ...]:
    """The speakers of a split, in order."""
    first = sum(list(COUNTS.values())[: list(COUNTS).index(split)])
    return tuple(_speaker(first + i, language) for i in range(COUNTS[split]))


def _speaker(number: int, language: str) -> Speaker:
    draw = Random(f"speaker {number}")
    look = Look(
        skin=draw.choice(SKINS),
        hair=draw.choice(HAIRS),
        style=draw.choice(STYLES),
        narrow=draw.uniform(0.78, 0.92),
        glasses=draw.random() < 0.25,
        shirt=(draw.randint(30, 220), draw.randint(30, 220), draw.randint(30, 220)),
    )
    accents = _ACCENTS[language]
    return Speaker(
        name=f"speaker{number:02d}",
        voice=f"{accents[number % len(accents)]}+{_VARIANTS[number % len(_VARIANTS)]}",
        pitch=draw.randint(44, 56),
        pace=draw.randint(158, 172),
        loudness=draw.randint(92, 108),
        look=look,
    )
