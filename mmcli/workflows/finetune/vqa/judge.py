"""How good answers are: the VQA score with intervals, by type of question, against other models.

Judges rows whose answers are known; knows nothing about where they come from. Prints nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.data.answers import Answers
from mmcli.metrics.statistics import Groups, bootstrap_means, sign_flip_test
from mmcli.metrics.vqa import accuracy_by_type
from mmcli.tasks.vqa_tokens import Rows

MEASURE = "vqa_accuracy"
RESAMPLES = 1000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """What one model answered. scores: of each row."""

    name: str
    scores: Floats


def said(name: str, given: Sequence[str], answers: Answers, rows: Rows) -> Said:
    """The answers of a model to these rows, scored. given: normalised texts."""
    scores = [answers.score(row, text) for row, text in zip(rows.tolist(), given, strict=True)]
    return Said(name, np.array(scores, np.float64))


def score_row(one: Said, groups: Groups, seed: int) -> dict[str, Any]:
    """One row of the table: the mean score and its 95 % interval."""
    found = bootstrap_means(one.scores[:, None], RESAMPLES, seed, groups)
    return {
        "model": one.name,
        MEASURE: float(found.value[0]),
        "low": float(found.low[0]),
        "high": float(found.high[0]),
    }


def by_type(
    models: Sequence[Said], types: Sequence[str], groups: Groups, seed: int
) -> list[dict[str, Any]]:
    """A row a type of question: how many, and the score of each model, the first with interval."""
    table: list[dict[str, Any]] = []
    for number, one in enumerate(models):
        for place, of in enumerate(accuracy_by_type(one.scores, types, RESAMPLES, seed, groups)):
            if not number:
                table.append({"type": of.type, "rows": of.rows})
            table[place][one.name] = of.value
            if not number:
                table[place] |= {"low": of.low, "high": of.high}
    return table


def verdict(one: Said, other: Said, groups: Groups, seed: int) -> dict[str, Any]:
    """The paired difference, its interval, and p by random signs of whole groups."""
    gains = (one.scores - other.scores)[:, None]
    found = bootstrap_means(gains, RESAMPLES, seed, groups)
    return {
        "method": one.name,
        "against": other.name,
        "measure": MEASURE,
        "gain": float(found.value[0]),
        "low": float(found.low[0]),
        "high": float(found.high[0]),
        "p": float(sign_flip_test(gains, seed, groups)[0]),
    }


def line_of(found: Mapping[str, Any]) -> str:
    """A verdict in words."""
    return (
        f"{found['method']} against {found['against']}: {found['gain']:+.3f}, 95 % interval"
        f" {found['low']:+.3f} to {found['high']:+.3f}, p {found['p']:.2g}"
    )
