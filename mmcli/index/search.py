"""Nearest rows of an index: vectors in, rows and scores out.

Scores are larger when nearer for every metric: the inner product for `cosine` and `ip`, the
negated Euclidean distance for `l2`. Knows nothing about ids or encoders.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.index.build import Metric, inverted_lists, ready
from mmcli.index.library import faiss
from mmcli.index.on_disk import bounded_search, open_mapped
from mmcli.index.settings import apply

Vectors = NDArray[np.float32]
#: From this many queries on, copying the index to a GPU can pay for itself.
MANY = 256
#: Multiplications that one core does sooner than FAISS starts its other threads.
SMALL = 10_000_000


@dataclass(frozen=True)
class Hits:
    """What one query found, best first."""

    rows: tuple[int, ...]
    scores: tuple[float, ...]


def read_index(
    path: Path,
    dim: int,
    rows: int,
    *,
    on_disk: bool = False,
    setting: Mapping[str, int] | None = None,
) -> Any:
    """A FAISS index from its file. Raises BadInput when it is not of that width and size.

    on_disk: its lists are mapped rather than read. setting: how far its searches look.
    """
    try:
        index = open_mapped(path) if on_disk else faiss.read_index(str(path))
    except (RuntimeError, MemoryError) as error:
        raise BadInput(
            f"`{path}` is not an index that FAISS can read", "build the index again"
        ) from error
    if (index.d, index.ntotal) != (dim, rows):
        raise BadInput(
            f"`{path}` holds {index.ntotal} vectors of {index.d} dimensions,"
            f" its manifest says {rows} of {dim}",
            "build the index again",
        )
    _mark_transforms(index)
    apply(index, setting or {})
    return index


def _mark_transforms(index: Any) -> None:
    """Note which maps before an index can be undone: FAISS 1.15 reads whitening (PCAW) as one."""
    inner: Any = faiss.downcast_index(index)
    if not isinstance(inner, faiss.IndexPreTransform):
        return
    chain: Any = inner.chain
    for number in range(chain.size()):
        transform: Any = faiss.downcast_VectorTransform(chain.at(number))
        if isinstance(transform, faiss.LinearTransform):
            transform.set_is_orthonormal()


def combine(vectors: Sequence[Vectors], weights: Sequence[float], metric: Metric) -> Vectors:
    """One query `(dim,)` from several: their weighted sum; a negative weight pushes away.

    For cosine each is brought to unit length first, so that the weights alone decide. For `l2` the
    sum is divided by that of the weights (a weighted mean), so these must not cancel out.
    """
    rows = np.stack([np.asarray(v, dtype=np.float32) for v in vectors])
    if metric == "cosine":
        rows = ready(rows, "cosine")
    factors = np.asarray(weights, dtype=np.float32)
    total = (rows * factors[:, None]).sum(axis=0)
    if metric == "l2":
        if float(factors.sum()) <= 0:
            raise UsageError(
                "the weights of a query on an `l2` index must add up to more than 0",
                "an index with `--metric cosine` takes any weights",
            )
        total = total / factors.sum()
    if metric == "cosine" and not np.linalg.norm(total) > 1e-6:
        raise UsageError("the queries cancel each other out", "change their weights")
    return np.asarray(total, dtype=np.float32)


def search(
    index: Any,
    queries: Vectors,
    k: int,
    metric: Metric,
    *,
    min_score: float | None = None,
    exclude: Sequence[Collection[int]] | None = None,
) -> list[Hits]:
    """The best `k` rows for each query `(n, dim)`; fewer when the index has fewer.

    index: FAISS's own, or a LivingIndex. exclude: rows that a query must not find (itself), one
    collection a query.
    """
    extra = max((len(rows) for rows in exclude), default=0) if exclude else 0
    wanted = min(k + extra, index.ntotal)
    if wanted == 0 or len(queries) == 0:
        return [Hits((), ()) for _ in queries]
    if len(queries) * index.ntotal * index.d < SMALL:
        faiss.omp_set_num_threads(1)
    searcher = _on_gpu(index, len(queries))
    look = bounded_search if isinstance(searcher, faiss.Index) else type(searcher).search
    distances, found = look(searcher, ready(queries, metric), wanted)
    scores = -np.sqrt(np.maximum(distances, 0)) if metric == "l2" else distances
    results = []
    for i in range(len(queries)):
        unwanted = set(exclude[i]) if exclude else set()
        pairs = [
            (int(row), float(score))
            for row, score in zip(found[i], scores[i], strict=True)
            if row >= 0 and int(row) not in unwanted and (min_score is None or score >= min_score)
        ]
        pairs.sort(key=lambda pair: (-pair[1], pair[0]))  # ties in row order, whatever the heap did
        results.append(Hits(tuple(r for r, _ in pairs[:k]), tuple(s for _, s in pairs[:k])))
    return results


def vector_of(index: Any, row: int) -> Vectors:
    """The stored vector of a row, as exactly as the index keeps it.

    Raises UsageError for kinds that cannot give vectors back.
    """
    if hasattr(index, "vector_of"):  # several segments
        index, row = index.vector_of(row)
    lists = inverted_lists(index)
    try:
        if lists is not None and lists.direct_map.type == lists.direct_map.NoMap:
            lists.make_direct_map()
        return np.asarray(index.reconstruct(row), dtype=np.float32)
    except RuntimeError as error:
        raise UsageError(
            "an index of this kind does not give vectors back, which `--like` needs",
            "build it with another `--factory`, or search with the file itself",
        ) from error


def _on_gpu(index: Any, n_queries: int) -> Any:
    if n_queries < MANY or getattr(faiss, "get_num_gpus", int)() == 0:
        return index
    if not isinstance(index, faiss.Index):  # several segments, or rows left out
        return index
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except RuntimeError:
        return index
