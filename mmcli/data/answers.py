"""Answers to questions: the column that holds them, the closed vocabulary of a train set, targets.

A row has one answer (`answer`, a text) or one an annotator (`answers`, a list of texts or of
objects with `answer`). All are read as `metrics/vqa.py` compares them. Knows rows of a store;
nothing about pictures, questions or models.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.data.cells import form_of, plain, texts_of
from mmcli.metrics.vqa import answer_scores, normalised
from mmcli.store.reader import Store

Rows = NDArray[np.int64]
#: Columns that are taken as answers where none is named; the first that is there.
COLUMNS = ("answers", "answer")
_FIELD = "answer"
_HINT = "an answer is a text or a number, or a list of them, one an annotator"


@dataclass(frozen=True)
class Answers:
    """The answers of every row.

    given: normalised texts of each row, one an annotator; () where there is none. scores: for each
    row what each of its answers scores, the best first.
    """

    column: str
    given: tuple[tuple[str, ...], ...]
    scores: tuple[dict[str, float], ...]

    @property
    def known(self) -> NDArray[np.bool_]:
        """bool `(rows,)`: which rows have an answer."""
        return np.array([bool(texts) for texts in self.given], bool)

    def best(self, row: int) -> str | None:
        """The answer that scores most; None where a row has none."""
        return next(iter(self.scores[row]), None)

    def score(self, row: int, prediction: str) -> float:
        """What a prediction, normalised, scores in a row."""
        return self.scores[row].get(prediction, 0.0)


@dataclass(frozen=True)
class Vocabulary:
    """The answers that a model can give, those that score most in train first.

    totals: the sum of their scores over the train rows, which is what each would reach if it were
    always given.
    """

    answers: tuple[str, ...]
    totals: tuple[float, ...]


@dataclass(frozen=True)
class Targets:
    """What each row's answers score, of those in a vocabulary.

    starts: int64 `(rows + 1,)`; codes, scores: of row i at `starts[i]` to `starts[i + 1]`.
    """

    starts: Rows
    codes: NDArray[np.int64]
    scores: NDArray[np.float32]
    size: int

    @property
    def any(self) -> NDArray[np.bool_]:
        """bool `(rows,)`: which rows have an answer that can be given."""
        found: NDArray[np.bool_] = np.diff(self.starts) > 0
        return found

    def dense(self, rows: Rows) -> NDArray[np.float32]:
        """float32 `(len(rows), size)`: the score of each answer."""
        found = np.zeros((len(rows), self.size), np.float32)
        for i, row in enumerate(rows):
            part = slice(self.starts[row], self.starts[row + 1])
            found[i, self.codes[part]] = self.scores[part]
        return found


def answer_column(columns: Sequence[str], asked: str) -> str | None:
    """The column that is asked for, else the first of `answers` and `answer` that there is."""
    if asked:
        return asked if asked in columns else None
    return next((name for name in COLUMNS if name in columns), None)


def read_answers(store: Store, asked: str = "") -> Answers:
    """The answers of a store's rows.

    Raises BadInput when there is no such column, when it holds neither texts nor lists of them, or
    when no row has any.
    """
    columns = store.columns
    name = answer_column(columns, asked)
    if name is None:
        if asked:
            raise BadInput(f"`{store.path}` has no column `{asked}`", suggestion(asked, columns))
        raise BadInput(
            f"`{store.path}` has neither a column `answer` nor `answers`",
            "name the one that has them with `--label`, or rename it with `--map`",
        )
    values = store.items([name]).column(name)
    given = tuple(cell_answers(value) for value in _texts(store, name, values))
    if not any(given):
        raise BadInput(
            f"column `{name}` of `{store.path}` has no answer in any row",
            "name a column that has some",
        )
    known = {texts: answer_scores(texts) for texts in set(given) if texts}
    return Answers(name, given, tuple(known.get(texts, {}) for texts in given))


def vocabulary_of(answers: Answers, train: Rows, most: int, min_count: float = 1) -> Vocabulary:
    """The `most` answers that score most in the train rows, each at least `min_count` in all.

    Raises BadInput when no row of train has an answer, when no answer occurs in two of them (a
    closed vocabulary learns nothing from those), when all have the same one, or when none is left.
    """
    totals: defaultdict[str, float] = defaultdict(float)
    rows: defaultdict[str, int] = defaultdict(int)
    labelled = 0
    for row in train.tolist():
        labelled += bool(answers.given[row])
        for text, score in answers.scores[row].items():
            totals[text] += score
            rows[text] += 1
    what = f"column `{answers.column}`"
    if not labelled:
        raise BadInput(f"no train row has an answer in {what}", "label some, or split anew")
    if max(rows.values()) < 2:
        raise BadInput(
            f"no answer of {what} occurs in two train rows ({labelled} rows,"
            f" {len(rows)} different answers)",
            "a closed vocabulary needs answers that come again: give more rows, or `--model` one"
            " that writes its answers",
        )
    if len(rows) == 1:
        raise BadInput(
            f"every train row has the answer `{next(iter(rows))[:60]}` in {what}",
            "nothing can be learned from it: choose another split, or label more rows",
        )
    kept = [text for text in totals if totals[text] >= min_count]
    kept = sorted(kept, key=lambda text: (-totals[text], text))[:most]
    if len(kept) < 2:
        raise BadInput(
            f"{len(kept)} answers of {what} score {min_count:g} in train",
            "lower `--min-count`, or raise `--answers`",
        )
    return Vocabulary(tuple(kept), tuple(totals[text] for text in kept))


def targets_of(answers: Answers, vocabulary: Sequence[str]) -> Targets:
    """The scores of each row's answers that are in the vocabulary."""
    places = {text: place for place, text in enumerate(vocabulary)}
    starts, codes, scores = [0], [], []
    for found in answers.scores:
        for text, score in found.items():
            if text in places:
                codes.append(places[text])
                scores.append(score)
        starts.append(len(codes))
    return Targets(
        np.array(starts, np.int64),
        np.array(codes, np.int64),
        np.array(scores, np.float32),
        len(places),
    )


def unseen(answers: Answers, targets: Targets, rows: Rows) -> Rows:
    """Those of the rows that have answers, none of which the vocabulary has."""
    return rows[answers.known[rows] & ~targets.any[rows]]


def _texts(store: Store, name: str, values: Any) -> Iterable[str | list[str | None] | None]:
    """Each row's cell: a text, a list of texts, or None."""
    kind = values.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_type
        if pa.types.is_struct(inner):
            if inner.get_field_index(_FIELD) < 0:
                raise BadInput(
                    f"column `{name}` of `{store.path}` holds objects without `{_FIELD}`", _HINT
                )
            rows = values.to_pylist()
            return [None if r is None else [v and v[_FIELD] for v in r] for r in rows]
        if form_of(inner) in ("text", "integer", "number", "bool", "none"):
            return [
                None if r is None else [_named(v, inner) for v in r] for r in values.to_pylist()
            ]
    elif form_of(kind) in ("text", "integer", "number", "bool", "none"):
        simple = plain(values)
        return [_named(value, simple.type) for value in simple.to_pylist()]
    raise BadInput(f"column `{name}` of `{store.path}` holds {kind}", _HINT)


def _named(value: Any, kind: pa.DataType) -> str | None:
    return None if value is None else texts_of([value], kind)[0]


def cell_answers(value: str | list[str | None] | None) -> tuple[str, ...]:
    """The normalised answers of a cell; blank ones are none."""
    texts = value if isinstance(value, list) else [value]
    return tuple(found for text in texts if text and (found := normalised(text)))
