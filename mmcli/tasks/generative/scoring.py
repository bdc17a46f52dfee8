"""How good written answers are: the VQA soft score, and of captions CIDEr-D and BLEU-4.

Captions are judged a picture at a time, whichever rows it stands in; questions about one picture
are drawn together where intervals are. Knows nothing about models.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.captions import bleu, cider_d
from mmcli.metrics.statistics import bootstrap_means, sign_flip_test
from mmcli.metrics.vqa import accuracy_by_type, normalised, vqa_score
from mmcli.tasks.generative.examples import Example

#: What a task is judged by, the first one foremost.
MEASURES = {"vqa": ("vqa_accuracy", "exact"), "caption": ("cider_d", "bleu_4")}
RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """What some answers are worth.

    values: each measure; low, high: of the first one, at 95 %. each: the first measure of every
    row, or of captions every picture, `(units,)`; groups: the picture of each. kinds: the first
    measure of each kind of question, and how many of it there are.
    """

    values: dict[str, float]
    low: float
    high: float
    each: NDArray[np.float64]
    groups: NDArray[np.int64]
    kinds: dict[str, dict[str, float]] = field(default_factory=dict)

    def row(self, name: str) -> dict[str, Any]:
        """As a row of a table."""
        bounds = {"low": self.low, "high": self.high, "n": len(self.each)}
        return {"model": name, **self.values, **bounds}


def judge(task: str, examples: Sequence[Example], said: Sequence[str], seed: int = 0) -> Score:
    """Score answers to examples that have references; others are left out.

    Raises ValueError where no example has any.
    """
    known = [(e, text) for e, text in zip(examples, said, strict=True) if e.references]
    if not known:
        raise ValueError("no example has a reference")
    return (_vqa if task == "vqa" else _captions)(known, seed)


def compare(one: Score, other: Score, seed: int = 0) -> tuple[float, float]:
    """The mean gain of one over the other on the same rows, and its two-sided p by random signs."""
    gain = one.each - other.each
    p = sign_flip_test(gain[:, None], seed, one.groups)
    return float(gain.mean()), float(p[0])


def _vqa(known: Sequence[tuple[Example, str]], seed: int) -> Score:
    each = np.array([vqa_score(text, example.references) for example, text in known])
    exact = np.array(
        [normalised(text) in set(map(normalised, e.references)) for e, text in known], np.float64
    )
    pictures: dict[tuple[str, ...], int] = {}
    groups = np.array([pictures.setdefault(e.images, len(pictures)) for e, _ in known], np.int64)
    whole, *kinds = accuracy_by_type(each, [e.kind for e, _ in known], RESAMPLES, seed, groups)
    return Score(
        {"vqa_accuracy": whole.value, "exact": float(exact.mean())},
        whole.low,
        whole.high,
        each,
        groups,
        {
            kind.type: {"score": kind.value, "low": kind.low, "high": kind.high, "n": kind.rows}
            for kind in kinds
        },
    )


def _captions(known: Sequence[tuple[Example, str]], seed: int) -> Score:
    pictures: dict[tuple[str, ...], list[str]] = {}
    said: dict[tuple[str, ...], str] = {}
    for example, text in known:
        pictures.setdefault(example.images, []).extend(example.references)
        said.setdefault(example.images, text)
    candidates = [said[images] for images in pictures]
    references = list(pictures.values())
    each = cider_d(candidates, references)
    found = bootstrap_means(each[:, None], RESAMPLES, seed)
    values = {"cider_d": float(each.mean()), "bleu_4": bleu(candidates, references)}
    groups = np.arange(len(each), dtype=np.int64)
    return Score(values, float(found.low[0]), float(found.high[0]), each, groups)
