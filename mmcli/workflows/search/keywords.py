"""Keywords in a search: BM25 alone, or its ranking and that of the vectors made one.

Knows the queries' words and an index's keyword files; nothing of vectors. Prints nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import UsageError
from mmcli.index.keyword import Keywords, best
from mmcli.index.layout import check
from mmcli.index.living import Rows, additions_of, kept_rows
from mmcli.index.reciprocal_rank import fuse
from mmcli.index.search import Hits
from mmcli.workflows.queries.file import Query

#: How far down each ranking is read before they are fused, in results asked for and at least.
DEPTH, LEAST_DEPTH = 10, 100


def folders_of(manifest: Mapping[str, Any]) -> list[str]:
    """The keyword folders of an index, in the order of their rows; none without keywords."""
    entry = manifest.get("keywords")
    if not entry:
        return []
    return [entry["folder"], *(part["keywords"] for part in additions_of(manifest))]


def check_keywords(
    index: str, manifest: Mapping[str, Any], queries: Sequence[Query], alone: bool, verify: str
) -> None:
    """Raise UsageError unless the index has keywords and every query has words for them."""
    option = "--keywords-only" if alone else "--hybrid"
    folders = folders_of(manifest)
    if not folders:
        raise UsageError(
            f"`{option}`: `{index}` has no keywords",
            "build it with `--keywords COLUMN`, as in `--keywords text`",
        )
    for query in queries:
        if not words_of(query):
            raise UsageError(
                f"`{option}`: query `{query.name}` has no words", "keywords are found by text"
            )
        if alone and any(part.kind != "text" or part.weight <= 0 for part in query.parts):
            raise UsageError(
                f"`--keywords-only`: query `{query.name}` is more than words",
                "`--hybrid` searches by both",
            )
    names = [n for n in manifest["files"] if n.split("/")[0] in folders]
    check(index, manifest, names, verify)


def words_of(query: Query) -> str:
    """What a query asks for in words; parts that push away are left out."""
    return " ".join(p.value for p in query.parts if p.kind == "text" and p.weight > 0).strip()


class KeywordSearch:
    """The opened keywords of an index and what its queries ask of them."""

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        queries: Sequence[Query],
        rows: Rows | None,
    ) -> None:
        """rows: those that count, None for all that were not taken out."""
        self._keep = kept_rows(folder, manifest)
        if rows is not None:
            counts = np.zeros(len(self._keep), bool)
            counts[rows] = True
            self._keep &= counts
        opened = Keywords([folder / name for name in folders_of(manifest)])
        self._scores = [opened.scores(words_of(query)) for query in queries]

    def alone(self, k: int, least: float | None = None) -> list[Hits]:
        """The best `k` items of each query by its words; those with none of them are not found."""
        found = []
        for scores in self._scores:
            rows = best(scores, self._keep, k)
            pairs = [(row, float(scores[row])) for row in rows]
            found.append(_hits(pairs, k, least))
        return found

    def fused(
        self,
        by_vectors: Callable[[int], Sequence[Hits]],
        exclude: Sequence[Sequence[int]],
        k: int,
        least: float | None = None,
    ) -> list[Hits]:
        """The best `k` items of each query by both rankings; scores are those of the fusion."""
        depth = max(DEPTH * k, LEAST_DEPTH)
        found = []
        nearest = by_vectors(depth)
        for scores, hits, unwanted in zip(self._scores, nearest, exclude, strict=True):
            words = [r for r in best(scores, self._keep, depth) if r not in set(unwanted)]
            found.append(_hits(fuse([hits.rows, words]), k, least))
        return found


def _hits(pairs: Sequence[tuple[int, float]], k: int, least: float | None) -> Hits:
    kept = [(row, score) for row, score in pairs if least is None or score >= least][:k]
    return Hits(tuple(row for row, _ in kept), tuple(score for _, score in kept))
