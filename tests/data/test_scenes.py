"""Scenes: partners of equal words, pictures that show what the columns say, true answers."""

import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmcli.data.scenes.ceilings import SceneTally, caption_ceilings, question_ceilings
from mmcli.data.scenes.generator import Scenes
from mmcli.data.scenes.pairs import CYCLE, draw_pair
from mmcli.data.scenes.pictures import SIDE, draw_picture
from mmcli.data.scenes.shapes import shape_mask, texture_mask
from mmcli.data.scenes.words import (
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    TEXTURES,
    bag_of_words,
    swapped,
)

#: Whole cycles of what the partners exchange.
N_SCENES = 2 * 5 * len(CYCLE)
Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """Scenes that were made, and where."""

    folder: Path
    items: list[Row]
    questions: list[Row]

    def pixels(self, row: Row) -> np.ndarray:
        return np.asarray(Image.open(self.folder / row["image"])).astype(int)

    def partners(self) -> list[tuple[Row, Row]]:
        return list(zip(self.items[::2], self.items[1::2], strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("scenes")
    return Made(folder, *rows_of(Scenes(N_SCENES, seed=3), folder))


def rows_of(scenes: Scenes, where: Path) -> tuple[list[Row], list[Row]]:
    for name in scenes.folders:
        (where / name).mkdir(exist_ok=True)
    made = [scenes.make(block, where) for block in range(len(scenes.blocks()))]
    return (
        [row for one in made for row in one.rows["items"]],
        [row for one in made for row in one.rows["questions"]],
    )


def things(row: Row) -> list[Row]:
    """The objects of a row, as the columns have them."""
    names = ("colour", "size", "texture", "shape", "x", "y", "width")
    return [{name: row[f"{name}_{i + 1}"] for name in names} for i in range(row["n_objects"])]


def test_partners_have_the_same_words_and_other_captions(made: Made) -> None:
    for one, other in made.partners():
        assert one["pair_id"] == other["pair_id"] and one["split"] == other["split"]
        assert Counter(one["text"].split()) == Counter(other["text"].split())
        assert one["text"] != other["text"]
    assert len({one["pair_id"] for one, _ in made.partners()}) == N_SCENES // 2


def test_partners_differ_in_what_swap_says_and_nothing_else(made: Made) -> None:
    whole = ("colour", "size", "texture", "shape")
    for one, other in made.partners():
        words = [[{k: t[k] for k in whole} for t in things(row)] for row in (one, other)]
        if one["swap"] == "position":
            assert words[0] != words[1]
            assert sorted(map(str, words[0])) == sorted(map(str, words[1]))
            continue
        changed = {k for a, b in zip(*words, strict=True) for k in whole if a[k] != b[k]}
        assert changed == {one["swap"]}
        if one["n_objects"] == 1:
            assert one[f"background_{one['swap']}"] == words[1][0][one["swap"]]
    assert set(Counter((o["n_objects"], o["swap"]) for o, _ in made.partners()).values()) == {5}


def test_captions_say_what_the_columns_say(made: Made) -> None:
    for row in made.items:
        phrases = [f"a {t['size']} {t['colour']} {t['texture']} {t['shape']}" for t in things(row)]
        if row["layout"] == "single":
            ground = f"on a {row['background_texture']} {row['background_colour']} background"
            assert row["text"] == f"{phrases[0]} {ground}"
        else:
            assert row["text"] == f" {RELATIONS[row['layout']]} ".join(phrases)
        assert len(set(phrases)) == len(phrases)


def test_no_picture_fits_a_caption_of_the_other_relation(made: Made) -> None:
    """A row runs from left to right and neither up nor down, a column the other way about."""
    for row in made.items:
        along, across = ("x", "y") if row["layout"] == "row" else ("y", "x")
        line = np.array([t[along] for t in things(row)])
        side = np.diff([t[across] for t in things(row)])
        assert (np.diff(line) > 40).all()
        if row["n_objects"] == 2:
            assert np.abs(side).max() <= 6
        elif row["n_objects"] == 3:
            assert side[0] * side[1] < 0


def test_the_colour_at_the_centre_is_the_one_named(made: Made) -> None:
    names = list(COLOURS)
    for row in made.items:
        pixels = made.pixels(row)
        assert pixels.shape == (SIDE, SIDE, 3)
        for thing in things(row):
            found = pixels[thing["y"], thing["x"]]
            away = [np.abs(found - COLOURS[name]).max() for name in names]
            assert names[int(np.argmin(away))] == thing["colour"]
            assert min(away) <= 12


def test_a_texture_is_seen_and_plain_is_plain(made: Made) -> None:
    for row in made.items:
        pixels = made.pixels(row)
        for thing in things(row):
            x, y, r = thing["x"], thing["y"], 9
            middle = pixels[y - r : y + r + 1, x - r : x + r + 1].reshape(-1, 3)
            varies = (np.abs(middle - pixels[y, x]).max(axis=1) > 60).any()
            assert varies == (thing["texture"] != "plain"), (row["id"], thing)


def test_things_are_large_apart_and_inside(made: Made) -> None:
    for row in made.items:
        covered = np.zeros((SIDE, SIDE))
        for thing in things(row):
            assert 64 <= thing["width"] <= 94
            assert (thing["size"] == "large") == (thing["width"] > 80)
            mask = shape_mask(thing["shape"], thing["width"])
            left, top = (thing[name] - thing["width"] // 2 for name in ("x", "y"))
            part = covered[top : top + len(mask), left : left + len(mask)]
            assert part.shape == mask.shape and left >= 0 and top >= 0
            part += mask
        assert covered.max() <= 1.01, row["id"]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fill_their_square_and_differ(shape: str) -> None:
    mask = shape_mask(shape, 64)
    assert mask[32, 32] == 1 and 0.2 < mask.mean() < 0.9
    rows, columns = (np.flatnonzero(mask.max(axis=axis) > 0.5) for axis in (1, 0))
    assert rows[-1] - rows[0] > 52 and columns[-1] - columns[0] > 52
    for other in SHAPES:
        if other != shape:
            assert np.abs(mask - shape_mask(other, 64)).mean() > 0.06


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("turn", range(4))
def test_no_texture_covers_the_centre(texture: str, turn: int) -> None:
    for width in (64, 65, 94, SIDE):
        mask = texture_mask(texture, turn, width)
        centre = mask[(width - 1) // 2 : width // 2 + 1, (width - 1) // 2 : width // 2 + 1]
        assert centre.max() == 0
        assert (texture == "plain") == (mask.max() == 0)
        assert mask.mean() < 0.55


def meant(row: Row, phrase: str) -> Row:
    """The one object that `the red object`, `the star` or `the left object` means."""
    word = phrase.removeprefix("the ").removesuffix(" object")
    if word == "object":
        (thing,) = things(row)
        return thing
    places = PLACES[row["layout"], row["n_objects"]]
    found = [
        thing
        for thing, place in zip(things(row), places, strict=True)
        if word in (place, thing["colour"], thing["size"], thing["texture"], thing["shape"])
    ]
    assert len(found) == 1, (row["id"], phrase)
    return found[0]


def truth(row: Row, question: str) -> str:
    """The answer, read from question and columns alone."""
    if question == "how many objects are there?":
        return str(row["n_objects"])
    if match := re.fullmatch(r"what (colour|shape) is (.*)\?", question):
        return str(meant(row, match[2])[match[1]])
    if match := re.fullmatch(r"where is (.*)\?", question):
        thing = meant(row, match[1])
        x = {0: "left", 1: "middle", 2: "right"}
        y = {0: "top", 1: "middle", 2: "bottom"}
        axis, names = ("x", x) if row["layout"] == "row" else ("y", y)
        others = [t[axis] for t in things(row)]
        rank = sorted(others).index(thing[axis])
        return names[rank if len(others) == 3 else 2 * rank]
    match = re.fullmatch(r"is (the .*object|the background) (?:a )?(\w+)\?", question)
    assert match is not None, question
    if match[1] == "the background":
        values = (row["background_colour"], row["background_texture"])
    else:
        thing = meant(row, match[1])
        values = tuple(thing[name] for name in ("colour", "size", "texture", "shape"))
    return "yes" if match[2] in values else "no"


def test_every_answer_is_true(made: Made) -> None:
    scenes = {row["id"]: row for row in made.items}
    for asked in made.questions:
        row = scenes[asked["scene"]]
        assert asked["answer"] == truth(row, asked["question"]), asked
        assert (asked["image"], asked["split"]) == (row["image"], row["split"])
    types = Counter(asked["type"] for asked in made.questions)
    assert set(types) == {"yes-no", "colour", "shape", "position", "count"}
    assert types["yes-no"] == types["colour"] == types["shape"] == N_SCENES


def test_yes_and_no_and_the_numbers_are_balanced(made: Made) -> None:
    questions = made.questions
    said = Counter((q["question"], q["answer"]) for q in questions if q["type"] == "yes-no")
    assert all(said[q, "yes"] == said[q, "no"] for q, _ in said)
    numbers = Counter(q["answer"] for q in questions if q["type"] == "count")
    assert len(set(numbers.values())) == 1 and set(numbers) == {"1", "2", "3"}


def test_ceilings_are_those_of_the_rows(made: Made) -> None:
    items, questions = made.items, made.questions
    tally = SceneTally()
    tally.add({"items": items[:30], "questions": []})
    tally.add({"items": items[30:], "questions": questions})
    facts = tally.facts()
    test = [row["text"] for row in items if row["split"] == "test"]
    assert facts["splits"]["test"] == facts["retrieval"]["test"]["rows"] == len(test)
    assert facts["retrieval"]["test"]["by_row"] == len(set(test)) / len(test)
    assert facts["questions"]["yes-no"]["question_only"] == 0.5
    assert facts["questions"]["count"]["question_only"] == pytest.approx(1 / 3)
    assert facts["questions"]["all"]["rows"] == len(questions)


def test_ceilings_by_hand() -> None:
    captions = Counter({"a red b blue": 2, "a blue b red": 1, "c d": 1})
    best = caption_ceilings(captions)
    assert best["by_row"] == 3 / 4  # one of the two equal captions is wrong half the time, twice
    assert best["bag_of_words"] == pytest.approx((2 * 2 / 3 + 1 / 3 + 1) / 4)
    answers = Counter(
        {("colour", "q", "red"): 3, ("colour", "q", "blue"): 1, ("colour", "r", "red"): 1,
         ("count", "n", "1"): 2, ("count", "n", "2"): 3}
    )  # fmt: skip
    guessed = question_ceilings(answers)
    assert guessed["colour"] == {"rows": 5, "question_only": 4 / 5}
    assert guessed["count"]["question_only"] == 3 / 5
    assert guessed["all"]["question_only"] == 7 / 10


def test_equal_words_never_cross_and_shares_are_about_right() -> None:
    homes: dict[str, set[str]] = {}
    splits: Counter[str] = Counter()
    for number in range(4000):
        pair = draw_pair(0, number)
        splits[pair.split] += 1
        homes.setdefault(bag_of_words(pair.first.caption()), set()).add(pair.split)
    assert all(len(names) == 1 for names in homes.values())
    assert len(homes) < 4000  # some words do occur twice, so the test can fail
    assert splits["test"] / 4000 == pytest.approx(0.2, abs=0.02)
    assert splits["val"] / 4000 == pytest.approx(0.1, abs=0.02)


def test_a_pair_depends_on_seed_and_number_alone() -> None:
    assert draw_pair(0, 7) == draw_pair(0, 7) != draw_pair(1, 7)
    pair = draw_pair(0, 7)
    assert swapped(pair.second, pair.swap, *pair.slots) == pair.first
    one = draw_picture(pair.first, Random("x")).png
    assert one == draw_picture(pair.first, Random("x")).png
    assert one != draw_picture(pair.first, Random("y")).png
    assert Image.open(io.BytesIO(one)).info == {}  # no time, no resolution


def test_a_larger_set_begins_with_the_smaller(made: Made, tmp_path: Path) -> None:
    few, _ = rows_of(Scenes(10, seed=3), tmp_path)
    assert made.items[:10] == few
    for row in few:
        small = (tmp_path / row["image"]).read_bytes()
        assert small == (made.folder / row["image"]).read_bytes()
