"""Rows of a store whose vectors point almost the same way as those of another row.

To leave rows out, each is compared with those that stay; to name them, with all that come before.
Up to `EXACT_ROWS` every row is compared with every other. Beyond that rows are gathered around
centroids, each in the two nearest cells, and compared within a cell, so that time and memory stay
bounded; a pair that no cell holds together is then missed. Vectors are read cell by cell.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcli.store.mapped import BLOCK_ROWS, MappedKey
from mmcli.store.reader import Store

Rows = NDArray[np.int64]
#: Above it rows are compared within cells only.
EXACT_ROWS = 50_000
#: Rows in a cell, on average; each row is in two.
_CELL_ROWS = 2_000
#: Training vectors a centroid: enough that more change little (FAISS warns below 39).
_PER_CENTROID = 40
_BLOCK = 1_024
#: Equal vectors have a cosine of 1 only up to the rounding of float32.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Near:
    """Rows that repeat another one: `rows` ascending, `first` of each, and their cosine."""

    rows: Rows
    first: Rows
    cosine: NDArray[np.float32]


def first_of_each(store: Store, key: str, rows: Rows, threshold: float) -> Rows:
    """The rows without those that repeat an earlier one of them; a row without the key stays."""
    near = near_duplicates(store, key, rows, threshold)
    return np.setdiff1d(rows, near.rows, assume_unique=True)


def near_duplicates(store: Store, key: str, rows: Rows, threshold: float) -> Near:
    """Which of these rows have a cosine of at least `threshold` to an earlier one that has none.

    rows: ascending. Rows without the key, and vectors of zeros, repeat nothing.
    """
    mapped = MappedKey(store, key)
    rows = rows[store.has(key)[rows]]
    lead = rows.copy()  # of each of `rows`, in their order
    for members in _gathered(mapped, rows):
        _settle(mapped, rows, members[lead[members] == rows[members]], lead, threshold)
    _follow(rows, lead)
    found = np.flatnonzero(lead != rows)
    return Near(rows[found], lead[found], _cosines(mapped, rows[found], lead[found]))


def nearest_before(
    store: Store, key: str, rows: Rows, order: NDArray[np.int64], threshold: float
) -> Near:
    """For each row the nearest of those of a smaller `order`, where its cosine reaches `threshold`.

    rows: ascending; order: a number for each, as that of its split.
    """
    mapped = MappedKey(store, key)
    has = store.has(key)[rows]
    rows, order = rows[has], order[has]
    best = np.full(len(rows), -np.inf, np.float32)
    other = np.zeros(len(rows), np.int64)
    for members in _gathered(mapped, rows):
        _approach(mapped, rows, order, members, best, other)
    found = np.flatnonzero(best >= threshold - _ROUNDING)
    return Near(rows[found], rows[other[found]], best[found])


def _gathered(mapped: MappedKey, rows: Rows) -> Iterator[NDArray[np.intp]]:
    """Numbers of rows that are compared with one another: all, or those of one cell after another.

    A row is in two cells.
    """
    if len(rows) <= EXACT_ROWS:
        yield np.arange(len(rows))
        return
    cells = _cells(mapped, rows)
    order = np.argsort(cells, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(cells.ravel()))
    for start, stop in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True):
        yield np.unique(order[start:stop] // cells.shape[1])
        mapped.release()


def _approach(
    mapped: MappedKey,
    rows: Rows,
    order: NDArray[np.int64],
    members: NDArray[np.intp],
    best: NDArray[np.float32],
    other: NDArray[np.int64],
) -> None:
    """Note for each member the nearest member of a smaller order, where none is nearer yet."""
    later = members[order[members] > order[members].min(initial=0)]
    for start in range(0, len(later), _BLOCK):
        here = later[start : start + _BLOCK]
        vectors = _unit(mapped.take(rows[here]))
        for at in range(0, len(members), 8 * _BLOCK):
            there = members[at : at + 8 * _BLOCK]
            cosines = vectors @ _unit(mapped.take(rows[there])).T
            cosines[order[there] >= order[here][:, None]] = -np.inf
            place = cosines.argmax(axis=1)
            cosine = cosines[np.arange(len(here)), place]
            nearer = cosine > best[here]
            best[here[nearer]] = cosine[nearer]
            other[here[nearer]] = there[place[nearer]]


def _settle(
    mapped: MappedKey, rows: Rows, members: NDArray[np.intp], lead: Rows, threshold: float
) -> None:
    """Compare the members with one another, in order, and note the leader of each."""
    kept_rows = np.zeros(0, np.int64)
    kept: list[NDArray[np.float32]] = []
    least = threshold - _ROUNDING
    for start in range(0, len(members), _BLOCK):
        here = members[start : start + _BLOCK]
        vectors = _unit(mapped.take(rows[here]))
        free = np.ones(len(here), bool)
        at = 0
        for earlier in kept:  # in the order in which they were kept
            hit = (vectors @ earlier.T) >= least
            first = hit.argmax(axis=1)
            found = free & hit.any(axis=1)
            lead[here[found]] = kept_rows[at + first[found]]
            free &= ~found
            at += len(earlier)
        left = np.flatnonzero(free)
        near = np.tril((vectors[left] @ vectors[left].T) >= least, -1)
        stays = np.ones(len(left), bool)
        for number in np.flatnonzero(near.any(axis=1)):
            leaders = np.flatnonzero(near[number] & stays)
            if len(leaders):
                stays[number] = False
                lead[here[left[number]]] = rows[here[left[leaders[0]]]]
        kept.append(vectors[left[stays]])
        kept_rows = np.concatenate([kept_rows, rows[here[left[stays]]]])
        if len(kept) > 1 and len(kept[-2]) < 4 * _BLOCK:  # few large products, not many small ones
            kept[-2:] = [np.concatenate(kept[-2:])]


def _cells(mapped: MappedKey, rows: Rows) -> NDArray[np.int32]:
    """The two nearest of the centroids of each row, `(rows, 2)`."""
    from mmcli.index.library import faiss

    count = max(2, len(rows) // _CELL_ROWS)
    random = np.random.default_rng(0)
    sample = np.sort(random.choice(rows, min(len(rows), count * _PER_CENTROID), replace=False))
    kmeans = faiss.Kmeans(mapped.dim, count, niter=10, seed=1, spherical=True)
    kmeans.train(_unit(mapped.take(sample)))
    found = np.empty((len(rows), 2), np.int32)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = _unit(mapped.take(rows[start : start + BLOCK_ROWS]))
        found[start : start + len(block)] = kmeans.index.search(block, 2)[1]
        mapped.release()
    return found


def _follow(rows: Rows, lead: Rows) -> None:
    """A row whose leader has one itself is led by that one."""
    while True:
        at = np.searchsorted(rows, lead)
        onward = lead[at]
        if np.array_equal(onward, lead):
            return
        lead[:] = onward


def _cosines(mapped: MappedKey, rows: Rows, first: Rows) -> NDArray[np.float32]:
    found = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        product = _unit(mapped.take(rows[part])) * _unit(mapped.take(first[part]))
        found[part] = product.sum(axis=1)
    return found


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length one; those of length zero, or that hold no numbers, are zeros."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    sound = np.isfinite(length) & (length > 0)
    return np.where(sound, vectors / np.where(sound, length, 1), 0).astype(np.float32, copy=False)
