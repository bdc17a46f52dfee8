"""Draws matched pairs of scenes: the same words, bound to each other differently.

The pair of a number depends on the seed and that number alone, so a larger set begins with the
smaller one, and any worker can make any pair. Knows nothing about pixels.
"""

import hashlib
from dataclasses import dataclass
from random import Random

from mmcli.data.scenes.words import (
    ATTRIBUTES,
    COLOURS,
    SHAPES,
    SIZES,
    TEXTURES,
    Ground,
    Scene,
    Thing,
    bag_of_words,
    swapped,
)

_OF_SEVERAL = (*ATTRIBUTES, "position")
#: How many objects, and what the partners exchange: one after the other, so all are equally many.
CYCLE = (
    *((2, what) for what in _OF_SEVERAL),
    *((3, what) for what in _OF_SEVERAL),
    (1, "colour"),
    (1, "texture"),
)
#: Shares of the splits. A pair's words decide, so that equal words never cross.
TEST_SHARE = 0.2
VAL_SHARE = 0.1


@dataclass(frozen=True)
class Pair:
    """Two scenes of the same words.

    swap: what `second` has otherwise than `first`. slots: which things exchanged it; the same one
    twice where the other is the ground. split: `train`, `val` or `test`.
    """

    number: int
    first: Scene
    second: Scene
    swap: str
    slots: tuple[int, int]
    split: str


def draw_pair(seed: int, number: int) -> Pair:
    """The pair of that number."""
    draw = Random(f"pair {seed} {number}")
    count, swap = CYCLE[number % len(CYCLE)]
    if count == 1:
        slots = (0, 0)
        scene = _single(draw, swap)
    else:
        a, b = sorted(draw.sample(range(count), 2))
        slots = (a, b)
        scene = _several(draw, count, swap, slots)
    other = swapped(scene, swap, *slots)
    split = split_of(scene.caption())
    return Pair(number, scene, other, swap, slots, split)


def split_of(caption: str) -> str:
    """The split of a caption, by a hash of its words in alphabetical order."""
    digest = hashlib.sha256(bag_of_words(caption).encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < TEST_SHARE:
        return "test"
    return "val" if place < TEST_SHARE + VAL_SHARE else "train"


def _thing(draw: Random) -> Thing:
    return Thing(
        shape=draw.choice(SHAPES),
        colour=draw.choice(list(COLOURS)),
        size=draw.choice(SIZES),
        texture=draw.choice(TEXTURES),
    )


def _single(draw: Random, swap: str) -> Scene:
    """One thing on a ground of another colour, else it could not be seen."""
    while True:
        thing = _thing(draw)
        ground = Ground(draw.choice(list(COLOURS)), draw.choice(TEXTURES))
        if thing.colour != ground.colour and getattr(thing, swap) != getattr(ground, swap):
            return Scene("single", (thing,), ground)


def _several(draw: Random, count: int, swap: str, slots: tuple[int, int]) -> Scene:
    """Things of which no two are the same, before and after the exchange."""
    layout = draw.choice(("row", "column"))
    while True:
        things = tuple(_thing(draw) for _ in range(count))
        scene = Scene(layout, things)
        other = swapped(scene, swap, *slots)
        distinct = len(set(things)) == len(set(other.things)) == count
        if distinct and other != scene:
            return scene
