"""Nearest rows among those that a mask keeps, exactly where few are kept.

The mask is applied inside the search: FAISS is given a selector, and looks into the more lists
(or further along the graph) the fewer rows there are to find. What cannot take a selector is
searched by the vectors of the kept rows themselves. Knows nothing about items or files.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import UsageError
from mmcli.index.library import faiss
from mmcli.index.on_disk import bounded_search, mapped_lists

_faiss: Any = faiss  # whose stubs lack the parameters of most kinds of search
Vectors = NDArray[np.float32]
Mask = NDArray[np.bool_]
Found = tuple[NDArray[np.float32], NDArray[np.int64]]
#: A graph is followed only where this share of its nodes counts; else its vectors are scanned.
FEW_SHARE = 0.2
#: So many kept rows are scanned sooner than a graph is followed around the others.
FEW_ROWS = 20_000
#: Up to so many kept rows are ranked by their own vectors, not by codes: 5 ms for 8,000 of 384
#: dimensions, 57 ms for 19,000.
RANKED_ROWS = 10_000
#: Taking a kept row out costs as much as looking at so many rows with a selector; searching it then
#: as much as looking at so many (200,000 rows, Flat, IVF,Flat and IVF,SQ8, one query to 256).
TAKING_OUT, SEARCHING = 600, 8
#: Where so few are kept, so many times the candidates are ranked again: that costs little then.
FEW_DEEPER = 4.0
#: From this share on an index is searched whole, for a few rows more than wanted, and those that do
#: not count are left out: a selector costs IVF,SQ8 a third of its speed, Flat its matrix product.
WHOLE_SHARE, FLAT_SHARE = 0.9, 0.5
#: Vectors given back at a time when a kind of index takes no selector.
BLOCK_ROWS = 16_384


def nearest(
    index: Any,
    queries: Vectors,
    k: int,
    keep: Mask | None = None,
    assigned: Found | None = None,
) -> Found:
    """Distances and rows `(n, k)` as FAISS gives them, of kept rows only; -1 where none is left.

    keep: `(rows,)`, None for all. assigned: the lists to look into, where `assign` has found them.
    Every query gets min(k, kept rows) rows.
    """
    n_keep = index.ntotal if keep is None else int(keep.sum())
    wanted = min(k, n_keep)
    distances, rows = _nothing(index, len(queries), k)
    if wanted == 0 or len(queries) == 0:
        return distances, rows
    if keep is None or n_keep == index.ntotal:
        distances[:, :wanted], rows[:, :wanted] = _whole(index, queries, wanted, assigned)
        return distances, rows
    share = n_keep / index.ntotal
    flat = isinstance(faiss.downcast_index(index), faiss.IndexFlat)
    if share >= (FLAT_SHARE if flat else WHOLE_SHARE):
        found = _thinned(index, queries, wanted, keep, share, assigned)
    else:
        found = _selected(index, queries, wanted, keep, share)
    distances[:, :wanted], rows[:, :wanted] = found
    short = np.flatnonzero(rows[:, wanted - 1] < 0)
    if len(short):  # a graph or the lists looked into had too few
        again = _exhaustive(index, queries[short], wanted, keep)
        distances[short, :wanted], rows[short, :wanted] = again
        short = np.flatnonzero(rows[:, wanted - 1] < 0)
    if len(short):  # lists that a graph of centroids does not lead to
        again = _by_vectors(index, queries[short], wanted, keep)
        distances[short, :wanted], rows[short, :wanted] = again
    return distances, rows


def is_similarity(index: Any) -> bool:
    """Whether larger is nearer."""
    return bool(_faiss.is_similarity_metric(index.metric_type))


def _nothing(index: Any, n: int, k: int) -> Found:
    worst = -np.inf if is_similarity(index) else np.inf
    return np.full((n, k), worst, np.float32), np.full((n, k), -1, np.int64)


#: FAISS's mode that shares queries out to threads also where their lists are given.
_BY_QUERY = 3
_ASSIGNABLE = (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)


def assign(index: Any, queries: Vectors) -> Found | None:
    """The lists that a search looks into, so that segments which share them find them once."""
    inner = faiss.downcast_index(index)
    if not isinstance(inner, _ASSIGNABLE) or mapped_lists(index) is not None:
        return None
    distances, lists = inner.quantizer.search(queries, inner.nprobe)
    return distances, lists


def _whole(index: Any, queries: Vectors, k: int, assigned: Found | None) -> Found:
    if assigned is None:
        return bounded_search(index, queries, k)
    inner: Any = faiss.downcast_index(index)
    before, inner.parallel_mode = inner.parallel_mode, _BY_QUERY  # else it is one thread's work
    try:
        found = inner.search_preassigned(queries, k, assigned[1], assigned[0])
    finally:
        inner.parallel_mode = before
    return np.asarray(found[0]), np.asarray(found[1])


def _thinned(
    index: Any, queries: Vectors, k: int, keep: Mask, share: float, assigned: Found | None
) -> Found:
    """The index searched as a whole, for some rows more, and those that do not count left out."""
    ahead = min(index.ntotal, k + 16 + math.ceil(2 * k * (1 / share - 1)))
    distances, rows = _whole(index, queries, ahead, assigned)
    counts = keep[rows] & (rows >= 0)
    order = np.argsort(~counts, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(rows, order, 1)
    best[~np.take_along_axis(counts, order, 1)] = -1
    return np.take_along_axis(distances, order, 1), best


def _selected(index: Any, queries: Vectors, k: int, keep: Mask, share: float) -> Found:
    """The index's own search with a selector, deeper the fewer rows are kept."""
    kept, inner = int(keep.sum()), faiss.downcast_index(index)
    if isinstance(inner, faiss.IndexHNSW) and (kept < FEW_ROWS or share < FEW_SHARE):
        return _exhaustive(index, queries, k, keep)
    if isinstance(inner, faiss.IndexRefine) and kept <= RANKED_ROWS:
        # small codes tell near rows apart badly
        return _by_vectors(inner.refine_index, queries, k, keep)
    if kept < FEW_ROWS and _worth_taking_out(inner, len(queries), kept):
        return _by_vectors(index, queries, k, keep)
    selector, kept_alive = _selector(keep)
    try:
        found = index.search(queries, k, params=_parameters(index, selector, share, k))
    except RuntimeError:  # PQ, NSG and others take none
        return _by_vectors(index, queries, k, keep)
    del kept_alive
    return np.asarray(found[0]), np.asarray(found[1])


def _worth_taking_out(index: Any, queries: int, kept: int) -> bool:
    """Whether so many queries are answered sooner from the kept rows by themselves."""
    looked_at = float(index.ntotal)  # by each query, with a selector
    if isinstance(index, faiss.IndexIVF) and not isinstance(index, faiss.IndexIVFFastScan):
        if mapped_lists(index) is not None:
            return False
        looked_at *= min(1.0, index.nprobe * index.ntotal / (kept * index.nlist))
    elif not isinstance(index, faiss.IndexFlat):
        return False
    return looked_at >= SEARCHING * kept and queries * looked_at >= TAKING_OUT * kept


def _exhaustive(index: Any, queries: Vectors, k: int, keep: Mask) -> Found:
    """Every kept row compared, by the codes that the index has."""
    inner = faiss.downcast_index(index)
    searched = faiss.downcast_index(inner.storage) if hasattr(inner, "storage") else index
    selector, kept_alive = _selector(keep)
    try:
        found = searched.search(queries, k, params=_parameters(searched, selector, 0.0, k))
    except RuntimeError:
        return _by_vectors(index, queries, k, keep)
    del kept_alive
    return np.asarray(found[0]), np.asarray(found[1])


def _selector(keep: Mask) -> tuple[Any, Any]:
    """A selector of the kept rows, and the bytes that it points into."""
    packed = np.packbits(keep, bitorder="little")
    return _faiss.IDSelectorBitmap(packed), packed


def _parameters(index: Any, selector: Any, share: float, k: int) -> Any:
    """Search parameters for an index of any kind; share: of its rows that are kept."""
    inner = _faiss.downcast_index(index)
    if isinstance(inner, _faiss.IndexPreTransform):
        below = _parameters(inner.index, selector, share, k)
        return _faiss.SearchParametersPreTransform(index_params=below)
    if isinstance(inner, _faiss.IndexRefine):
        below = _parameters(inner.base_index, selector, share, k)
        deeper = FEW_DEEPER if share < FEW_SHARE else 1.0
        return _faiss.IndexRefineSearchParameters(
            base_index_params=below, k_factor=max(inner.k_factor, 1.0) * deeper
        )
    if isinstance(inner, _faiss.IndexIVF):
        kind = _faiss.SearchParametersIVF
        if isinstance(inner, _faiss.IndexIVFPQ):
            kind = _faiss.IVFPQSearchParameters
        depth = inner.nprobe / share if share > 0 else inner.nlist
        depth = min(inner.nlist, math.ceil(depth))
        found = kind(sel=selector, nprobe=depth)
        if isinstance(_faiss.downcast_index(inner.quantizer), _faiss.IndexHNSW):
            found.quantizer_params = _faiss.SearchParametersHNSW(efSearch=max(64, 2 * depth))
        return found
    if isinstance(inner, _faiss.IndexHNSW):
        breadth = max(inner.hnsw.efSearch, k)
        return _faiss.SearchParametersHNSW(
            sel=selector, efSearch=math.ceil(breadth / max(share, FEW_SHARE))
        )
    return _faiss.SearchParameters(sel=selector)


def _by_vectors(index: Any, queries: Vectors, k: int, keep: Mask) -> Found:
    """The kept rows' vectors, as the index gives them back, compared one and all."""
    rows = np.flatnonzero(keep).astype(np.int64)
    flat = faiss.IndexFlat(index.d, index.metric_type)
    lists = _lists(index)
    if lists is not None and lists.direct_map.type == lists.direct_map.NoMap:
        lists.make_direct_map()
    try:
        for start in range(0, len(rows), BLOCK_ROWS):
            flat.add(index.reconstruct_batch(rows[start : start + BLOCK_ROWS]))
    except RuntimeError as error:
        raise UsageError(
            "an index of this kind can neither skip rows nor give vectors back",
            "build it with another `--factory`, such as IVF256,SQ8 or HNSW32",
        ) from error
    distances, found = flat.search(queries, k)
    return distances, np.where(found >= 0, rows[found], -1)


def _lists(index: Any) -> Any | None:
    try:
        return faiss.extract_index_ivf(index)
    except RuntimeError:
        return None
