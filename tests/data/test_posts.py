"""Posts: labels that follow from what is shown and said, events that never cross, ceilings."""

import io
import json
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from mmcli.core.errors import UsageError
from mmcli.data.posts.board import SIDE
from mmcli.data.posts.ceilings import (
    READ,
    PostTally,
    best_for_f1,
    best_for_macro_f1,
    class_chances,
    expected_score,
)
from mmcli.data.posts.events import COUNTS, events
from mmcli.data.posts.generator import Posts
from mmcli.data.posts.parts import (
    CLASSES,
    HUMANITARIAN,
    LABEL_NOISE,
    MEMBER_NOISE,
    TYPES,
    Post,
    draw_labels,
    draw_post,
    every_post,
)
from mmcli.data.posts.pictures import draw_picture
from mmcli.data.posts.words import write_words
from mmcli.workflows.data.synth import SynthConfig, synth

N_DRAWN = 20_000
Row = dict[str, Any]


def rows_of(folder: Path) -> list[Row]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text("utf-8").splitlines()]


def make(folder: Path, n: int, workers: int = 0) -> list[Row]:
    synth(SynthConfig("posts", str(folder), {"n": n, "seed": 3}, workers=workers))
    return rows_of(folder)


def post_of(row: Row) -> Post:
    return Post(*(row[name] for name in READ["image+text"]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("posts") / "data"
    make(folder, 60)
    return folder


def test_a_row_has_its_parts_and_events_never_cross(made: Path) -> None:
    home = {one.name: split for split in COUNTS for one in events(split)}
    assert len(home) == 32
    for row in rows_of(made):
        assert Image.open(made / row["image"]).size == (SIDE, SIDE)
        assert home[row["event"]] == row["split"]
        assert row["event_type"] in CLASSES["event_type"]
        assert row["event"] not in row["text"]
    assert {row["split"] for row in rows_of(made)} == set(COUNTS)
    for split, count in COUNTS.items():
        assert Counter(one.kind for one in events(split)) == dict.fromkeys(TYPES, count)


def test_the_same_options_give_the_same_bytes_and_more_begin_with_few(
    made: Path, tmp_path: Path
) -> None:
    make(tmp_path / "again", 60, workers=1)
    for path in made.rglob("*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(made)
            assert other.read_bytes() == path.read_bytes(), path
    (tmp_path / "few/images").mkdir(parents=True)
    few = Posts(7, seed=3).make(0, tmp_path / "few").rows["items"]
    assert rows_of(made)[:7] == few
    for row in few:
        assert (tmp_path / "few" / row["image"]).read_bytes() == (made / row["image"]).read_bytes()


@pytest.mark.parametrize(
    ("post", "informative", "event_type", "damage", "humanitarian"),
    [
        (Post("flood", 0, "flood", True, 1, "rescue"), True, "flood", 1, ("rescue",)),
        (Post("flood", 2, "vague", False, 0, "rescue"), False, "flood", 2, ()),
        (Post("house", 1, "storm", True, 2, "nobody"), True, "storm", 2,
         ("infrastructure_damage",)),
        (Post("house", 1, "storm", False, 0, "nobody"), False, "none", 1, ()),
        (Post("unrelated", 0, "fire", True, 0, "injured_people"), True, "fire", 0,
         ("injured_people",)),
        (Post("unrelated", 0, "vague", True, 2, "nobody"), False, "none", 2, ()),
        (Post("earthquake", 1, "vague", True, 0, "injured_people"), True, "earthquake", 1,
         ("infrastructure_damage", "injured_people")),
    ],
)  # fmt: skip
def test_what_is_true_of_a_post(
    post: Post, informative: bool, event_type: str, damage: int, humanitarian: tuple[str, ...]
) -> None:
    assert post.informative() is informative
    assert (post.event_type(), post.damage()) == (event_type, damage)
    assert post.humanitarian() == humanitarian


@pytest.fixture(scope="module")
def drawn() -> list[Row]:
    draw = Random(5)
    found = []
    for _ in range(N_DRAWN):
        post = draw_post(draw.choice(TYPES), draw)
        found.append({**vars(post), **vars(draw_labels(post, draw)), "split": "test", "event": "e"})
    return found


def test_chances_are_those_of_what_is_drawn(drawn: list[Row]) -> None:
    wanted = defaultdict(float)
    for chance, post in every_post():
        wanted[post] += chance
    assert sum(wanted.values()) == pytest.approx(1)
    counts = Counter(post_of(row) for row in drawn)
    assert set(counts) <= set(wanted)
    for post, chance in wanted.items():
        error = np.sqrt(chance * (1 - chance) / N_DRAWN)
        assert abs(counts[post] / N_DRAWN - chance) < 5 * error, post


def test_labels_are_wrong_as_often_as_they_should_be(drawn: list[Row]) -> None:
    wrong = Counter()
    for row in drawn:
        post = post_of(row)
        wrong["informative"] += (row["informative"] == "yes") != post.informative()
        wrong["event_type"] += row["event_type"] != post.event_type()
        wrong["damage"] += CLASSES["damage"].index(row["damage"]) != post.damage()
        for member in HUMANITARIAN:
            wrong[member] += (member in row["humanitarian"]) != (member in post.humanitarian())
    for label in (*CLASSES, *HUMANITARIAN):
        noise = MEMBER_NOISE if label in HUMANITARIAN else LABEL_NOISE
        assert wrong[label] / N_DRAWN == pytest.approx(noise, abs=0.006)


@pytest.fixture(scope="module")
def facts(drawn: list[Row]) -> dict[str, Any]:
    tally = PostTally()
    tally.add({"items": drawn[:5000]})
    tally.add({"items": drawn[5000:]})
    return tally.facts()


def test_ceilings_on_many_rows_are_the_expected_ones(facts: dict[str, Any]) -> None:
    assert facts["splits"] == {"test": N_DRAWN}
    for label, found in facts["ceilings"].items():
        for read, scores in found.items():
            for name, value in scores["expected"].items():
                assert scores["test"][name] == pytest.approx(value, abs=0.015), (label, read)
        best = {read: scores["expected"]["macro_f1"] for read, scores in found.items()}
        assert 0.9 < best["image+text"] < 0.97
        assert max(best["image"], best["text"]) < best["image+text"] - 0.1


def test_scores_on_rows_are_scikit_learns(drawn: list[Row], facts: dict[str, Any]) -> None:
    rows, best = drawn, facts["ceilings"]
    for label in CLASSES:
        chances = class_chances(label, READ["text"])
        rule = dict(zip(chances, best_for_macro_f1(np.array(list(chances.values()))), strict=True))
        said = [CLASSES[label][rule[tuple(row[name] for name in READ["text"])]] for row in rows]
        wanted = f1_score([row[label] for row in rows], said, average="macro")
        assert best[label]["text"]["test"]["macro_f1"] == pytest.approx(wanted, abs=1e-6)
    truth = np.array([[one in row["humanitarian"] for one in HUMANITARIAN] for row in rows])
    told = np.array([[one in post_of(row).humanitarian() for one in HUMANITARIAN] for row in rows])
    wanted = f1_score(truth, told, average="macro")
    assert best["humanitarian"]["image+text"]["test"]["macro_f1"] == pytest.approx(wanted, abs=1e-6)


def test_whoever_knows_both_errs_by_the_noise_alone() -> None:
    for label in CLASSES:
        table = np.array(list(class_chances(label, READ["image+text"]).values()))
        accuracy = expected_score(table, table.argmax(axis=1), "accuracy")
        assert accuracy == pytest.approx(1 - LABEL_NOISE)


@pytest.mark.parametrize("seed", range(12))
def test_the_best_rule_is_the_best_of_all(seed: int) -> None:
    draw = np.random.default_rng(seed)
    table = draw.dirichlet(np.full(15, 0.4)).reshape(5, 3)
    table[1] = 0.5 * table[0]  # alike, yet the best rule may treat them unlike
    every = (np.array(rule) for rule in product(range(3), repeat=5))
    best = max(expected_score(table, rule, "macro_f1") for rule in every)
    assert expected_score(table, best_for_macro_f1(table), "macro_f1") == pytest.approx(best)
    pair = draw.dirichlet(np.ones(12)).reshape(6, 2)
    truth, weights = np.tile([0, 1], 6), pair.ravel()

    def f1(rule: Any) -> float:
        said = np.repeat(rule, 2)
        return float(f1_score(truth, said, sample_weight=weights, zero_division=0))

    assert f1(best_for_f1(pair)) == pytest.approx(max(map(f1, product((0, 1), repeat=6))))


def picture(shows: str, broken: int, seed: str) -> np.ndarray:
    png = draw_picture(Post(shows, broken, "vague", True, 0, "nobody"), Random(seed))
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def test_a_picture_shows_its_crisis() -> None:
    for seed in "abcd":
        below = {kind: picture(kind, 0, seed)[200:] for kind in (*TYPES, "house")}
        red, _, blue = (picture("fire", 0, seed)[..., c] for c in range(3))
        assert ((red > 210) & (blue < 60)).mean() > 0.01
        green = {kind: (p[..., 1] > p[..., [0, 2]].max(axis=-1) + 10).mean()
                 for kind, p in below.items()}  # fmt: skip
        assert green["flood"] < 0.5 < green["house"]
        dark = {kind: (p.max(axis=-1) < 35).mean() for kind, p in below.items()}
        assert dark["earthquake"] > 0.02 > dark["house"]
        assert picture("storm", 0, seed)[:40].mean() < picture("house", 0, seed)[:40].mean() - 40


def test_what_is_broken_is_seen() -> None:
    for seed in "abcd":
        dark = [(picture("house", broken, seed).max(axis=-1) < 35).sum() for broken in range(2)]
        assert dark[1] > dark[0] + 200
        upper = [picture("house", broken, seed)[60:110, 70:150] for broken in (0, 2)]
        spread = [part.std(axis=(0, 1)).max() for part in upper]
        assert spread[1] < spread[0]  # nothing but sky where the roof was
    assert (picture("flood", 1, "a") == picture("flood", 1, "a")).all()


def test_words_say_what_the_columns_say() -> None:
    draw = Random(1)
    said: dict[tuple[str, Any], set[str]] = {}
    for _ in range(4000):
        post = draw_post(draw.choice(TYPES), draw)
        for sentence in write_words(post, "Nowhere", draw).replace(":", ".").split("."):
            for name in ("says", "now", "lost", "needs"):
                said.setdefault((name, sentence.strip()), set()).add(str(getattr(post, name)))
    # each phrase of a name has one value of it: as many such phrases as there were written
    for name, values in (("says", 5), ("now", 2), ("lost", 3), ("needs", 3)):
        telling = [found for (of, _), found in said.items() if of == name and len(found) == 1]
        assert len({value for (value,) in telling}) == values
        assert len(telling) >= 10


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(UsageError, match="-n 0"):
        Posts(0).check()


def test_the_readme_has_the_ceilings(made: Path) -> None:
    text = (made / "README.md").read_text("utf-8")
    manifest = json.loads((made / "manifest.json").read_bytes())
    best = manifest["ceilings"]["damage"]["image+text"]["expected"]["macro_f1"]
    assert f"| damage | image+text | {best:.3f} |" in text
    assert "posts from real crises" in " ".join(text.split())
