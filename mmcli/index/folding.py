"""Segments of an index into one, without the rows that were taken out and without training again.

Lists and codes are moved as they are; only a graph is built anew when nodes must leave it. Lists on
disk are written to another file, one at a time. Rows keep their order and are counted from 0. Knows
nothing about items.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import UsageError
from mmcli.index.build import inverted_lists
from mmcli.index.filtering import Mask
from mmcli.index.library import faiss
from mmcli.index.on_disk import file_head, let_go, mapped_lists
from mmcli.index.segments import empty_addition, share_quantiser

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


def fold_to_file(read: Callable[[], Any], additions: Sequence[Any], keep: Mask, path: Path) -> None:
    """Write the kept rows of lists on disk and of their additions to `path`.

    read: maps the built index, each time anew. keep: `(rows,)`. In memory are one list and 9 bytes
    a row.
    """
    built = read()
    parts = [built, *additions]
    starts = np.cumsum([0, *(part.ntotal for part in parts)])
    renumbered = np.cumsum(keep, dtype=np.int64) - 1
    sizes = np.zeros(built.nlist, np.int64)
    for part, start in zip(parts, starts[:-1], strict=True):
        for number in range(built.nlist):
            sizes[number] += int(keep[start + _ids(part.invlists, number)].sum())
    shape = read()
    with open(path, "wb") as file:
        file.write(file_head(empty_addition(shape), sizes))
        for number in range(built.nlist):
            ids = []
            for part, start in zip(parts, starts[:-1], strict=True):
                rows = start + _ids(part.invlists, number)
                inside = keep[rows]
                ids.append(renumbered[rows[inside]])
                file.write(_codes(part.invlists, number)[inside].tobytes())
            file.write(np.concatenate(ids).astype("<i8").tobytes())
            for part in parts:
                mapped = mapped_lists(part)
                if mapped is not None:
                    let_go(mapped)


def _ids(lists: Any, number: int) -> Any:
    """The rows of one inverted list, a copy `(size,)`."""
    size = lists.list_size(number)
    if not size:
        return np.empty(0, np.int64)
    return faiss.rev_swig_ptr(lists.get_ids(number), size).copy()


def _codes(lists: Any, number: int) -> Any:
    """The codes of one inverted list as they lie there, `(size, code bytes)`."""
    size, width = lists.list_size(number), lists.code_size
    if not size:
        return np.empty((0, width), np.uint8)
    return faiss.rev_swig_ptr(lists.get_codes(number), size * width).reshape(size, width)


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


def blocks_of_rows(index: Any, rows: Any, hint: str) -> Iterator[Any]:
    """Vectors of some rows in blocks `(n, dim)`, as exactly as an index keeps them.

    index: FAISS's own. Raises UsageError, with the hint, for a kind that cannot.
    """
    try:
        for at in range(0, len(rows), BLOCK_ROWS):
            yield _vectors(index, rows[at : at + BLOCK_ROWS])
    except RuntimeError as error:
        raise UsageError("an index of this kind does not give vectors back", hint) from error
