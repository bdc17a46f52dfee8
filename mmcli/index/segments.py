"""An index as it is searched: the file it was built as, additions beside it, rows taken out.

Rows are counted through: the built ones first, then those of each addition. An addition is a file
of the same kind, so its scores compare; inverted lists share the coarse quantiser of the built
index, and of a graph an addition is the vectors alone. Knows nothing about items or the manifest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.index.build import inverted_lists
from mmcli.index.filtering import Found, Mask, Vectors, assign, is_similarity, nearest
from mmcli.index.library import faiss


@dataclass(frozen=True)
class Segment:
    """A FAISS index whose row 0 is row `start` of the whole."""

    index: Any
    start: int

    @property
    def stop(self) -> int:
        """One past its last row."""
        return self.start + int(self.index.ntotal)


class LivingIndex:
    """Searches its segments together; looks like a FAISS index where search needs one.

    built: the index as it was made. additions: FAISS indexes in order. keep: `(ntotal,)`, False
    for rows that must not be found; None keeps all.
    """

    def __init__(self, built: Any, additions: Sequence[Any] = (), keep: Mask | None = None) -> None:
        self.segments = [Segment(built, 0)]
        for index in additions:
            share_quantiser(built, index)
            self.segments.append(Segment(index, self.segments[-1].stop))
        self.d: int = built.d
        self.ntotal: int = self.segments[-1].stop
        self.metric_type: int = built.metric_type
        self.keep = keep

    def narrowed(self, rows: NDArray[np.int64]) -> "LivingIndex":
        """The same index, of which only these rows count; those taken out stay so."""
        keep = np.zeros(self.ntotal, bool)
        keep[rows] = True
        if self.keep is not None:
            keep &= self.keep
        whole, *more = (segment.index for segment in self.segments)
        return LivingIndex(whole, more, keep)

    def search(self, queries: Vectors, k: int) -> Found:
        """Distances and rows `(n, k)`, best first, -1 where none is left."""
        parts = []
        built = self.segments[0].index
        assigned = assign(built, queries) if len(self.segments) > 1 and len(queries) else None
        for segment in self.segments:
            keep = None if self.keep is None else self.keep[segment.start : segment.stop]
            distances, rows = nearest(segment.index, queries, k, keep, assigned)
            parts.append((distances, np.where(rows >= 0, rows + segment.start, -1)))
        if len(parts) == 1:
            return parts[0]
        distances = np.concatenate([d for d, _ in parts], axis=1)
        rows = np.concatenate([r for _, r in parts], axis=1)
        sign = -1 if is_similarity(self.segments[0].index) else 1
        order = np.argsort(sign * distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)

    def vector_of(self, row: int) -> tuple[Any, int]:
        """The segment's index that holds a row, and its number in there."""
        for segment in self.segments:
            if row < segment.stop:
                return segment.index, row - segment.start
        raise IndexError(f"row {row} of {self.ntotal}")


def share_quantiser(built: Any, addition: Any) -> None:
    """Let an addition use the coarse quantiser, and the depth of search, of the built index.

    The built index must outlive it.
    """
    lists, own = inverted_lists(built), inverted_lists(addition)
    if lists is None or own is None or addition is built:
        return
    own.own_fields = False
    own.quantizer = lists.quantizer
    own.nprobe = lists.nprobe


def empty_addition(built: Any) -> Any:
    """A trained index without rows, of the kind that additions to `built` have.

    built: may be memory-mapped; it is used up, and must outlive the result, which is part of it.
    """
    inner = faiss.downcast_index(built)
    if hasattr(inner, "storage"):  # a graph
        return empty_addition(inner.storage)
    if isinstance(inner, faiss.IndexFlat):
        # of the very class that it is read back as, which merging insists on
        return faiss.IndexFlatIP(inner.d) if is_similarity(inner) else faiss.IndexFlatL2(inner.d)
    lists = inverted_lists(inner)
    if lists is None or not isinstance(
        faiss.downcast_InvertedLists(lists.invlists), faiss.OnDiskInvertedLists
    ):
        inner.reset()
        return inner
    empty: Any = faiss.ArrayInvertedLists(lists.nlist, lists.code_size)
    lists.replace_invlists(empty, True)  # instead of emptying a file that is mapped
    empty.this.disown()
    if isinstance(inner, faiss.IndexRefine):
        inner.refine_index.reset()
        inner.base_index.ntotal = 0
    inner.ntotal = lists.ntotal = 0
    return inner
