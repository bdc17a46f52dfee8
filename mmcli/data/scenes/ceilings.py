"""How good anyone can be on a set of scenes, counted from its rows.

Retrieval by captions is limited by captions that occur twice, words without their order by the
partners, and answers guessed from the question by how unevenly each question is answered.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.data.scenes.words import bag_of_words
from mmcli.data.synth.kinds import Row


class SceneTally:
    """Counts captions and answers, whole and by split."""

    def __init__(self) -> None:
        self._captions: dict[str, Counter[str]] = {"all": Counter()}
        self._answers: Counter[tuple[str, str, str]] = Counter()

    def add(self, rows: Mapping[str, Sequence[Row]]) -> None:
        for row in rows["items"]:
            for part in ("all", row["split"]):
                self._captions.setdefault(part, Counter())[row["text"]] += 1
        self._answers.update((r["type"], r["question"], r["answer"]) for r in rows["questions"])

    def facts(self) -> dict[str, Any]:
        """splits: rows of each; retrieval: best hit@1 by split; questions: best guess by type."""
        splits = {
            name: counts.total() for name, counts in sorted(self._captions.items()) if name != "all"
        }
        return {
            "splits": splits,
            "retrieval": {
                name: caption_ceilings(counts) for name, counts in sorted(self._captions.items())
            },
            "questions": question_ceilings(self._answers),
        }


def caption_ceilings(captions: Counter[str]) -> dict[str, float]:
    """Best expected hit@1 of text to image, or image to text, over rows with these captions.

    by_row: the query's own row is wanted, and rows of its caption cannot be told apart.
    by_caption: any row of its caption will do. bag_of_words: the same as by_caption, for whoever
    knows the words and not their order. pair: which of two partners is meant, by words alone.
    """
    total = captions.total()
    bags: Counter[str] = Counter()
    for caption, count in captions.items():
        bags[bag_of_words(caption)] += count
    by_words = sum(n * n / bags[bag_of_words(caption)] for caption, n in captions.items())
    return {
        "rows": total,
        "by_row": len(captions) / total,
        "by_caption": 1.0,
        "bag_of_words": by_words / total,
        "pair_by_words": 0.5,
    }


def question_ceilings(answers: Counter[tuple[str, str, str]]) -> dict[str, dict[str, float]]:
    """By type and over all: how many questions, and the accuracy of the best guess.

    answers: counts of (type, question, answer). The best guess knows the question, not the
    picture, and how often each answer of it occurs: no program that sees questions only does
    better on these rows.
    """
    best: dict[tuple[str, str], int] = {}
    asked: Counter[str] = Counter()
    for (kind, question, _), count in answers.items():
        asked[kind] += count
        best[kind, question] = max(best.get((kind, question), 0), count)
    right: Counter[str] = Counter()
    for (kind, _), count in best.items():
        right[kind] += count
    asked["all"], right["all"] = asked.total(), right.total()
    return {
        kind: {"rows": asked[kind], "question_only": right[kind] / asked[kind]}
        for kind in sorted(asked)
    }
