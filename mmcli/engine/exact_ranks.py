"""Exact ranks of the relevant targets in bounded memory, on every core or on the GPU.

The score of a pair is its dot product in double precision, rounded to single: equal vectors tie
wherever they stand, and neither block size nor device changes a rank. A single-precision product
of a block of queries and a block of targets decides nearly every comparison, since its error has a
bound; the few pairs within that bound of a relevant target's score are computed again, exactly.
The matrix of all scores never exists.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.engine.core_threads import mapped
from mmcli.engine.torch_stack import load_torch
from mmcli.metrics.ranking import expected_ranks, measure
from mmcli.metrics.relevance import (
    Indices,
    Relevance,
    relevance_by_judgement,
    relevance_by_row,
    relevance_by_value,
)

__all__ = [
    "Counts",
    "Relevance",
    "count_better",
    "hit_at_k",
    "iter_counts",
    "pair_scores",
    "relevance_by_judgement",
    "relevance_by_row",
    "relevance_by_value",
    "score_error",
]

Vectors = NDArray[np.float32]
#: Queries and targets of a block: its scores stay in a core's cache. Eight bytes of a comparison
#: are summed as one word, so a block has at most 8 x 255 targets.
CPU_BLOCK = (1024, 2032)
GPU_BLOCK = (8192, 16384)
#: A block has no fewer queries than this, however many cores wait for one.
LEAST_QUERIES = 64
#: With more relevant targets than this a query's scores are sorted instead of compared.
MOST_COMPARED = 32
#: Relevant targets of all queries of a block: what is counted of them takes 40 MB.
MOST_RELEVANT = 1 << 20
#: Scores in a strip that is sorted: 128 MB in double precision on a GPU, 32 MB for each core.
GPU_STRIP, CPU_STRIP = 1 << 24, 1 << 22
#: Bytes of targets that are kept in double precision beside the single ones.
MOST_DOUBLES = 1 << 29
#: Pairs computed exactly at a time.
PAIRS = 4096
#: Share of a block that may be in doubt before all of it is computed in double precision.
DENSE = 1 / 16


@dataclass(frozen=True)
class Counts:
    """For queries `start` onwards and each of their relevant targets, in CSR form.

    indptr: `(queries + 1,)`. index: `(nnz,)` the target. score: `(nnz,)` its score. better: how
    many targets score higher; equal: how many the same, itself among them; before: how many of
    those stand earlier in `targets`.
    """

    start: int
    indptr: Indices
    index: Indices
    score: Vectors
    better: Indices
    equal: Indices
    before: Indices
    gains: NDArray[np.float64] | None


def count_better(
    queries: Vectors,
    targets: Vectors,
    relevant: Relevance,
    *,
    device: str = "cpu",
    block: tuple[int, int] | None = None,
) -> Counts:
    """What `iter_counts` gives, of all queries together."""
    parts = list(iter_counts(queries, targets, relevant, device=device, block=block))
    sizes = np.concatenate([[0], *(np.diff(p.indptr) for p in parts)])
    gains = None
    if relevant.gains is not None:
        gains = np.concatenate([np.zeros(0), *(p.gains for p in parts if p.gains is not None)])

    def joined(name: str, kind: type) -> Any:
        return np.concatenate([np.zeros(0, kind), *(getattr(p, name) for p in parts)])

    return Counts(
        start=0,
        indptr=np.cumsum(sizes),
        index=joined("index", np.int64),
        score=joined("score", np.float32),
        better=joined("better", np.int64),
        equal=joined("equal", np.int64),
        before=joined("before", np.int64),
        gains=gains,
    )


def iter_counts(
    queries: Vectors,
    targets: Vectors,
    relevant: Relevance,
    *,
    device: str = "cpu",
    block: tuple[int, int] | None = None,
    on_queries: Callable[[int], None] | None = None,
) -> Iterator[Counts]:
    """Counts of a block of queries at a time, in the order of the queries.

    queries, targets: finite float32 `(n, dim)`, already normalised where cosine is meant. block:
    queries and targets of a block; changes speed and memory, never a count. on_queries: told how
    many queries are done.
    """
    torch = load_torch()
    on_gpu = device != "cpu"
    rows, columns = block or (GPU_BLOCK if on_gpu else CPU_BLOCK)
    if block is None and not on_gpu:
        rows = min(rows, max(LEAST_QUERIES, -(-len(queries) // (2 * torch.get_num_threads()))))
    rows = max(1, min(rows, MOST_RELEVANT // int(relevant.counts().max(initial=1))))
    work = _Work(torch, targets, relevant, device, columns, GPU_STRIP if on_gpu else CPU_STRIP)
    starts = range(0, len(queries), rows)

    def one(start: int) -> Counts:
        return work.counts(start, queries[start : start + rows])

    done = 0
    for counts in mapped(torch, one, starts, on_gpu):
        done += len(counts.indptr) - 1
        if on_queries is not None:
            on_queries(done)
        yield counts


def hit_at_k(
    queries: Vectors,
    targets: Vectors,
    relevant: Relevance,
    ks: Sequence[int],
    *,
    device: str = "cpu",
) -> dict[int, float]:
    """Share of the queries that find a relevant target within k, by expected rank.

    Queries without a relevant target are left out; with none left every share is 0.
    """
    kept = np.flatnonzero(relevant.counts() > 0)
    if not len(kept):
        return dict.fromkeys(ks, 0.0)
    counts = count_better(queries[kept], targets, relevant.take(kept), device=device)
    found = measure(expected_ranks(counts.indptr, counts.better, counts.equal), ks)
    return {k: float(found[f"hit@{k}"].mean()) for k in ks}


def pair_scores(left: Any, right: Any) -> Any:
    """The exact scores of row i of one with row i of the other: float32 `(n,)`.

    Products of singles are exact in double precision; they are added in pairs, in an order that
    depends on the width alone, so that equal vectors score the same in any batch on any device.
    """
    parts = left.double() * right.double()
    while parts.shape[1] > 1:
        width = parts.shape[1]
        half = (width + 1) // 2
        parts[:, : width // 2] += parts[:, half:]
        parts = parts[:, :half]
    return parts[:, 0].float()


def score_error(torch: Any, queries: Any, largest: float, dim: int) -> Any:
    """How far a single-precision product may be from the score, `(queries, 1)`.

    The probabilistic bound of Higham and Mary 2019 (a sum of n products errs by at most
    lambda sqrt(n) u |q| |t|, here with lambda = 8), never above the certain one, n u |q| |t|;
    and one more unit for rounding the score itself.
    """
    unit = 2.0**-24
    steps = min(dim, 8 * dim**0.5) + 4
    return torch.linalg.vector_norm(queries.double(), dim=1, keepdim=True) * (
        largest * steps * unit
    )


class _Work:
    """The targets on their device, and how a block of queries is counted against them."""

    def __init__(
        self,
        torch: Any,
        targets: Vectors,
        relevant: Relevance,
        device: str,
        columns: int,
        strip: int,
    ) -> None:
        self.torch = torch
        self.device = device
        self.relevant = relevant
        self.columns = columns
        self.strip = strip
        self.targets = torch.from_numpy(np.ascontiguousarray(targets)).to(device)
        norms = torch.linalg.vector_norm(self.targets, dim=1) if len(targets) else None
        self.largest = float(norms.max()) * (1 + 1e-5) if norms is not None else 0.0
        self._kept_doubles: Any = None

    def _doubles(self) -> Any:
        """The targets in double precision, kept from strip to strip unless they are too many."""
        if self._kept_doubles is not None:
            return self._kept_doubles
        doubles = self.targets.double()
        if doubles.nbytes <= MOST_DOUBLES:
            self._kept_doubles = doubles
        return doubles

    def counts(self, start: int, queries: Vectors) -> Counts:
        """Counts of one block of queries."""
        torch = self.torch
        numbers = np.arange(start, start + len(queries))
        indptr, indices, gains = self.relevant.pairs(numbers)
        sizes = np.diff(indptr)
        # The queries with most relevant targets first: those with an i-th one are then a prefix.
        order = np.argsort(-sizes, kind="stable")
        block = torch.from_numpy(np.ascontiguousarray(queries[order])).to(self.device)
        own = None if self.relevant.own is None else self.relevant.own[numbers[order]]
        found = _Found(len(indices))
        n_sorted = int((sizes > MOST_COMPARED).sum())
        slots = [np.arange(indptr[q], indptr[q + 1]) for q in order]
        if n_sorted:
            self._sort(block[:n_sorted], slots[:n_sorted], indices, own, found)
        if n_sorted < len(order):
            rest = None if own is None else own[n_sorted:]
            self._compare(block[n_sorted:], slots[n_sorted:], indices, rest, found)
        return Counts(start, indptr, indices, found.score, *found.counts, gains)

    def _compare(
        self, block: Any, slots: list[Indices], indices: Indices, own: Any, found: "_Found"
    ) -> None:
        """Count by comparing every score with that of each relevant target."""
        torch = self.torch
        layers = []
        error = score_error(torch, block, self.largest, block.shape[1])
        for layer in range(max((len(s) for s in slots), default=0)):
            at = np.array([s[layer] for s in slots if len(s) > layer])
            target = torch.from_numpy(indices[at]).to(self.device)
            rows = block[: len(at)]
            score = pair_scores(rows, self.targets[target])
            layers.append(_Layer(torch, at, rows, target, score, error[: len(at)]))
        buffer = torch.empty(len(block) * self.columns, device=self.device)
        for first in range(0, len(self.targets) if layers else 0, self.columns):
            part = self.targets[first : first + self.columns]
            scores = buffer[: len(block) * len(part)].view(len(block), len(part))
            torch.mm(block, part.T, out=scores)
            _leave_out(torch, scores, own, first)
            for layer_of in layers:
                layer_of.add(scores[: len(layer_of.at)], part, first)
        for done in layers:
            found.put(done.at, done.score, done.counts)

    def _sort(
        self, block: Any, slots: list[Indices], indices: Indices, own: Any, found: "_Found"
    ) -> None:
        """Count by sorting every score of a few queries at a time."""
        torch = self.torch
        rows = max(1, self.strip // max(1, len(self.targets)))
        for first in range(0, len(block), rows):
            part = block[first : first + rows]
            scores = _double_scores(torch, part, self._doubles())
            _leave_out(torch, scores, None if own is None else own[first : first + rows], 0)
            for row, at in enumerate(slots[first : first + rows]):
                target = torch.from_numpy(indices[at]).to(self.device)
                score = scores[row, target]
                up = _ascending(torch, scores[row])
                below = torch.searchsorted(up, score)
                better = len(up) - torch.searchsorted(up, score, right=True)
                equal = len(up) - better - below
                before = _earlier(torch, scores[row], score, equal, target)
                found.put(at, score, (better, equal, before))


class _Layer:
    """The i-th relevant target of each query that has one, and what was counted of it."""

    def __init__(
        self, torch: Any, at: Indices, rows: Any, target: Any, score: Any, error: Any
    ) -> None:
        self.torch = torch
        self.at = at
        self.rows = rows
        self.target = target
        self.score = score
        self.low = (score[:, None] - error).float()
        self.high = (score[:, None] + error).float()
        zeros = torch.zeros(3, len(at), dtype=torch.int64, device=rows.device)
        self.counts = zeros[0], zeros[1], zeros[2]

    def add(self, scores: Any, part: Any, first: int) -> None:
        """Count one block of scores `(rows, targets of the block)`; first: its first target."""
        torch = self.torch
        above = _row_counts(torch, scores > self.high)
        self.counts[0].add_(above)
        doubtful = _row_counts(torch, scores >= self.low) - above
        total = int(doubtful.sum())
        if not total:
            return
        rows = torch.nonzero(doubtful)[:, 0]
        if total > DENSE * scores.numel():
            exact = _double_scores(torch, self.rows[rows], part)
            near = scores[rows]
            unsure = (near >= self.low[rows]) & (near <= self.high[rows])
            row, column = torch.nonzero(unsure, as_tuple=True)
            self._decide(rows[row], column, exact[row, column], first)
            return
        near = scores[rows]
        unsure = (near >= self.low[rows]) & (near <= self.high[rows])
        row, column = torch.nonzero(unsure, as_tuple=True)
        for start in range(0, len(row), PAIRS):
            r, c = rows[row[start : start + PAIRS]], column[start : start + PAIRS]
            self._decide(r, c, pair_scores(self.rows[r], part[c]), first)

    def _decide(self, row: Any, column: Any, exact: Any, first: int) -> None:
        better, equal, before = self.counts
        wanted = self.score[row]
        same = exact == wanted
        better.index_add_(0, row, (exact > wanted).long())
        equal.index_add_(0, row, same.long())
        before.index_add_(0, row, (same & (column + first < self.target[row])).long())


class _Found:
    """Arrays of the counts of a block, filled slot by slot."""

    def __init__(self, n: int) -> None:
        self.score = np.zeros(n, np.float32)
        self.counts = tuple(np.zeros(n, np.int64) for _ in range(3))

    def put(self, at: Indices, score: Any, counts: Sequence[Any]) -> None:
        self.score[at] = score.cpu().numpy()
        for kept, given in zip(self.counts, counts, strict=True):
            kept[at] = given.cpu().numpy()


def _double_scores(torch: Any, rows: Any, targets: Any) -> Any:
    """Scores by a product in double precision, rounded: float32 `(rows, targets)`."""
    return torch.mm(rows.double(), targets.double().T).float()


def _ascending(torch: Any, scores: Any) -> Any:
    """One query's scores, sorted; numpy's sort is the faster one on a CPU."""
    return torch.sort(scores).values if scores.is_cuda else torch.from_numpy(np.sort(scores))


def _earlier(torch: Any, scores: Any, score: Any, equal: Any, target: Any) -> Any:
    """How many of the targets that score the same stand before each of these targets."""
    tied = torch.nonzero(equal > 1)[:, 0]
    before = torch.zeros_like(equal)
    if len(tied) > MOST_COMPARED:
        order = torch.sort(scores, descending=True, stable=True).indices
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        higher = torch.searchsorted(-scores[order], -score)
        return place[target] - higher
    for at in tied.tolist():
        before[at] = (scores[: target[at]] == score[at]).sum()
    return before


def _leave_out(torch: Any, scores: Any, own: Indices | None, first: int) -> None:
    """Take each query's own target out of its scores."""
    if own is None:
        return
    column = own - first
    rows = np.flatnonzero((column >= 0) & (column < scores.shape[1]))
    if len(rows):
        at = torch.from_numpy(rows), torch.from_numpy(column[rows])
        scores[at[0].to(scores.device), at[1].to(scores.device)] = -torch.inf


def _row_counts(torch: Any, mask: Any) -> Any:
    """How many of each row are true: int64 `(rows,)`."""
    width = mask.shape[1]
    if mask.is_cuda or width % 8 or width > CPU_BLOCK[1] or not mask.is_contiguous():
        return mask.sum(1)
    # eight flags are added as the bytes of one word, none of which can overflow
    words = mask.view(torch.int64).sum(1)
    return words.view(torch.uint8).view(len(mask), 8).sum(1)
