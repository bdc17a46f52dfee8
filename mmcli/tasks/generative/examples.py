"""What a generative model learns from and is asked: pictures, words before, the answers.

Made from rows of a table or from conversations; checked as far as no model is needed. Knows nothing
about tokens.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.data.messages import IMAGE, Conversation, Turn
from mmcli.tasks.generative.registry import QUESTION


@dataclass(frozen=True)
class Example:
    """One row. where: how messages name it; images: paths.

    turns: what was said before, the last one the user's; with `<image>` for each picture. answer:
    what is learned, "" where nobody knows it. references: every answer that counts as right.
    written: the turns are the user's own words, not a question to be put into a prompt. kind: of
    question, where the data say so.
    """

    id: str
    where: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    answer: str = ""
    references: tuple[str, ...] = ()
    written: bool = False
    kind: str = ""

    @property
    def question(self) -> str:
        """The last thing the user says, without the marks of pictures."""
        return self.turns[-1].text.replace(IMAGE, " ").strip()


def asked(turns: Sequence[Turn], written: bool, prompt: str) -> tuple[Turn, ...]:
    """The turns as they are said: a table's question goes into the prompt, own words stay."""
    if written:
        return tuple(turns)
    last = turns[-1]
    plain = last.text.replace(IMAGE, "")
    marks = IMAGE * last.text.count(IMAGE)
    return (*turns[:-1], Turn(last.role, marks + prompt.replace(QUESTION, plain)))


def from_conversation(one: Conversation) -> Example:
    """A conversation, its last answer set apart."""
    turns, answer = one.turns, ""
    if one.answered:
        turns, answer = turns[:-1], turns[-1].text.strip()
    return Example(
        id=one.id,
        where=one.where,
        images=one.images,
        turns=turns,
        answer=answer,
        references=(answer,) if answer else (),
        written=True,
        kind=str(one.extra.get("question_type", "")),
    )


def from_row(
    row: Mapping[str, Any], where: str, task: str, label: str, image: str | None, *, known: bool
) -> Example:
    """A row of a table. label: the column of the answers, text or a list of texts.

    The question is `text`, or `question` where there is no such column; its kind `question_type`,
    or `type`. image: its path. known: whether the row must have an answer. Of several answers the
    most frequent one is learned, the first of those. Raises BadInput where the picture, the
    question or a needed answer is missing.
    """
    if image is None:
        raise BadInput(f"{where}: it has no image", "fill it in, or drop the row")
    question = str(row.get("text", row.get("question")) or "").strip() if task == "vqa" else ""
    if task == "vqa" and not question:
        raise BadInput(f"{where}: it has no question", "fill in its text, or drop the row")
    answers = _answers(row.get(label), where, label)
    if known and not answers:
        raise BadInput(f"{where}: its `{label}` is empty", "fill it in, or drop the row")
    best = Counter(answers).most_common(1)[0][0] if answers else ""
    return Example(
        id=str(row["id"]),
        where=where,
        images=(image,),
        turns=(Turn("user", IMAGE + question),),
        answer=best,
        references=tuple(answers),
        kind=str(row.get("question_type", row.get("type")) or ""),
    )


def _answers(value: Any, where: str, label: str) -> list[str]:
    """The answers of a cell; VQA's own form, `{"answer": …}` a person, is read too."""
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    found = []
    for one in values:
        if isinstance(one, dict):
            one = one.get("answer")
        if isinstance(one, bool):
            one = "yes" if one else "no"
        if isinstance(one, float) and one.is_integer():
            one = int(one)
        if one is None or isinstance(one, list | dict):
            raise BadInput(f"{where}: `{label}` holds something that is no answer", "text is")
        text = " ".join(str(one).split())
        if text:
            found.append(text)
    return found
