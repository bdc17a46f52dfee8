"""Segments of an index into one, without the rows that were taken out and without training again.

Lists and codes are moved as they are; only a graph is built anew when nodes must leave it. Rows
keep their order and are counted from 0. Knows nothing about items or files.
"""

from collections.abc import Callable, Sequence
from typing import Any

import faiss
import numpy as np

from mmcli.core.errors import UsageError
from mmcli.index.build import inverted_lists
from mmcli.index.filtering import Mask
from mmcli.index.segments import share_quantiser

#: Vectors given back at a time where they have to be added again.
BLOCK_ROWS = 16_384


def fold(
    read: Callable[[], Any], additions: Sequence[Any], keep: Mask | None, trained: Any = None
) -> Any:
    """One index of the kept rows of a built index and its additions.

    read: reads the built index, each time anew. trained: has the coarse quantiser, where the first
    is an addition itself; it must outlive the result. Raises UsageError for a kind from which rows
    cannot be taken.
    """
    built = read()
    if trained is not None:
        share_quantiser(trained, built)
    parts = [built, *additions]
    starts = np.cumsum([0, *(part.ntotal for part in parts)])
    if keep is None:
        keep = np.ones(int(starts[-1]), bool)
    whole = bool(keep[: starts[1]].all())
    inner = faiss.downcast_index(built)
    graph = hasattr(inner, "storage") or isinstance(inner, faiss.IndexRefine)
    try:
        if graph and not whole:
            return _added_again(read(), parts, keep, starts)
        if graph:
            return _added(built, parts[1:], keep[starts[1] :], starts[1:] - starts[1])
        return _merged(parts, keep, starts)
    except RuntimeError as error:
        raise UsageError(
            "rows cannot be moved out of an index of this kind",
            "build it again from its store: `retrieve index … --force`",
        ) from error


def _merged(parts: Sequence[Any], keep: Mask, starts: Any) -> Any:
    """Codes and lists moved as they are."""
    renumbered = np.cumsum(keep, dtype=np.int64) - 1
    for part, start, stop in zip(parts, starts[:-1], starts[1:], strict=True):
        inside = keep[start:stop]
        gone = np.flatnonzero(~inside).astype(np.int64)
        if len(gone):
            part.remove_ids(faiss.IDSelectorBatch(gone))
        lists = inverted_lists(part)
        if lists is not None:
            _renumber(lists, renumbered[start:stop])
    built = parts[0]
    for part in parts[1:]:
        share_quantiser(built, part)
        built.merge_from(part, 0)
    return built


def _renumber(lists: Any, rows: Any) -> None:
    """Give every entry of the inverted lists the row that `rows` says for it."""
    for number in range(lists.nlist):
        size = lists.invlists.list_size(number)
        if size:
            pointer = lists.invlists.get_ids(number)
            ids = faiss.rev_swig_ptr(pointer, size)
            ids[:] = rows[ids]
            lists.invlists.release_ids(number, pointer)


def _added(built: Any, parts: Sequence[Any], keep: Mask, starts: Any) -> Any:
    """The vectors of additions added to an index that takes them one by one."""
    for part, start in zip(parts, starts[:-1], strict=True):
        rows = np.flatnonzero(keep[start : start + part.ntotal])
        for at in range(0, len(rows), BLOCK_ROWS):
            built.add(_vectors(part, rows[at : at + BLOCK_ROWS]))
    return built


def _added_again(empty: Any, parts: Sequence[Any], keep: Mask, starts: Any) -> Any:
    """Every kept vector added to an emptied index of the same kind."""
    empty.reset()
    return _added(empty, parts, keep, starts)


def _vectors(index: Any, rows: Any) -> Any:
    lists = inverted_lists(index)
    if lists is not None and lists.direct_map.type == lists.direct_map.NoMap:
        lists.make_direct_map()
    return index.reconstruct_batch(np.asarray(rows, np.int64))


def vectors_of(index: Any, rows: Any) -> Any:
    """Vectors `(rows, dim)` as exactly as an index keeps them. Raises UsageError if it cannot."""
    try:
        return _vectors(index, rows)
    except RuntimeError as error:
        raise UsageError(
            "an index of this kind does not give vectors back",
            "build one of both stores instead: `mmcli store concat`, then `retrieve index`",
        ) from error
