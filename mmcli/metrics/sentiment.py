"""The measures of the sentiment sets CMU-MOSI, CMU-MOSEI (`mosi`) and CH-SIMS (`sims`).

For numbers as MMSA computes them (Mao et al. 2022, arXiv 2203.12441), and for classes with the
same meaning, so that a perfect prediction scores 1 in each. Pure numpy.

    has0  all rows: not negative against negative
    non0  rows whose truth is not neutral: positive against negative
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmcli.metrics.classification import (
    ClassCounts,
    Floats,
    Labels,
    class_counts,
    weighted_f1,
)
from mmcli.metrics.probabilities import Bools

#: The sentiment that each scale reaches on either side.
LIMITS = {"mosi": 3.0, "sims": 1.0}
#: Where CH-SIMS cuts its scale into 2, 3 and 5 classes; a cut belongs to the class below it.
_SIMS_CUTS = {2: (0.0,), 3: (-0.1, 0.1), 5: (-0.7, -0.1, 0.1, 0.7)}
NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2
_WORDS = {
    NEGATIVE: re.compile(r"\bneg|负|消极|否定"),
    NEUTRAL: re.compile(r"\bneu|中性|中立"),
    POSITIVE: re.compile(r"\bpos|正面|正向|积极|肯定"),
}


@dataclass(frozen=True)
class Decision:
    """One way to sort the rows into classes, by the truth and by the prediction.

    accuracy, f1: what the two measures of it are called, None where it has none. truth, predicted:
    `(rows,)` numbers of so many classes. counted: `(rows,)` the rows it is about.
    """

    accuracy: str
    f1: str | None
    classes: int
    truth: Labels
    predicted: Labels
    counted: Bools

    def right(self) -> Floats:
        """`(rows,)`: 1 where the classes are the same, else 0; NaN in rows it is not about."""
        return np.where(self.counted, (self.truth == self.predicted).astype(np.float64), np.nan)


def decision_scores(
    decisions: Sequence[Decision], weights: Floats | None = None
) -> dict[str, float]:
    """Accuracy, and F1 weighted by the rows of each true class; NaN where no row counts."""
    found = {}
    for decision in decisions:
        counted = decision.counted.astype(np.float64)
        counts = class_counts(
            decision.truth,
            decision.predicted,
            decision.classes,
            counted if weights is None else counted * weights,
        )
        found[decision.accuracy] = _accuracy(counts)
        if decision.f1:
            found[decision.f1] = weighted_f1(counts)
    return found


def number_decisions(truth: Floats, predicted: Floats, scale: str) -> list[Decision]:
    """The decisions on predicted numbers `(rows,)`.

    mosi: has0, non0, and `mult_acc_5`, `mult_acc_7` by rounding (half to even) within ±2 and ±3.
    sims: `mult_acc_2` with `f1`, `mult_acc_3` and `mult_acc_5` within ±1.
    """
    every = np.ones(len(truth), bool)
    if scale == "sims":
        return [
            Decision(
                f"mult_acc_{classes}",
                "f1" if classes == 2 else None,
                classes,
                _cut(truth, classes),
                _cut(predicted, classes),
                every,
            )
            for classes in _SIMS_CUTS
        ]
    return [
        Decision("has0_accuracy", "has0_f1", 2, _codes(truth >= 0), _codes(predicted >= 0), every),
        Decision(
            "non0_accuracy", "non0_f1", 2, _codes(truth > 0), _codes(predicted > 0), truth != 0
        ),
        *(
            Decision(f"mult_acc_{c}", None, c, _rounded(truth, c), _rounded(predicted, c), every)
            for c in (5, 7)
        ),
    ]


def on_scale(values: Floats, scale: str) -> Floats:
    """The numbers of which error and correlation are taken: CH-SIMS is cut at ±1, MOSI is not."""
    return np.clip(values, -LIMITS["sims"], LIMITS["sims"]) if scale == "sims" else values


def polarities(classes: Sequence[str], ordered: bool = False) -> Labels:
    """NEGATIVE, NEUTRAL or POSITIVE of each class, `(classes,)`.

    By their names (`neg…`, `neu…`, `pos…`, also in Chinese); else numbers by their sign where one
    is below zero; else by the middle of their numbers, or of their order where they are `ordered`
    from negative to positive. Raises ValueError when that does not say it of every class, or
    leaves none negative or none positive.
    """
    named = [_named(label) for label in classes]
    found = [polarity for polarity in named if polarity is not None]
    if found and len(found) < len(classes):
        odd = classes[named.index(None)]
        raise ValueError(f"class `{odd}` is neither negative, neutral nor positive by its name")
    if not found:
        found = _by_number(classes, ordered)
    if NEGATIVE not in found or POSITIVE not in found:
        raise ValueError("the classes need a negative and a positive one")
    return np.array(found, np.int64)


def class_decisions(
    truth: Labels,
    predicted: Labels,
    probabilities: Floats | None,
    polarity: Labels,
    scale: str,
) -> list[Decision]:
    """The decisions on predicted classes `(rows,)` of known polarity `(classes,)`.

    mosi: has0, non0. sims: `mult_acc_2` with `f1`, positive against the rest. Both: `mult_acc_C`,
    the accuracy over all C classes. A neutral prediction for a row that is not neutral takes the
    side with more probability `(rows, classes)`; without probabilities it is wrong in non0.
    """
    every = np.ones(len(truth), bool)
    true_side, side = polarity[truth], polarity[predicted]
    n = len(polarity)
    all_classes = Decision(f"mult_acc_{n}", None, n, truth, predicted, every)
    if scale == "sims":
        true_up, up = _codes(true_side == POSITIVE), _codes(side == POSITIVE)
        found = [Decision("mult_acc_2", "f1", 2, true_up, up, every)]
        return found if n == 2 else [*found, all_classes]
    if probabilities is not None:
        balance = probabilities[:, polarity == POSITIVE].sum(axis=1)
        balance = balance - probabilities[:, polarity == NEGATIVE].sum(axis=1)
        leaning = np.where(balance > 0, POSITIVE, np.where(balance < 0, NEGATIVE, NEUTRAL))
    else:
        leaning = np.full(len(side), NEUTRAL)
    up, true_up = _codes(side != NEGATIVE), _codes(true_side != NEGATIVE)
    decided = np.where(side == NEUTRAL, leaning, side)
    return [
        Decision("has0_accuracy", "has0_f1", 2, true_up, up, every),
        Decision("non0_accuracy", "non0_f1", 3, true_side, decided, true_side != NEUTRAL),
        all_classes,
    ]


def _accuracy(counts: ClassCounts) -> float:
    rows = counts.support.sum()
    return float(counts.correct.sum() / rows) if rows else float("nan")


def _codes(upper: Bools) -> Labels:
    return upper.astype(np.int64)


def _rounded(values: Floats, classes: int) -> Labels:
    limit = classes // 2
    found: Labels = np.round(np.clip(values, -limit, limit)).astype(np.int64) + limit
    return found


def _cut(values: Floats, classes: int) -> Labels:
    """In single precision, as MMSA has them: 0.1 is the same 0.1 however it was kept."""
    cuts = np.array(_SIMS_CUTS[classes], np.float32)
    return np.searchsorted(cuts, values.astype(np.float32), side="left").astype(np.int64)


def _named(label: str) -> int | None:
    plain = label.casefold().replace("_", " ")
    of = [polarity for polarity, words in _WORDS.items() if words.search(plain)]
    return of[0] if len(of) == 1 else None


def _by_number(classes: Sequence[str], ordered: bool) -> list[int]:
    try:
        numbers = [float(label) for label in classes]
    except ValueError:
        if not ordered:
            raise ValueError(
                f"the names of the classes do not say which is negative, as `{classes[0]}`"
            ) from None
        numbers = [float(i) for i in range(len(classes))]
    if min(numbers) < 0:
        return [POSITIVE if n > 0 else NEGATIVE if n < 0 else NEUTRAL for n in numbers]
    middle = (min(numbers) + max(numbers)) / 2
    return [POSITIVE if n > middle else NEGATIVE if n < middle else NEUTRAL for n in numbers]
