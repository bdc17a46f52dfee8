"""Held-out queries, their exact neighbours, and the recall of an index on them.

A held-out query is a row of the data that trains nothing and must not find itself, so a score says
what a query gets that the index has not seen. Knows nothing about which index is judged.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.index.build import Metric
from mmcli.index.library import faiss
from mmcli.index.on_disk import bounded_search
from mmcli.metrics.statistics import bootstrap_means

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Blocks = Callable[[], Iterable[Vectors]]
#: Most rows that are held out as queries.
QUERIES = 1_000
#: Neighbours that recall is measured on.
DEPTH = 10
#: Resamples of the interval of a recall.
RESAMPLES = 1000


@dataclass(frozen=True)
class HeldOut:
    """Queries `(n, dim)` in the index's metric, the row that each is (-1 for none), and their
    exact neighbours `(n, DEPTH)`, best first, -1 where there are fewer.
    """

    queries: Vectors
    own: Rows
    truth: Rows

    def found(self, index: Any) -> Rows:
        """What an index finds for them, `(n, DEPTH)`, without the queries themselves.

        index: FAISS's own, or a LivingIndex.
        """
        look = bounded_search if isinstance(index, faiss.Index) else type(index).search
        _, rows = look(index, self.queries, self.depth)
        return without(rows, self.own) if self.inside else np.asarray(rows, np.int64)

    @property
    def inside(self) -> bool:
        """Whether any query is a row of the index."""
        return bool((self.own >= 0).any())

    @property
    def depth(self) -> int:
        """How many results are asked for, so that DEPTH remain."""
        return DEPTH + self.inside

    def recalls(self, found: Rows) -> NDArray[np.float64]:
        """The share of each query's true neighbours that was found, `(n,)`."""
        hits = (self.truth[:, :, None] == found[:, None, :]) & (self.truth >= 0)[:, :, None]
        return np.asarray(hits.any(axis=2).sum(axis=1) / np.maximum((self.truth >= 0).sum(1), 1))


def recall_interval(recalls: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """The mean recall and its bootstrap interval at 95 %; of a single query, from 0 to 1."""
    if len(recalls) < 2:
        return float(recalls.mean()), 0.0, 1.0
    found = bootstrap_means(recalls[:, None], RESAMPLES, seed)
    return float(found.value[0]), float(found.low[0]), float(found.high[0])


def held_out_count(n: int) -> int:
    """How many of `n` rows are queries: a thousand, never more than a twentieth."""
    return max(1, min(QUERIES, n // 20))


def gather(blocks: Blocks, rows: Rows, dim: int, metric: Metric) -> Vectors:
    """The vectors of some rows of the blocks, `(len(rows), dim)`, as the index holds them.

    rows: in any order, none twice.
    """
    found = np.empty((len(rows), dim), np.float32)
    order = np.argsort(rows)
    ascending = rows[order]
    start = 0
    for block in blocks():
        low, high = np.searchsorted(ascending, (start, start + len(block)))
        found[order[low:high]] = block[ascending[low:high] - start]
        start += len(block)
    if metric == "cosine":
        faiss.normalize_L2(found)
    return found


class ExactNeighbours:
    """Finds the exact neighbours of queries among rows that come in blocks.

    queries: `(n, dim)`, unit length for cosine. own: `(n,)`, the row that a query is and must not
    find, or -1. seconds: what it took so far.
    """

    def __init__(self, queries: Vectors, own: Rows, metric: Metric) -> None:
        self.queries, self.own = queries, own
        self.seconds = 0.0
        self._metric: Metric = metric
        self._kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self._best = faiss.ResultHeap(len(queries), DEPTH + 1, keep_max=metric != "l2")
        self._rows = 0

    def add(self, block: Vectors) -> None:
        """The next rows, `(n, dim)`, already as the index holds them."""
        began = time.perf_counter()
        if len(block):
            depth = min(DEPTH + 1, len(block))
            scores, rows = faiss.knn(self.queries, block, depth, self._kind)
            self._best.add_result(scores, rows + self._rows)
            self._rows += len(block)
        self.seconds += time.perf_counter() - began

    def finish(self) -> HeldOut:
        """The queries with their neighbours among all rows; where there are fewer, -1."""
        self._best.finalize()
        return HeldOut(self.queries, self.own, without(self._best.I, self.own))


def without(rows: Rows, own: Rows) -> Rows:
    """Results `(n, DEPTH + 1)` as `(n, DEPTH)`: a query's own row is left out, or else the last."""
    rows = np.asarray(rows, np.int64)
    here = (rows == own[:, None]) & (own >= 0)[:, None]
    dropped = np.where(here.any(axis=1), here.argmax(axis=1), rows.shape[1] - 1)
    keep = np.arange(rows.shape[1])[None] != dropped[:, None]
    return rows[keep].reshape(len(rows), -1)
