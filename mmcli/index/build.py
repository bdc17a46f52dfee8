"""Builds a FAISS index from blocks of vectors in bounded memory, with a GPU where there is one.

Knows nothing about stores or ids: row i of the blocks becomes FAISS id i. The result is always a
CPU index, so that it opens anywhere.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, OutOfResource, UsageError
from mmcli.index.factory import probes, training_size
from mmcli.index.library import faiss

Metric = Literal["cosine", "ip", "l2"]
Vectors = NDArray[np.float32]
#: Candidates that are ranked again by better codes, in results asked for, until it is tuned.
RANKED_AGAIN = 4.0


def build(
    blocks: Callable[[], Iterable[Vectors]],
    n: int,
    dim: int,
    *,
    factory: str,
    metric: Metric = "cosine",
    seed: int = 0,
    on_rows: Callable[[int], None] = lambda done: None,
) -> Any:
    """A trained FAISS index over every row of `blocks()`, which may be called twice.

    blocks: float32 `(rows, dim)` each, `n` rows in all; for cosine they are normalised here, into
    copies. on_rows: told how many rows are in. Raises UsageError when FAISS does not know the
    factory string, BadInput when there are too few rows to train it on.
    """
    index = empty(factory, dim, metric)
    searcher, gpu = _to_gpu(index)
    try:
        if not searcher.is_trained:
            _train(searcher, blocks, n, dim, factory, metric, seed)
        done = 0
        for block in blocks():
            searcher.add(ready(block, metric))
            done += len(block)
            on_rows(done)
    except MemoryError as error:
        raise OutOfResource(
            f"out of memory at row {searcher.ntotal} of {n}",
            "a smaller index is `--factory auto`, or for instance `--factory IVF4096,SQ8`",
        ) from error
    except RuntimeError as error:  # IDMap and its like want ids of their own
        raise UsageError(
            f"`--factory {factory}`: FAISS cannot add to it ({reason(error)})",
            "for example Flat, HNSW32, IVF256,Flat or IVF256,SQ8; `auto` chooses",
        ) from error
    index = faiss.index_gpu_to_cpu(searcher) if gpu else searcher
    look_further(index)
    return index


def look_further(index: Any) -> None:
    """How far an index looks until it is tuned; FAISS's own is one list, and no more than k rows
    to rank again by better codes.
    """
    lists, refined = inverted_lists(index), refined_index(index)
    if lists is not None and lists.nprobe == 1:
        lists.nprobe = probes(lists.nlist)
    if refined is not None and refined.k_factor == 1:
        refined.k_factor = RANKED_AGAIN


def empty(factory: str, dim: int, metric: Metric) -> Any:
    """An index of that factory string without rows. Raises UsageError when FAISS refuses it."""
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    try:
        return faiss.index_factory(dim, factory, kind)
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"`--factory {factory}`: FAISS makes no such index of {dim} dimensions"
            f" ({reason(error)})",
            "for example Flat, HNSW32, IVF256,Flat or IVF256,SQ8; `auto` chooses",
        ) from error


def ready(block: Vectors, metric: Metric) -> Vectors:
    """A C-ordered float32 copy, of unit length for cosine."""
    rows = np.array(block, dtype=np.float32, order="C")
    if metric == "cosine":
        faiss.normalize_L2(rows)
    return rows


def inverted_lists(index: Any) -> Any | None:
    """The inverted-list index inside, if there is one."""
    try:
        return faiss.extract_index_ivf(index)
    except RuntimeError:
        return None


def refined_index(index: Any) -> Any | None:
    """The index as one that ranks its candidates again, if it is."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return refined_index(index.index)
    return index if isinstance(index, faiss.IndexRefine) else None


def reason(error: Exception) -> str:
    """What FAISS says is wrong, without the C++ signature and file that it says first."""
    text = " ".join(str(error).split())
    text = re.sub(r"^Error in .* at \S+:\d+: (Error: '.*' failed:? ?)?", "", text)
    return text.strip(" .:")[:200] or "not for this metric"


def train(index: Any, sample: Vectors, factory: str, n: int) -> None:
    """Train an index on a sample `(rows, dim)` that is ready for its metric.

    Raises BadInput, naming the factory string and `n`, where FAISS needs more.
    """
    lists = inverted_lists(index)
    if lists is not None:
        lists.cp.min_points_per_centroid = 1  # else FAISS writes its advice to stderr
    try:
        index.train(sample)
    except RuntimeError as error:
        raise BadInput(
            f"`--factory {factory}` cannot be trained on {n} vectors ({reason(error)})",
            "use `--factory Flat`, or fewer lists",
        ) from error


def _train(
    index: Any,
    blocks: Callable[[], Iterable[Vectors]],
    n: int,
    dim: int,
    factory: str,
    metric: Metric,
    seed: int,
) -> None:
    lists = inverted_lists(index)
    size = training_size(n, lists.nlist if lists is not None else 1)
    chosen = np.sort(np.random.default_rng(seed).choice(n, size=size, replace=False))
    sample = np.empty((size, dim), dtype=np.float32)
    start = 0
    for block in blocks():
        low, high = np.searchsorted(chosen, (start, start + len(block)))
        sample[low:high] = block[chosen[low:high] - start]
        start += len(block)
    train(index, ready(sample, metric), factory, n)


def _to_gpu(index: Any) -> tuple[Any, bool]:
    """The index on all GPUs, where there are any and FAISS can put that kind on one."""
    if getattr(faiss, "get_num_gpus", int)() == 0:
        return index, False
    try:
        return faiss.index_cpu_to_all_gpus(index), True
    except RuntimeError:
        return index, False  # HNSW and others live on the CPU only
