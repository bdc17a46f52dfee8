"""CIDEr-D and BLEU-4: by hand, by another implementation, and what a perfect caption scores."""

import math

import numpy as np
import pytest

from mmcli.metrics.captions import CIDER_D_MAX, Rarity, bleu, cider_d, words_of

#: Two pictures: `cat` is in the references of one of them, `a` and `sat` in those of both.
TWO = [["a cat sat"], ["a dog sat"]]
DOGS = [
    [
        "a brown dog runs on the green grass",
        "the dog is running through a field",
        "a dog plays outside on grass",
    ],
    ["two people ride bikes down a busy street", "a man and a woman cycling in the city"],
    [
        "a red bus stops at the corner of the street",
        "the big red bus is parked by the road",
        "a bus on a city street",
    ],
    ["a cat sleeps on the sofa near a window", "the cat is lying on a couch"],
]
SAID = [
    "a dog runs on the grass",
    "a man rides a bike down the street",
    "the red bus is on the street",
    "a cat is sleeping on the sofa near the window",
]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a cat sat", 10.0),
        # cat of {the, cat}: 1/√2; `cat sat` of two pairs each: 1/2; no run of three; over 3 orders
        ("the cat sat", 10 * (1 / math.sqrt(2) + 1 / 2) / 3),
        # three cats count as the one there is, over the length of three: 1/3; no pairs in common
        ("cat cat cat", 10 * (1 / 3) / 3),
        # all words that say something, no pairs; two words too few: exp(-4 / (2 * 36))
        ("cat", 10 * math.exp(-4 / 72) / 3),
        ("dog", 0.0),
        ("", 0.0),
    ],
)
def test_cider_d_by_hand(caption: str, expected: float) -> None:
    found = cider_d([caption, "a dog sat"], TWO)
    assert found[0] == pytest.approx(expected, abs=1e-12)
    assert found[1] == pytest.approx(10.0)


def test_the_mean_over_references_counts() -> None:
    found = cider_d(["a cat sat", "a dog sat"], [["a cat sat", "a fox ran"], ["a dog sat"]])
    assert found[0] == pytest.approx(5.0)


def test_both_are_what_the_coco_evaluation_says() -> None:
    """Numbers of pycocoevalcap 1.2 on the same sentences."""
    expected = [2.38231947, 0.72888195, 2.01189178, 2.49188139]
    np.testing.assert_allclose(cider_d(SAID, DOGS), expected, atol=1e-8)
    assert bleu(SAID, DOGS) == pytest.approx(0.31298610345885248, abs=1e-9)


def test_rarity_may_come_from_more_pictures_than_are_judged() -> None:
    every = Rarity.of([[words_of(text) for text in mine] for mine in DOGS])
    one = cider_d(SAID[:1], DOGS[:1], every)
    assert one[0] == pytest.approx(cider_d(SAID, DOGS)[0])


def test_a_perfect_caption_has_the_most_there_is() -> None:
    perfect = [mine[:1] for mine in DOGS]
    np.testing.assert_allclose(cider_d([m[0] for m in perfect], perfect), CIDER_D_MAX)
    assert bleu([m[0] for m in perfect], perfect) == pytest.approx(1.0, abs=1e-12)
    short = [["a cat"], ["one dog"]]  # no run of four words anywhere
    np.testing.assert_allclose(cider_d(["a cat", "one dog"], short), CIDER_D_MAX)
    assert bleu(["a cat", "one dog"], short) == pytest.approx(1.0, abs=1e-12)


def test_chinese_is_read_by_characters() -> None:
    assert words_of("一只猫，在垫子上。") == tuple("一只猫在垫子上")
    assert words_of("Ａ ｃａｔ’s 3 hats!") == ("a", "cat's", "3", "hats")
    assert words_of("हिन्दी 한국 ねこ") == ("हिन्दी", "한국", "ね", "こ")
    references = [["一只猫在垫子上", "垫子上有猫"], ["一只狗在草地上跑"]]
    found = cider_d(["一只猫在垫子上", "一只狗在草地上跑"], references)
    assert 0 < found[0] < 10
    assert found[1] == pytest.approx(10.0)
    spaced = [[" ".join(text) for text in mine] for mine in references]
    said = ["一 只 猫 在 垫 子 上", "一 只 狗 在 草 地 上 跑"]
    np.testing.assert_allclose(cider_d(said, spaced), found)


def test_bleu_by_hand() -> None:
    # 5 of 6 words, 4 of 5 pairs … 2 of 3 runs of four
    said, true = ["the cat sat on the rug"], [["the cat sat on the mat"]]
    expected = (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert bleu(said, true) == pytest.approx(expected)
    # the same without its last two words: brevity exp(1 - 6 / 4)
    assert bleu(["the cat sat on"], true) == pytest.approx(math.exp(-0.5))
    # a word counts no more often than the reference has it: 2 of 7
    assert bleu(["the the the the the the the"], [["the cat is on the mat"]], order=1) == (
        pytest.approx(2 / 7)
    )
    assert bleu(["a cat"], [["one two three four five"]]) == 0.0
    assert bleu([""], [["a cat"]]) == 0.0


def test_the_closest_reference_is_the_shorter_of_two() -> None:
    true = [["one two three", "one two three four five"]]
    assert bleu(["one two three four"], true) == pytest.approx(1.0)  # 3, not 5, is its length


@pytest.mark.parametrize("measure", [cider_d, bleu])
def test_a_caption_needs_a_reference(measure: object) -> None:
    with pytest.raises(ValueError, match="no reference"):
        measure(["a cat"], [[]])  # type: ignore[operator]
    with pytest.raises(ValueError, match="2 captions"):
        measure(["a cat", "b"], [["a cat"]])  # type: ignore[operator]
