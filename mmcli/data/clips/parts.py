"""The three parts of a clip's sentiment, how they are drawn, and what annotators make of them.

Words, voice and face are each one of seven levels from -3 to 3. In some rows they follow one mood,
in some each is on its own, and in a few voice and face speak against the words. All chances are
known, so the best possible scores can be counted (`ceilings.py`). Knows nothing about sentences,
sounds or pixels.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import erf, sqrt
from random import Random

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The parts, by the modality that carries each.
PARTS = ("text", "speech", "image")
LIMIT = 3
LEVELS = tuple(range(-LIMIT, LIMIT + 1))
#: What each part weighs in the sentiment; together 1.
WEIGHTS = {"text": 0.56, "speech": 0.22, "image": 0.22}
#: Shares of rows: one mood in all parts; each on its own; voice and face against the words.
AGREE, FREE, AT_ODDS = 0.35, 0.59, 0.06
#: How far a part is off the mood, with which chance.
_OFF_MOOD = {-1: 0.25, 0: 0.5, 1: 0.25}
#: Where voice and face both reach this level against the words, the words' part turns round.
TURNED_FROM = 2
ANNOTATORS = 5
#: Deviation of one annotator's opinion before it is rounded to a level.
OPINION_NOISE = 1.2
#: Numbers after the point of a label, which is a mean of whole numbers.
_DIGITS = 2


@dataclass(frozen=True)
class Levels:
    """The level of each part, from -3 to 3."""

    text: int
    speech: int
    image: int

    def contradiction(self) -> float:
        """How far voice and face both speak against the words, from 0 to 1."""
        side = np.sign(self.text)
        against = min(-side * self.speech, -side * self.image)
        return float(min(max(against, 0), TURNED_FROM)) / TURNED_FROM

    def sarcastic(self) -> bool:
        """Whether the words mean the opposite of what they say."""
        return self.contradiction() == 1

    def sentiment(self) -> float:
        """What the parts make together; the words' part shrinks, then turns, when contradicted."""
        meant = self.text * (1 - 2 * self.contradiction())
        return (
            WEIGHTS["text"] * meant
            + WEIGHTS["speech"] * self.speech
            + WEIGHTS["image"] * self.image
        )


def draw_levels(draw: Random) -> Levels:
    """The levels of one clip."""
    kind = draw.random()
    if kind < AGREE:
        mood = draw.choice(LEVELS)
        steps, chances = list(_OFF_MOOD), list(_OFF_MOOD.values())
        offs = draw.choices(steps, chances, k=len(PARTS))
        return Levels(*(min(max(mood + off, -LIMIT), LIMIT) for off in offs))
    if kind < AGREE + FREE:
        return Levels(*(draw.choice(LEVELS) for _ in PARTS))
    side = draw.choice((-1, 1))
    return Levels(
        side * draw.choice((1, 2, 3)), -side * draw.choice((2, 3)), -side * draw.choice((2, 3))
    )


def draw_label(levels: Levels, draw: Random) -> float:
    """The mean of what the annotators say."""
    truth = levels.sentiment()
    said = [
        min(max(round(truth + draw.gauss(0, OPINION_NOISE)), -LIMIT), LIMIT)
        for _ in range(ANNOTATORS)
    ]
    return round(sum(said) / ANNOTATORS, _DIGITS)


@lru_cache(maxsize=1)
def chances() -> Floats:
    """`(7, 7, 7)`: the chance of each level of words, voice and face together."""
    n = len(LEVELS)
    found = np.full((n, n, n), FREE / n**3)
    for mood in range(n):
        around = np.zeros(n)
        for off, chance in _OFF_MOOD.items():
            around[min(max(mood + off, 0), n - 1)] += chance
        found += AGREE / n * np.einsum("i,j,k->ijk", around, around, around)
    for side in (-1, 1):
        for word in (1, 2, 3):
            for voice in (2, 3):
                for face in (2, 3):
                    at = (LIMIT + side * word, LIMIT - side * voice, LIMIT - side * face)
                    found[at] += AT_ODDS / (2 * 3 * 2 * 2)
    found.setflags(write=False)
    return found


@lru_cache(maxsize=1)
def label_chances() -> Floats:
    """`(7, 7, 7, 31)`: the chance of each of `label_values` where these levels are."""
    n = len(LEVELS)
    found = np.empty((n, n, n, len(label_values())))
    for at in np.ndindex(n, n, n):
        truth = Levels(*(LEVELS[i] for i in at)).sentiment()
        edges = [_below((level + 0.5 - truth) / OPINION_NOISE) for level in LEVELS[:-1]]
        one = np.diff([0.0, *edges, 1.0])
        total = np.ones(1)
        for _ in range(ANNOTATORS):
            total = np.convolve(total, one)
        found[at] = total
    found.setflags(write=False)
    return found


def label_values() -> Floats:
    """The labels that can be, `(31,)`."""
    reach = LIMIT * ANNOTATORS
    return np.round(np.arange(-reach, reach + 1) / ANNOTATORS, _DIGITS)


def _below(deviations: float) -> float:
    return 0.5 * (1 + erf(deviations / sqrt(2)))
