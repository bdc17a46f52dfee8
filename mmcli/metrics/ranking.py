"""Scores of a ranking, from the ranks of its relevant targets. Pure numpy; sees no vectors.

Where targets tie there is no one order. `expected_ranks` gives each relevant target the mean of
the ranks that it takes over all orders of its tie; `trec_ranks` orders a tie as trec_eval does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcli.metrics.relevance import Gains, Indices

#: How ties are resolved: `--ties`.
TIES = ("expected", "trec")


@dataclass(frozen=True)
class Ranks:
    """Ranks of the relevant targets of some queries, ascending within each query.

    indptr: `(queries + 1,)`. rank: `(nnz,)` from 1, with fractions where targets tie. gain:
    `(nnz,)` what is gained at that rank. ideal: `(nnz,)` the same query's gains, largest first.
    """

    indptr: Indices
    rank: NDArray[np.float64]
    gain: Gains
    ideal: Gains


def expected_ranks(
    indptr: Indices, better: Indices, equal: Indices, gains: Gains | None = None
) -> Ranks:
    """Ranks under the mean over all orders of each tie.

    better, equal: `(nnz,)`, for each relevant target how many targets score higher, and how many
    the same (itself among them). In a tie of t targets after b better ones, of which r are
    relevant, the j-th relevant one has rank b + j (t + 1) / (r + 1): the mean of the j-th order
    statistic of r draws from t without replacement. Gains are the mean of the tie's relevant ones.
    """
    query = _query_of(indptr)
    order = np.lexsort((better, query))
    before, tied = better[order], equal[order]
    gain = _gains(gains, len(order))[order]
    if not len(order):
        return Ranks(indptr, np.zeros(0), gain, gain)
    opens = np.ones(len(order), bool)
    opens[1:] = (query[order][1:] != query[order][:-1]) | (before[1:] != before[:-1])
    first = np.flatnonzero(opens)
    group = np.cumsum(opens) - 1
    size = np.diff(np.append(first, len(order)))
    position = np.arange(1.0, len(order) + 1) - first[group]
    rank = np.asarray(before + position * (tied + 1) / (size[group] + 1), np.float64)
    mean_gain = np.add.reduceat(gain, first) / size
    return Ranks(indptr, rank, mean_gain[group], _largest_first(query, gains, len(order)))


def trec_ranks(
    indptr: Indices, better: Indices, before: Indices, gains: Gains | None = None
) -> Ranks:
    """Ranks when a tie has an order. before: `(nnz,)` equal targets that come earlier in it.

    trec_eval's order is by descending document id, on scores in single precision.
    """
    query = _query_of(indptr)
    rank = (better + before).astype(np.float64) + 1
    order = np.lexsort((rank, query))
    ideal = _largest_first(query, gains, len(order))
    return Ranks(indptr, rank[order], _gains(gains, len(order))[order], ideal)


def measure(ranks: Ranks, ks: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Every measure of every query, each `(queries,)`; each query must have a relevant target.

    hit@k: 1 when a relevant target ranks within k. recall@k: the share of its relevant targets
    that do. mrr: 1 / rank of the first one. map: average precision. ndcg@k: discounted gain over
    the best possible one, gains as they are and 1 / log2(1 + rank) as discount (Järvelin and
    Kekäläinen 2002, as trec_eval computes it). first_rank: rank of the first relevant target.
    """
    sizes, starts = np.diff(ranks.indptr), ranks.indptr[:-1]
    if not len(sizes):
        return {name: np.zeros(0) for name in measure_names(ks)}
    if sizes.min() < 1:
        raise ValueError("a query has no relevant target")
    position = np.arange(1.0, len(ranks.rank) + 1) - np.repeat(starts, sizes)
    first = ranks.rank[starts]
    found: dict[str, NDArray[np.float64]] = {}
    gained = ranks.gain / np.log2(1 + ranks.rank)
    ideal = ranks.ideal / np.log2(1 + position)
    for k in ks:
        within = ranks.rank <= k
        found[f"hit@{k}"] = (first <= k).astype(np.float64)
        found[f"recall@{k}"] = np.add.reduceat(within, starts, dtype=np.float64) / sizes
        best = np.add.reduceat(np.where(position <= k, ideal, 0.0), starts)
        found[f"ndcg@{k}"] = np.add.reduceat(np.where(within, gained, 0.0), starts) / best
    found["mrr"] = 1.0 / first
    found["map"] = np.add.reduceat(position / ranks.rank, starts) / sizes
    found["first_rank"] = first
    return {name: found[name] for name in measure_names(ks)}


def measure_names(ks: Sequence[int]) -> list[str]:
    """What `measure` gives, in the order it is shown."""
    names = [f"{what}@{k}" for what in ("hit", "recall", "ndcg") for k in ks]
    return [*names, "mrr", "map", "first_rank"]


def _query_of(indptr: Indices) -> Indices:
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def _gains(gains: Gains | None, n: int) -> Gains:
    return np.ones(n) if gains is None else gains


def _largest_first(query: Indices, gains: Gains | None, n: int) -> Gains:
    if gains is None:
        return np.ones(n)
    return gains[np.lexsort((-gains, query))]
