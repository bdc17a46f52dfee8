"""Rows of any source as examples, their answers in every form, and what they are worth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.messages import Turn
from mmcli.data.splits import SplitOptions
from mmcli.tasks.generative.examples import Example, asked
from mmcli.tasks.generative.scoring import compare, judge
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.finetune.generative.rows import load_rows
from tests.tasks.generative.making import lines, paint, rows, table


@pytest.mark.parametrize(
    ("value", "answers", "learned"),
    [
        ("red", ["red"], "red"),
        (["red", "blue", "blue"], ["red", "blue", "blue"], "blue"),
        (["red", "blue"], ["red", "blue"], "red"),
        ([{"answer": "yes", "answer_confidence": "maybe"}], ["yes"], "yes"),
        (3, ["3"], "3"),
        (2.0, ["2"], "2"),
        (True, ["yes"], "yes"),
        ("  a \n cat ", ["a cat"], "a cat"),
    ],
)
def test_answers_in_every_form(tmp_path: Path, value: Any, answers: Any, learned: str) -> None:
    paint(tmp_path, 0, "red")
    data = lines(tmp_path / "d.jsonl", [{"image": "0.png", "text": "what?", "answer": value}])
    (one,) = load_rows(str(data), "vqa").examples
    assert list(one.references) == answers
    assert one.answer == learned
    assert one.images == (str(tmp_path / "0.png"),)
    assert one.turns == (Turn("user", "<image>what?"),)
    assert one.question == "what?"


def test_a_folder_of_pictures_and_texts_is_captions(tmp_path: Path) -> None:
    paint(tmp_path, 0, "red")
    (tmp_path / "0.txt").write_text("a red square\n")
    found = load_rows(str(tmp_path), "caption")
    assert [one.answer for one in found.examples] == ["a red square"]
    assert (found.label, found.examples[0].question) == ("text", "")


def test_csv_with_other_names(tmp_path: Path) -> None:
    paint(tmp_path / ".", 0, "red")
    (tmp_path / "d.csv").write_text("picture,q,a\n0.png,what is it?,red\n")
    found = load_rows(
        str(tmp_path / "d.csv"), "vqa", "a", mapping={"image": "picture", "text": "q"}
    )
    assert (found.examples[0].question, found.examples[0].answer) == ("what is it?", "red")
    with pytest.raises(BadInput, match="has no column `b`"):
        load_rows(str(tmp_path / "d.csv"), "vqa", "b", mapping={"image": "picture", "text": "q"})
    with pytest.raises(BadInput, match="has no column `image`"):
        load_rows(str(tmp_path / "d.csv"), "vqa", "a", mapping={"text": "q"})
    with pytest.raises(BadInput, match="has no column `answer` or `answers`"):
        load_rows(str(tmp_path / "d.csv"), "vqa", mapping={"image": "picture", "text": "q"})


def test_a_directory_of_scenes_stands_for_its_questions(tmp_path: Path) -> None:
    made = [
        {"image": "0.png", "question": "what colour is it?", "answer": "red", "type": "colour"},
        {"image": "0.png", "question": "is it red?", "answer": "yes", "type": "yes-no"},
    ]
    paint(tmp_path, 0, "red")
    lines(tmp_path / "questions.jsonl", made)
    found = load_rows(str(tmp_path), "vqa").examples
    assert [one.question for one in found] == ["what colour is it?", "is it red?"]
    assert [one.kind for one in found] == ["colour", "yes-no"]


def test_a_store_knows_where_its_pictures_are(tmp_path: Path) -> None:
    data = table(tmp_path / "source", rows(6))
    extract(
        ExtractConfig(
            source=str(data), output=str(tmp_path / "store"), only=("image",), workers=0,
            encoders={"image": ("efficientnet-lite0",)}, device="cpu", precision="fp32",
        )
    )  # fmt: skip
    found = load_rows(str(tmp_path / "store"), "vqa")
    assert found.kind == "store"
    assert found.examples[0].images == (str(tmp_path / "source/0.png"),)
    assert [one.answer for one in found.examples] == ["red", "green", "blue"] * 2


def test_questions_about_one_picture_are_not_split_apart(tmp_path: Path) -> None:
    made = [row | {"image": f"{n // 4}.png"} for n, row in enumerate(rows(40, test=4))]
    for row in made:
        row["split"] = row["split"].replace("val", "train")
    table(tmp_path, rows(10))
    found = load_rows(str(lines(tmp_path / "d.jsonl", made)), "vqa")
    splits = found.splits(SplitOptions(val_fraction=0.2), train=True)
    val = {one.images for one in found.of(splits, "val")}
    assert val
    assert not val & {one.images for one in found.of(splits, "train")}
    crossing = [row | {"split": ("train", "test")[n % 2]} for n, row in enumerate(made)]
    found = load_rows(str(lines(tmp_path / "c.jsonl", crossing)), "vqa")
    assert found.splits(SplitOptions(), train=True).counts()["test"] == 20  # as the user said


def test_conversations_take_neither_names_nor_labels(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    data = str(lines(tmp_path / "d.jsonl", [{"messages": turns}]))
    with pytest.raises(UsageError, match="`--map` is for tables"):
        load_rows(data, "vqa", mapping={"image": "x"})
    with pytest.raises(UsageError, match="hold their own answers"):
        load_rows(data, "vqa", "answer")


def test_a_question_goes_into_the_prompt_own_words_stay() -> None:
    turns = (Turn("user", "<image>what is it?"),)
    assert asked(turns, False, "Question: {question} Answer:")[-1].text == (
        "<image>Question: what is it? Answer:"
    )
    assert asked(turns, True, "Question: {question} Answer:") == turns


# -- scores ----------------------------------------------------------------------------------


def example(picture: str, *references: str, kind: str = "") -> Example:
    return Example("0", "f:1", (picture,), (Turn("user", "<image>?"),), references[0], references,
                   kind=kind)  # fmt: skip


def test_the_vqa_score_counts_annotators() -> None:
    """Two of ten: 0.6, by the mean over nines (Antol et al. 2015); articles do not matter."""
    ten = ("red",) * 2 + ("blue",) * 8
    found = judge("vqa", [example("a", *ten), example("b", "cat")], ["red", "The cat."])
    assert found.values == {"vqa_accuracy": pytest.approx(0.8), "exact": 1.0}
    assert found.each.tolist() == [pytest.approx(0.6), 1.0]


def test_kinds_and_pictures_of_questions() -> None:
    rows = [
        example("a", "1", kind="count"),
        example("a", "red", kind="colour"),
        example("b", "2", kind="count"),
        example("b", "blue", kind="colour"),
    ]
    found = judge("vqa", rows, ["1", "red", "3", "blue"])
    assert {name: one["score"] for name, one in found.kinds.items()} == {"colour": 1, "count": 0.5}
    assert found.groups.tolist() == [0, 0, 1, 1]
    gain, p = compare(found, judge("vqa", rows, ["0", "0", "0", "0"]))
    assert gain == 0.75
    assert 0.4 < p < 0.6  # two pictures: half of the signs are as far


def test_captions_of_one_picture_are_its_references() -> None:
    rows = [example("a", "a red cat sat"), example("a", "the cat is red"), example("b", "one dog")]
    found = judge("caption", rows, ["a red cat sat", "a red cat sat", "one dog"])
    assert len(found.each) == 2
    assert found.each[1] == pytest.approx(10.0)
    assert 0 < found.each[0] < 10  # it equals one of its two references
    assert found.values["bleu_4"] == pytest.approx(1.0)
    assert np.isfinite([found.low, found.high]).all()


def test_rows_without_answers_are_left_out() -> None:
    unknown = Example("1", "f:2", ("c",), (Turn("user", "<image>?"),))
    found = judge("vqa", [unknown, example("a", "red")], ["blue", "red"])
    assert found.values["vqa_accuracy"] == 1.0
    with pytest.raises(ValueError, match="no example has a reference"):
        judge("vqa", [unknown], ["blue"])
