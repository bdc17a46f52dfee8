"""The scored rows of predictions, and two predictions of the same rows over the same classes.

Knows nothing about measures.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.store.predictions import Predictions

Array = NDArray[Any]


@dataclass(frozen=True)
class Answers:
    """What was predicted of rows whose truth is known; arrays are as in `Predictions`."""

    task: str
    classes: tuple[str, ...]
    truth: Array
    predicted: Array
    probabilities: Array | None
    positive: int | None

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: Array) -> "Answers":
        """Some of the rows."""
        shares = self.probabilities
        return replace(
            self,
            truth=self.truth[rows],
            predicted=self.predicted[rows],
            probabilities=None if shares is None else shares[rows],
        )


def answers_of(predictions: Predictions) -> Answers:
    """The rows with a label and a prediction. Raises BadInput when there is none."""
    rows = predictions.scored
    if not len(rows):
        raise BadInput(
            f"no row of `{predictions.items}` has both a label and a prediction",
            "there is nothing to score",
        )
    whole = Answers(
        predictions.task,
        predictions.classes,
        predictions.truth,
        predictions.predicted,
        predictions.probabilities,
        predictions.positive,
    )
    return whole.take(rows)


def paired(this: Predictions, other: Predictions) -> tuple[Array, Answers, Answers]:
    """Both predictions of the rows that both have: where they stand in `this.scored`, and each.

    The truth is that of `this`; classes are those of either. Raises BadInput when no row is in
    both, or one is labelled differently.
    """
    place = {identity: row for row, identity in enumerate(other.ids)}
    at = np.array([place.get(this.ids[row], -1) for row in this.scored], np.int64)
    both = np.flatnonzero(at >= 0)
    both = both[other.answered[at[both]]]
    if not len(both):
        raise BadInput(
            f"`{other.path}` predicts no row that is scored in `{this.path}`",
            "only predictions of the same ids can be compared",
        )
    mine, theirs = answers_of(this).take(both), at[both]
    if this.task == "regression":
        ours, found = mine, replace(mine, predicted=other.predicted[theirs])
        # the same number may have been kept in single and in double precision
        same = np.isclose(mine.truth, other.truth[theirs], rtol=1e-6, atol=0)
        differs = other.known[theirs] & ~same
    else:
        classes = _all_classes(this, other)
        ours = _spread(mine, classes)
        found = _spread(
            Answers(
                other.task,
                other.classes,
                other.truth[theirs],
                other.predicted[theirs],
                None if other.probabilities is None else other.probabilities[theirs],
                None,
            ),
            classes,
        )
        wrong = ours.truth != found.truth
        differs = other.known[theirs] & (wrong.any(axis=1) if wrong.ndim == 2 else wrong)
        found = replace(found, truth=ours.truth, positive=ours.positive)
    if differs.any():
        row = this.ids[this.scored[both[np.argmax(differs)]]]
        raise BadInput(
            f"`{row}` has another label in `{other.path}` than in `{this.path}`",
            "only predictions of the same labels can be compared",
        )
    return both, ours, found


def recoded(predictions: Predictions, classes: tuple[str, ...]) -> Answers:
    """Its scored rows over these classes. Raises BadInput unless they are its own, in any order."""
    if set(predictions.classes) != set(classes):
        odd = sorted(set(predictions.classes) ^ set(classes))[0]
        raise BadInput(
            f"`{predictions.path}` has other classes: `{odd}` is in one only",
            "give predictions of the same model",
        )
    return _spread(answers_of(predictions), classes)


def _all_classes(this: Predictions, other: Predictions) -> tuple[str, ...]:
    if this.task == "ordinal" and this.classes != other.classes:
        raise BadInput(
            f"`{other.path}` has other classes than `{this.path}`, or another order",
            "ordered classes can be compared only when they are the same",
        )
    return (*this.classes, *(c for c in other.classes if c not in set(this.classes)))


def _spread(answers: Answers, classes: tuple[str, ...]) -> Answers:
    """The same over more classes, or in another order; a class that it lacks has probability 0."""
    if answers.classes == classes:
        return answers
    number_of = {label: number for number, label in enumerate(classes)}
    new = np.array([number_of[label] for label in answers.classes], np.int64)
    shares = answers.probabilities
    return replace(
        answers,
        classes=classes,
        truth=_moved(answers.truth, new, len(classes)),
        predicted=_moved(answers.predicted, new, len(classes)),
        probabilities=None if shares is None else _moved(shares, new, len(classes)),
        positive=None
        if answers.positive is None or len(classes) != 2
        else int(new[answers.positive]),
    )


def _moved(values: Array, new: Array, classes: int) -> Array:
    """Class numbers `(rows,)`, or columns of classes `(rows, classes)`, by their new numbers."""
    if values.ndim == 1:
        return np.where(values >= 0, new[values], values)
    found = np.zeros((len(values), classes), values.dtype)
    found[:, new] = values
    return found
