"""An index file whose inverted lists a search maps, written in the memory of a few blocks.

FAISS's own way there merges shards through a writable map, which fills memory with all that it
writes; here each row's list is found first, and codes are then written where they belong. The file
is FAISS's own: `read_index` reads it whole, or with `IO_FLAG_MMAP` maps it.
"""

import ctypes
import mmap
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import UsageError
from mmcli.index.build import Metric, Vectors, ready
from mmcli.index.library import faiss

Blocks = Callable[[], Iterable[Vectors]]
#: Bytes of codes that are put in order and written together.
CHUNK_BYTES = 64 << 20
#: Bytes of lists that searches may leave mapped before they are let go.
MAPPED_BYTES = 256 << 20
#: Bytes of a row's number.
ID_BYTES = np.dtype("<i8").itemsize


def mappable(index: Any, factory: str) -> Any:
    """The inverted lists of a trained index as those that can lie in a file.

    Raises UsageError for an index that is not inverted lists throughout.
    """
    found = faiss.downcast_index(index)
    if not isinstance(found, faiss.IndexIVF) or isinstance(found, faiss.IndexIVFFastScan):
        raise UsageError(
            f"`--factory {factory}` cannot be built with `--on-disk`",
            "inverted lists can: IVF4096,Flat, IVF4096,SQ8 or IVF4096,PQ32",
        )
    return found


def write(
    index: Any,
    blocks: Blocks,
    n: int,
    metric: Metric,
    path: Path,
    on_rows: Callable[[int], None] = lambda done: None,
) -> None:
    """Write a trained, empty, `mappable` index to `path` as one that holds every row of `blocks()`.

    blocks: called twice. The index itself stays empty; `open_mapped` opens the file.
    """
    of_row = np.empty(n, np.int32)
    start = 0
    for block in blocks():
        found = index.quantizer.assign(ready(block, metric), 1)
        of_row[start : start + len(block)] = found.ravel()
        start += len(block)
        on_rows(start // 2)
    sizes = np.bincount(of_row, minlength=index.nlist).astype(np.int64)
    width = int(index.code_size)
    head = file_head(index, sizes)
    starts = len(head) + np.concatenate([[0], np.cumsum(sizes * (width + ID_BYTES))])
    with open(path, "wb") as file:
        file.write(head)
        file.flush()
        os.ftruncate(file.fileno(), int(starts[-1]))
        filled = np.zeros(index.nlist, np.int64)
        start = 0
        for rows in _chunks(blocks, max(1, CHUNK_BYTES // (width + index.d * 4))):
            part = of_row[start : start + len(rows)]
            codes = _encode(index, ready(rows, metric), part.astype(np.int64))
            order = np.argsort(part, kind="stable")
            _write_runs(file.fileno(), codes[order], part[order], order + start, starts, sizes,
                        filled)  # fmt: skip
            start += len(rows)
            on_rows((n + start) // 2)


def open_mapped(path: Path) -> Any:
    """The index of a file that `write` wrote, its lists mapped. Raises RuntimeError as FAISS."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)


def bounded_search(index: Any, queries: Vectors, k: int) -> tuple[Vectors, NDArray[np.int64]]:
    """`index.search`, for mapped lists a few queries at a time, whose pages are then let go.

    Pages that were read stay in the system's file cache, so this costs little where memory is free.
    """
    lists = mapped_lists(index)
    if lists is None or not len(queries):
        scores, rows = index.search(queries, k)
        return scores, rows
    whole: Any = faiss.downcast_index(index)
    a_query = max(1, lists.totsize * whole.nprobe // whole.nlist)
    step = max(1, MAPPED_BYTES // a_query)
    found = []
    for at in range(0, len(queries), step):
        found.append(index.search(queries[at : at + step], k))
        let_go(lists)
    return np.concatenate([s for s, _ in found]), np.concatenate([r for _, r in found])


def mapped_lists(index: Any) -> Any | None:
    """The lists of an index that lie in a file, if they do."""
    found = faiss.downcast_index(index)
    if not isinstance(found, faiss.IndexIVF):
        return None
    inside: Any = found.invlists
    lists = faiss.downcast_InvertedLists(inside)
    return lists if isinstance(lists, faiss.OnDiskInvertedLists) else None


def let_go(lists: Any) -> None:
    """Tell the kernel that mapped pages need not stay in this process, where it can be told."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None or not lists.totsize:
        return
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is not None:
        address = ctypes.c_void_p(int(lists.ptr))
        madvise(address, ctypes.c_size_t(lists.totsize), ctypes.c_int(advice))


def _chunks(blocks: Blocks, size: int) -> Iterable[Vectors]:
    """The rows of the blocks, `size` or a little more at a time."""
    waiting: list[Vectors] = []
    rows = 0
    for block in blocks():
        waiting.append(block)
        rows += len(block)
        if rows >= size:
            yield np.concatenate(waiting)
            waiting, rows = [], 0
    if rows:
        yield np.concatenate(waiting)


def file_head(index: Any, sizes: NDArray[np.int64]) -> bytes:
    """What the file says before the lists: the index, which is empty, then the size of each.

    Of every list all codes follow, then all ids. The lists come last in every index that is
    `mappable`: empty ones as the sparse form of `ilar`, without an entry, full ones as the sizes of
    all (FAISS, impl/index_write.cpp).
    """
    bare = faiss.clone_index(index)
    bare.ntotal = int(sizes.sum())
    head = bytes(faiss.serialize_index(bare))
    form = b"ilar" + struct.pack("<QQ", len(sizes), index.code_size)
    none = form + b"sprs" + struct.pack("<Q", 0)
    if not head.endswith(none):
        raise AssertionError("this FAISS writes inverted lists in another form")
    counts = struct.pack("<Q", len(sizes)) + sizes.astype("<u8").tobytes()
    return head[: -len(none)] + form + b"full" + counts


def _encode(index: Any, rows: Vectors, lists: NDArray[np.int64]) -> NDArray[np.uint8]:
    codes = np.empty((len(rows), index.code_size), np.uint8)
    given = (faiss.swig_ptr(array) for array in (rows, lists, codes))
    index.encode_vectors(len(rows), *given)
    return codes


def _write_runs(
    file: int,
    codes: NDArray[np.uint8],
    lists: NDArray[np.int32],
    ids: NDArray[np.int64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    filled: NDArray[np.int64],
) -> None:
    """Put each list's rows behind those that it has: all its codes come first, then its ids."""
    width = codes.shape[1]
    bounds = np.flatnonzero(np.diff(lists, prepend=-1, append=-1))
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        here = int(lists[low])
        at, done = int(starts[here]), int(filled[here])
        os.pwrite(file, codes[low:high].tobytes(), at + done * width)
        os.pwrite(file, ids[low:high].tobytes(), at + int(sizes[here]) * width + done * ID_BYTES)
        filled[here] += high - low
