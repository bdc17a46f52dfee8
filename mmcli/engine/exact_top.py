"""The best targets of each query by exact score, and what a new order of them does to ranks.

Scores are those of `exact_ranks`: a pair's dot product in double precision, rounded to single.
Equal scores stand in the order of `targets`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmcli.engine.core_threads import mapped
from mmcli.engine.exact_ranks import (
    CPU_STRIP,
    GPU_STRIP,
    Counts,
    Vectors,
    pair_scores,
    score_error,
)
from mmcli.engine.torch_stack import load_torch
from mmcli.metrics.relevance import Indices


@dataclass(frozen=True)
class Best:
    """The best targets of queries `start` onwards, each `(queries, depth)`, best first.

    depth is never more than there are targets; a query's own target comes last, at -inf, when
    everything else is in front of it.
    """

    start: int
    index: Indices
    score: Vectors


def iter_best(
    queries: Vectors,
    targets: Vectors,
    depth: int,
    *,
    own: Indices | None = None,
    device: str = "cpu",
) -> Iterator[Best]:
    """The best `depth` targets of each query, some queries at a time, in their order.

    queries, targets: finite float32 `(n, dim)`. own: `(queries,)`, a target that a query must not
    find, -1 where there is none.
    """
    torch = load_torch()
    on_gpu = device != "cpu"
    depth = min(depth, len(targets))
    placed = torch.from_numpy(np.ascontiguousarray(targets)).to(device)
    largest = float(torch.linalg.vector_norm(placed, dim=1).max()) if len(targets) else 0.0
    rows = max(1, (GPU_STRIP if on_gpu else CPU_STRIP) // max(1, len(targets)))

    def one(start: int) -> Best:
        given = np.ascontiguousarray(queries[start : start + rows])
        block = torch.from_numpy(given).to(device)
        scores = torch.mm(block, placed.T)
        if own is not None:
            number = own[start : start + rows]
            has = np.flatnonzero(number >= 0)
            scores[torch.from_numpy(has), torch.from_numpy(number[has])] = -torch.inf
        error = score_error(torch, block, largest, block.shape[1]).float()
        least = torch.topk(scores, depth, dim=1).values[:, -1:] if depth else scores[:, :0]
        index = np.empty((len(block), depth), np.int64)
        score = np.empty((len(block), depth), np.float32)
        for row in range(len(block) if depth else 0):
            # whatever may be among the best once its score is exact
            near = torch.nonzero(scores[row] >= least[row] - 2 * error[row])[:, 0]
            exact = pair_scores(block[row].expand(len(near), -1), placed[near])
            exact[scores[row, near] == -torch.inf] = -torch.inf
            best, order = torch.sort(exact, descending=True, stable=True)
            index[row] = near[order[:depth]].cpu().numpy()
            score[row] = best[:depth].cpu().numpy()
        return Best(start, index, score)

    yield from mapped(torch, one, range(0, len(queries), rows), on_gpu)


def reorder(counts: Counts, best: Best, new_score: NDArray[np.float32]) -> Counts:
    """Counts once the best targets of each query stand in the order of new scores.

    counts, best: of the same queries. new_score: `(queries, depth)`, as a re-ranker gives it. The
    best targets stay in front of all others, whose order does not change.
    """
    if counts.start != best.start or len(counts.indptr) - 1 != len(best.index):
        raise ValueError("counts and candidates are of different queries")
    query = np.repeat(np.arange(len(best.index)), np.diff(counts.indptr))
    is_it = best.index[query] == counts.index[:, None]
    found = is_it.any(axis=1)
    place = is_it.argmax(axis=1)
    now = np.where(np.isneginf(best.score), -np.inf, new_score)[query]  # a query's own target
    own = np.take_along_axis(now, place[:, None], axis=1)
    same = now == own
    earlier = best.index[query] < counts.index[:, None]
    # of those that are not candidates, the ones in a tie with some move behind these
    tied = best.score[query] == counts.score[:, None]
    return replace(
        counts,
        better=np.where(found, (now > own).sum(axis=1), counts.better + tied.sum(axis=1)),
        equal=np.where(found, same.sum(axis=1), counts.equal - tied.sum(axis=1)),
        before=np.where(
            found, (same & earlier).sum(axis=1), counts.before - (tied & earlier).sum(axis=1)
        ),
    )
