"""The best hit of each group: one segment of a recording rather than five of the same.

Asks the index for more until enough groups are found. Knows no index and no model.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mmcli.index.items import ItemTable
    from mmcli.index.search import Hits
    from mmcli.workflows.search.rerank import Reranked

    Found = TypeVar("Found", Hits, Reranked)

#: Rows asked for at first, for each group that is wanted, and by how much that grows.
_AHEAD = 4


def search_groups(
    ask: "Callable[[int], Sequence[Hits]]", items: "ItemTable", column: str, k: int
) -> "list[Hits]":
    """The best `k` groups of each query, best first; `ask(n)` gives the best n rows of each."""
    depth = min(items.rows, k * _AHEAD)
    while True:
        hits = ask(depth)
        found = keep_best(hits, items, column, k)
        enough = all(
            len(best.rows) == k or len(hit.rows) < depth
            for best, hit in zip(found, hits, strict=True)
        )
        if enough or depth >= items.rows:
            return found
        depth = min(items.rows, depth * _AHEAD)


def keep_best(
    hits: "Sequence[Found]", items: "ItemTable", column: str, k: int | None = None
) -> "list[Found]":
    """Each query's hits without those whose group came before, at most `k`; order is kept.

    An item without a value in the column is a group by itself.
    """
    values = iter(items.take([row for hit in hits for row in hit.rows], [column]))
    kept = []
    for hit in hits:
        seen: set[Any] = set()
        places = []
        for place, row in enumerate(hit.rows):
            value = next(values)[column]
            group = ("row", row) if value is None else ("value", str(value))
            if group not in seen:
                seen.add(group)
                places.append(place)
        places = places[:k]
        names = [name for name in ("rows", "scores", "retrieval") if hasattr(hit, name)]
        kept.append(replace(hit, **{n: tuple(getattr(hit, n)[p] for p in places) for n in names}))
    return kept
