"""How good anyone can be on a set of clips who reads some of the parts exactly and no other.

The chances of the model give, for each level that can be read, which labels to expect: their mean
is the best guess by correlation, their median by error, their better side by accuracy. The rules
are scored by the model's own chances (`expected`), and on the labels of each split.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mmcli.data.clips.parts import LIMIT, PARTS, Floats, chances, label_chances, label_values
from mmcli.data.synth.kinds import Row
from mmcli.metrics.regression import pearson

MEASURES = ("pearson", "mae", "has0_accuracy", "non0_accuracy")


@dataclass(frozen=True)
class Rules:
    """The best guess `(7, 7, 7)` at each triple of levels, the same wherever what is read is.

    mean: by correlation. median: by absolute error. not_negative: of 0 and 1, by has0; positive:
    by non0.
    """

    mean: Floats
    median: Floats
    not_negative: Floats
    positive: Floats


class ClipTally:
    """Keeps levels and label of every row, by split."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[int, int, int, float]]] = {}
        self._sarcasm = 0
        self._speakers: Counter[str] = Counter()

    def add(self, rows: Mapping[str, Sequence[Row]]) -> None:
        for row in rows["items"]:
            levels = tuple(row[f"sentiment_{part}"] + LIMIT for part in PARTS)
            self._rows.setdefault(row["split"], []).append((*levels, row["sentiment"]))
            self._sarcasm += row["sarcasm"]
            self._speakers[row["speaker"]] += 1

    def facts(self) -> dict[str, Any]:
        """splits: rows of each; ceilings: of each set of parts, expected and by split."""
        counts = {name: len(rows) for name, rows in sorted(self._rows.items())}
        found: dict[str, dict[str, dict[str, float | None]]] = {}
        for seen in sets_of_parts():
            rules = best_rules(seen)
            found["+".join(seen)] = {
                "expected": _rounded(expected_scores(rules)),
                **{
                    name: _rounded(scores_on(rules, np.array(rows)))
                    for name, rows in sorted(self._rows.items())
                },
            }
        return {
            "splits": counts,
            "speakers": len(self._speakers),
            "sarcastic": self._sarcasm,
            "ceilings": found,
        }


def sets_of_parts() -> list[tuple[str, ...]]:
    """Every set of parts, larger ones first."""
    return [seen for size in (3, 2, 1) for seen in combinations(PARTS, size)]


def best_rules(seen: Sequence[str]) -> Rules:
    """What is best to say for whoever reads these parts."""
    unseen = tuple(axis for axis, part in enumerate(PARTS) if part not in seen)
    joint = chances()[..., None] * label_chances()
    labels = joint.sum(axis=unseen, keepdims=True)
    labels = np.broadcast_to(labels / labels.sum(axis=-1, keepdims=True), joint.shape)
    values = label_values()
    below = np.cumsum(labels, axis=-1)
    return Rules(
        mean=labels @ values,
        median=values[(below >= 0.5).argmax(axis=-1)],
        not_negative=(labels[..., values >= 0].sum(axis=-1) >= 0.5).astype(np.float64),
        positive=(
            labels[..., values > 0].sum(axis=-1) >= labels[..., values < 0].sum(axis=-1)
        ).astype(np.float64),
    )


def expected_scores(rules: Rules) -> dict[str, float]:
    """The measures over all that the model can draw, each by how likely it is."""
    weights = (chances()[..., None] * label_chances()).ravel()
    values = np.broadcast_to(label_values(), label_chances().shape).ravel()
    spread = Rules(
        *(
            np.broadcast_to(part[..., None], label_chances().shape).ravel()
            for part in (rules.mean, rules.median, rules.not_negative, rules.positive)
        )
    )
    return _scores(spread, values, weights)


def scores_on(rules: Rules, rows: Floats) -> dict[str, float]:
    """The measures on rows `(rows, 4)`: the number of each level from 0, and the label."""
    at = tuple(rows[:, :3].astype(np.int64).T)
    chosen = Rules(rules.mean[at], rules.median[at], rules.not_negative[at], rules.positive[at])
    return _scores(chosen, rows[:, 3], np.ones(len(rows)))


def _scores(guess: Rules, label: Floats, weights: Floats) -> dict[str, float]:
    decided = weights * (label != 0)
    right = (label >= 0) == guess.not_negative
    sided = (label > 0) == guess.positive
    return {
        "pearson": pearson(guess.mean, label, weights),
        "mae": float(weights @ np.abs(guess.median - label) / weights.sum()),
        "has0_accuracy": float(weights @ right / weights.sum()),
        "non0_accuracy": float(decided @ sided / decided.sum()) if decided.any() else float("nan"),
    }


def _rounded(scores: dict[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: None if np.isnan(value) else round(value, 6) for name, value in scores.items()}
