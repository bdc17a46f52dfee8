"""Answer columns of every form, the vocabulary of a train set, and targets."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcli.core.errors import BadInput
from mmcli.data.answers import read_answers, targets_of, unseen, vocabulary_of
from mmcli.metrics.vqa import agreement
from mmcli.store.reader import Store
from mmcli.store.writer import StoreWriter


def store_of(path: Path, **columns: Any) -> Store:
    """A store of items without embeddings."""
    rows = len(next(iter(columns.values())))
    table = pa.table({"id": [f"q{i}" for i in range(rows)], **columns})
    with StoreWriter(path / "store", {}, {}, {}, "f") as writer:
        writer.write_shard(0, 0, table, {}, [], (rows, 0, 0), {})
        writer.commit(versions={"mmcli": "0"})
    return Store.open(path / "store")


@pytest.mark.parametrize(
    ("values", "given"),
    [
        (["The Cat", None, " "], [("cat",), (), ()]),
        ([2, None, 3], [("2",), (), ("3",)]),
        ([True, False, None], [("true",), ("false",), ()]),
        ([["a cat", "Cat!", "dog"], [], None], [("cat", "cat", "dog"), (), ()]),
        ([[2, 2], [3], None], [("2", "2"), ("3",), ()]),
        (
            [[{"answer": "Red", "answer_id": 1}, {"answer": "blue", "answer_id": 2}], None, []],
            [("red", "blue"), (), ()],
        ),
    ],
)
def test_columns(tmp_path: Path, values: list[Any], given: list[tuple[str, ...]]) -> None:
    answers = read_answers(store_of(tmp_path, answers=pa.array(values)))
    assert list(answers.given) == given
    assert answers.known.tolist() == [bool(texts) for texts in given]


def test_annotators_win_over_one_answer(tmp_path: Path) -> None:
    store = store_of(tmp_path, answer=["x", "y"], answers=[["cat"] * 10, ["dog"] * 10])
    assert read_answers(store).column == "answers"
    assert read_answers(store, "answer").given == (("x",), ("y",))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"reply": ["a", "b"]}, "neither a column `answer` nor `answers`"),
        ({"answer": [None, " "]}, "no answer in any row"),
        ({"answer": [[["a"]], [["b"]]]}, "holds list"),
        ({"answers": [[{"text": "a"}], None]}, "without `answer`"),
    ],
)
def test_refused(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_answers(store_of(tmp_path, **columns))


def test_vocabulary_is_of_train_alone(tmp_path: Path) -> None:
    answers = read_answers(store_of(tmp_path, answer=["b", "a", "b", "a", "b", "z", "z", "z"]))
    train = np.arange(5)
    vocabulary = vocabulary_of(answers, train, 10)
    assert vocabulary.answers == ("b", "a") and vocabulary.totals == (3.0, 2.0)
    targets = targets_of(answers, vocabulary.answers)
    assert unseen(answers, targets, np.arange(8)).tolist() == [5, 6, 7]
    assert targets.dense(np.array([0, 1, 5])).tolist() == [[1, 0], [0, 1], [0, 0]]
    assert vocabulary_of(answers, np.arange(8), 2).answers == ("b", "z")


def test_rare_answers_are_left_out(tmp_path: Path) -> None:
    answers = read_answers(store_of(tmp_path, answer=["a", "a", "b", "b", "c"]))
    train = np.arange(5)
    assert vocabulary_of(answers, train, 10, 2).answers == ("a", "b")
    with pytest.raises(BadInput, match="0 answers of column `answer` score 3 in train"):
        vocabulary_of(answers, train, 10, 3)


def test_soft_targets_of_annotators(tmp_path: Path) -> None:
    """What an answer is learned to be worth is what it would score."""
    given = [["red"] * 8 + ["pink", "pink"], ["pink"] * 3 + ["red"] * 1 + ["blue"] * 6]
    answers = read_answers(store_of(tmp_path, answers=given))
    vocabulary = vocabulary_of(answers, np.arange(2), 10)
    assert vocabulary.answers == ("pink", "red", "blue")
    assert vocabulary.totals == pytest.approx((0.6 + 0.9, 1 + 0.3, 1))
    dense = targets_of(answers, vocabulary.answers).dense(np.arange(2))
    assert dense == pytest.approx(
        np.array(
            [
                [agreement(2, 10), agreement(8, 10), 0],
                [agreement(3, 10), agreement(1, 10), agreement(6, 10)],
            ]
        )
    )
    assert answers.best(0) == "red" and answers.score(1, "pink") == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["a", "b", "c"], "no answer of column `answer` occurs in two train rows"),
        (["a", "a", "a"], "every train row has the answer `a`"),
    ],
)
def test_nothing_to_learn(tmp_path: Path, given: list[str], words: str) -> None:
    answers = read_answers(store_of(tmp_path, answer=given))
    with pytest.raises(BadInput, match=words):
        vocabulary_of(answers, np.arange(3), 10)
