"""The VQA score: the definition written out over all nines of ten, and how answers are read."""

from itertools import combinations

import numpy as np
import pytest

from mmcli.metrics.statistics import bootstrap_means
from mmcli.metrics.vqa import (
    accuracy_by_type,
    agreement,
    answer_scores,
    normalised,
    vqa_score,
)


def by_definition(prediction: str, answers: list[str]) -> float:
    """The mean over every set of nine annotators of min(1, those who gave the answer / 3)."""
    sets = list(combinations(answers, len(answers) - 1))
    return float(np.mean([min(1.0, nine.count(prediction) / 3) for nine in sets]))


def test_ten_annotators_as_defined() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        answers = [str(v) for v in random.choice(["cat", "dog", "bird", "fox"], 10)]
        for text in ("cat", "dog", "bird", "fox", "none of them"):
            assert vqa_score(text, answers) == pytest.approx(by_definition(text, answers))


def test_agreement_of_ten() -> None:
    assert [round(agreement(n, 10), 6) for n in range(6)] == [0, 0.3, 0.6, 0.9, 1, 1]


@pytest.mark.parametrize("annotators", range(1, 12))
def test_all_agree(annotators: int) -> None:
    """Who gives the answer that everybody gave scores exactly 1, however many there were."""
    assert agreement(annotators, annotators) == 1.0
    assert agreement(0, annotators) == 0.0
    assert vqa_score("Red.", ["red"] * annotators) == 1.0


def test_best_answer_first() -> None:
    scores = answer_scores(["b", "a", "a", "b", "c"])
    assert list(scores) == ["a", "b", "c"]
    assert scores["a"] == scores["b"] == pytest.approx(agreement(2, 5))


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("  The Dog. ", "dog"),
        ("two", "2"),
        ("none", "0"),
        ("3.5", "3.5"),
        ("U.S.", "us"),
        ("100,978 people", "100978 people"),
        ("cats, dogs", "cats dogs"),
        ("dont", "don't"),
        ("don’t", "don't"),
        ("girl's", "girl's"),
        ("girls", "girls"),
        ("its", "its"),
        ("2:50 PM", "2:50 pm"),
        ("black-and-white", "black and white"),
        ("yes!", "yes"),
        ("50%", "50%"),
        ("a", "a"),
        ("the", "the"),
        ("an apple and a pear", "apple and pear"),
        ("ＡＢＣ１２", "abc12"),
        ("红色。", "红色"),
        ("左边，上面", "左边 上面"),
        ("两", "2"),
        ("三个", "三个"),
        ("？", ""),
        ("", ""),
    ],
)
def test_answers_as_they_are_read(given: str, read: str) -> None:
    assert normalised(given) == read
    assert normalised(read) == read


def test_by_type_of_question() -> None:
    """All rows, then each type by name; questions about one picture are drawn together."""
    random = np.random.default_rng(1)
    scores = random.choice([0.0, 0.3, 1.0], 60)
    types = [["what", "count", ""][i % 3] for i in range(60)]
    groups = np.arange(60) // 4
    found = accuracy_by_type(scores, types, 500, 3, groups)
    assert [(of.type, of.rows) for of in found] == [("all", 60), ("count", 20), ("what", 20)]
    whole = bootstrap_means(scores[:, None], 500, 3, groups)
    assert (found[0].value, found[0].low, found[0].high) == (
        whole.value[0],
        whole.low[0],
        whole.high[0],
    )
    for of in found[1:]:
        mine = scores[[name == of.type for name in types]]
        assert of.value == pytest.approx(mine.mean()) and of.low < of.value < of.high


def test_one_picture_has_no_interval() -> None:
    (whole,) = accuracy_by_type(np.ones(3), ["", "", ""], 100, 0, np.zeros(3, np.int64))
    assert whole.value == 1.0 and np.isnan(whole.low) and np.isnan(whole.high)
