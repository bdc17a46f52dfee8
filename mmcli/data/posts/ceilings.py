"""How good anyone can be on posts who reads the picture, the words, or both exactly.

The chances of the model give how likely each class is for all that can be read. Accuracy is best
by the likeliest class; macro-F1 needs a trade between classes, found by ascent from several starts.
The rules are scored by the model's own chances (`expected`), and on the labels of each split.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.data.posts.parts import (
    CLASSES,
    HUMANITARIAN,
    LABEL_NOISE,
    MEMBER_NOISE,
    Post,
    every_post,
)
from mmcli.data.synth.kinds import Row
from mmcli.metrics.classification import class_counts, class_scores, overall_scores

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Seen = tuple[Any, ...]

#: What is read of each set of modalities.
READ = {
    "image+text": ("shows", "broken", "says", "now", "lost", "needs"),
    "image": ("shows", "broken"),
    "text": ("says", "now", "lost", "needs"),
}
#: Weights of the classes from which the best rule is looked for.
_STARTS = 200
_DIGITS = 6


class PostTally:
    """Keeps what each row shows and says, and its labels, by split."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Row]] = {}
        self._events: set[str] = set()

    def add(self, rows: Mapping[str, Sequence[Row]]) -> None:
        for row in rows["items"]:
            self._rows.setdefault(row["split"], []).append(row)
            self._events.add(row["event"])

    def facts(self) -> dict[str, Any]:
        """splits: rows of each; ceilings: by label and by what is read, expected and by split."""
        splits = sorted(self._rows.items())
        return {
            "splits": {name: len(rows) for name, rows in splits},
            "events": len(self._events),
            "label_noise": {**dict.fromkeys(CLASSES, LABEL_NOISE), "humanitarian": MEMBER_NOISE},
            "ceilings": {
                **{label: self._of_label(label) for label in CLASSES},
                "humanitarian": self._of_set(),
            },
        }

    def _of_label(self, label: str) -> dict[str, Any]:
        classes = CLASSES[label]
        found: dict[str, Any] = {}
        for name, read in READ.items():
            keys, table, rules = _best_rules(label, read)
            scores = {"expected": {m: expected_score(table, rules[m], m) for m in rules}}
            for split, rows in sorted(self._rows.items()):
                at = np.array([keys[_seen(row, read)] for row in rows])
                truth = np.array([classes.index(row[label]) for row in rows])
                scores[split] = {
                    m: overall_scores(class_counts(truth, rule[at], len(classes)))[m]
                    for m, rule in rules.items()
                }
            found[name] = {key: _rounded(value) for key, value in scores.items()}
        return found

    def _of_set(self) -> dict[str, Any]:
        """Macro-F1 over the members of the set, each by its own best rule."""
        found: dict[str, Any] = {}
        for name, read in READ.items():
            by_part: dict[str, list[float]] = {}
            for member in HUMANITARIAN:
                chances = class_chances(member, read)
                keys = {key: at for at, key in enumerate(chances)}
                table = np.array(list(chances.values()))
                rule = best_for_f1(table)
                by_part.setdefault("expected", []).append(_f1(table, rule))
                for split, rows in self._rows.items():
                    counts = np.zeros_like(table)
                    for row in rows:
                        counts[keys[_seen(row, read)], int(member in row["humanitarian"])] += 1
                    by_part.setdefault(split, []).append(_f1(counts, rule))
            found[name] = {
                part: _rounded({"macro_f1": _mean_known(values)})
                for part, values in sorted(by_part.items())
            }
        return found


@cache
def _best_rules(
    label: str, read: tuple[str, ...]
) -> tuple[dict[Seen, int], Floats, dict[str, Labels]]:
    """The row of all that can be read, its chances `(seen, classes)`, and the best rule by measure:
    of the model alone, whatever the rows."""
    chances = class_chances(label, read)
    table = np.array(list(chances.values()))
    rules = {"macro_f1": best_for_macro_f1(table), "accuracy": table.argmax(axis=1)}
    return {key: at for at, key in enumerate(chances)}, table, rules


def class_chances(label: str, read: Sequence[str]) -> dict[Seen, Floats]:
    """For all that can be read, the chance that it is and has each class, `(classes,)`.

    label: a name of `CLASSES`, or a member of the set, whose classes are without and with it.
    """
    found: dict[Seen, Floats] = {}
    for chance, post in every_post():
        key = tuple(getattr(post, name) for name in read)
        of_class = _noisy(post, label)
        found[key] = found.get(key, np.zeros(len(of_class))) + chance * of_class
    return found


def best_for_macro_f1(chances: Floats) -> Labels:
    """The class for each of `(seen,)` that makes macro-F1 best, from `(seen, classes)`.

    Changes the one choice that gains most until none does, from the likeliest classes under many
    weights of the classes; the best end is taken. Not proven to be the best of all: the tests
    compare it with every rule on small tables.
    """
    draw = Random("starts")
    ends = [
        _ascent(chances, (chances * [draw.random() for _ in chances[0]]).argmax(axis=1))
        for _ in range(_STARTS)
    ]
    ends.append(_ascent(chances, chances.argmax(axis=1)))
    return max(ends, key=lambda end: end[0])[1]


def _ascent(chances: Floats, rule: Labels) -> tuple[float, Labels]:
    """The sum of F1 over classes where no single change of the rule gains, and the rule there."""
    support, each = chances.sum(axis=0), chances.sum(axis=1)
    rows, classes = np.arange(len(chances)), np.arange(chances.shape[1])
    while True:
        chosen = rule[:, None] == classes
        right, said = (chances * chosen).sum(axis=0), (each[:, None] * chosen).sum(axis=0)

        def f1(right: Floats, said: Floats) -> Floats:
            return 2 * right / np.maximum(support + said, 1e-300)

        now = f1(right, said)
        joined = f1(right + chances, said + each[:, None]) - now
        left = (f1(right - chances, said - each[:, None]) - now)[rows, rule]
        gain = np.where(chosen, 0.0, joined + left[:, None])
        at, choice = np.unravel_index(gain.argmax(), gain.shape)
        if gain[at, choice] <= 1e-12:
            return float(now.sum()), rule
        rule = rule.copy()
        rule[at] = choice


def best_for_f1(chances: Floats) -> Labels:
    """Where to say yes for the best F1 of yes, `(seen,)`, from `(seen, 2)`; exact.

    The best set holds all that are likelier yes than some bound (Lipton et al. 2014,
    arXiv 1402.1892), so every bound is tried.
    """
    likely = chances[:, 1] / np.maximum(chances.sum(axis=1), 1e-300)
    rules = [(likely >= bound).astype(np.int64) for bound in np.unique(likely)]
    return max(rules, key=lambda rule: _f1(chances, rule))


def expected_score(chances: Floats, rule: Labels, measure: str) -> float:
    """accuracy or macro_f1 of a rule `(seen,)` where chances `(seen, classes)` are."""
    seen, classes = chances.shape
    truth = np.tile(np.arange(classes), seen)
    counts = class_counts(truth, np.repeat(rule, classes), classes, chances.ravel())
    return overall_scores(counts)[measure]


def _f1(chances: Floats, rule: Labels) -> float:
    counts = class_counts(np.tile([0, 1], len(rule)), np.repeat(rule, 2), 2, chances.ravel())
    return float(class_scores(counts)["f1"][1]) if counts.support[1] else float("nan")


def _noisy(post: Post, label: str) -> Floats:
    """The chance of each class where a post is known whole."""
    if label in HUMANITARIAN:
        there = label in post.humanitarian()
        return np.array([MEMBER_NOISE, 1 - MEMBER_NOISE][:: 1 if there else -1])
    classes = CLASSES[label]
    truth = {
        "informative": int(post.informative()),
        "event_type": classes.index(post.event_type()) if label == "event_type" else 0,
        "damage": post.damage(),
    }[label]
    found = np.full(len(classes), LABEL_NOISE / (len(classes) - 1))
    found[truth] = 1 - LABEL_NOISE
    return found


def _mean_known(values: Sequence[float]) -> float:
    """Over members that some row has, as the metric has it."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _seen(row: Row, read: Sequence[str]) -> Seen:
    return tuple(row[name] for name in read)


def _rounded(scores: Mapping[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {
        name: None if np.isnan(value) else round(value, _DIGITS) for name, value in scores.items()
    }
