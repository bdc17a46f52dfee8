"""Answers to questions about pictures: how they are read, and how far ten people agree with one.

The score of VQA (Antol et al. 2015, arXiv 1505.00468): of every nine of the ten annotators, how
many gave the answer, over three and at most one; the mean of that over all such nines. Answers are
compared as visualqa.org/evaluation.html says; Chinese ones by the same rules where they have a
meaning. Knows nothing about models.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.statistics import Groups, bootstrap_means

Floats = NDArray[np.float64]
#: Annotators of one question who make an answer fully right.
ENOUGH = 3
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = {
    word: str(number)
    for words in (
        "zero one two three four five six seven eight nine ten eleven twelve",
        "零 一 二 三 四 五 六 七 八 九 十 十一 十二",
    )
    for number, word in enumerate(words.split())
} | {"none": "0", "两": "2"}
#: Contractions whose letters alone are no other word.
_SPELLED = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he's how's i'm"
    " i've isn't let's ma'am might've mightn't must've mustn't needn't o'clock shan't she's"
    " should've shouldn't that'll that's there's they'd they'll they're they've wasn't we've"
    " weren't what'll what's where's who'll who's won't would've wouldn't y'all you'd"
    " you'll you're you've"
)
_CONTRACTIONS = {word.replace("'", ""): word for word in _SPELLED.split()}
#: Signs of ASCII that are read as a space; the others (' : $ % & # * …) belong to an answer.
_SIGNS = frozenset(';/[]"{}()=+\\_-><@`,?!')
_POINT = re.compile(r"(?<!\d)\.|\.(?!\d)")
_COMMA = re.compile(r"(?<=\d),(?=\d)")


@lru_cache(maxsize=1 << 16)
def normalised(answer: str) -> str:
    """An answer as it is compared: one space between its words, none around them.

    In this order: NFKC (full-width letters and digits become plain), lower case, no points but
    decimal ones, no commas inside numbers, punctuation other than `'` and `:` as a space, number
    words as digits, apostrophes into contractions, no articles. An answer of articles alone is
    kept: to "which letter is it?" `a` is one.
    """
    text = unicodedata.normalize("NFKC", answer).lower().replace("’", "'").replace("‘", "'")
    text = _COMMA.sub("", _POINT.sub("", text))
    text = "".join(" " if _is_mark(letter) else letter for letter in text)
    words = [_NUMBERS.get(word, word) for word in text.split()]
    words = [_CONTRACTIONS.get(word, word) for word in words]
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def _is_mark(letter: str) -> bool:
    if letter.isascii():
        return letter in _SIGNS
    return unicodedata.category(letter).startswith("P")


def agreement(count: int, annotators: int) -> float:
    """The score of an answer that so many of the annotators gave.

    The mean over all subsets that leave one annotator out of min(1, given / 3), for ten of them:
    0, 0.3, 0.6, 0.9, 1. With fewer than four annotators no answer could reach 1 that way: there it
    is the share of them that gave it, so that a single right answer scores 1.
    """
    if annotators <= ENOUGH:
        return count / annotators
    left_out_others = (annotators - count) * min(1.0, count / ENOUGH)
    left_out_givers = count * min(1.0, (count - 1) / ENOUGH)
    return (left_out_others + left_out_givers) / annotators


def answer_scores(answers: Sequence[str]) -> dict[str, float]:
    """The score of every answer that the annotators of one question gave, the best first.

    answers: normalised, one an annotator. Equal scores are in the order of their texts.
    """
    counts = Counter(answers)
    scores = {text: agreement(count, len(answers)) for text, count in counts.items()}
    return {text: scores[text] for text in sorted(scores, key=lambda t: (-counts[t], t))}


def vqa_score(prediction: str, answers: Sequence[str]) -> float:
    """The score of one prediction; both are normalised here."""
    return answer_scores([normalised(text) for text in answers]).get(normalised(prediction), 0.0)


@dataclass(frozen=True)
class TypeAccuracy:
    """The mean score of the rows of one type, and its interval at 95 %; NaN with one group."""

    type: str
    rows: int
    value: float
    low: float
    high: float


def accuracy_by_type(
    scores: Floats,
    types: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> list[TypeAccuracy]:
    """The mean of scores `(rows,)` over all rows, called `all`, then of each type of question.

    groups: `(rows,)` from 0, drawn whole (the questions about one picture). Types are in the order
    of their names; an empty type is in `all` only.
    """
    names = np.array(types, object)
    parts = [("all", np.arange(len(scores)))]
    parts += [(name, np.flatnonzero(names == name)) for name in sorted(set(types) - {""})]
    found = []
    for name, rows in parts:
        inside = None
        if groups is not None:
            inside = np.unique(groups[rows], return_inverse=True)[1].astype(np.int64)
        of = bootstrap_means(scores[rows][:, None], resamples, seed, inside)
        found.append(
            TypeAccuracy(name, len(rows), float(of.value[0]), float(of.low[0]), float(of.high[0]))
        )
    return found
