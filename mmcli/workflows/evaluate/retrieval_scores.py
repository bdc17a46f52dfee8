"""One direction of a retrieval evaluation: the measures of each query, and how sure their mean is.

Knows nothing about stores or files; it is given unit vectors and what is relevant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.engine.exact_ranks import Counts, iter_counts
from mmcli.engine.exact_top import Best, iter_best, reorder
from mmcli.metrics.ranking import Ranks, expected_ranks, measure, trec_ranks
from mmcli.metrics.relevance import Relevance
from mmcli.metrics.statistics import (
    Estimates,
    bootstrap_means,
    bootstrap_median,
    sign_flip_test,
)

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
#: What a re-ranker is to an evaluation: query numbers `(n,)` and the numbers of their candidates
#: `(n, depth)` in, the candidates' new scores `(n, depth)` out.
Rescore = Callable[[Rows, Rows], Vectors]


@dataclass(frozen=True)
class Setting:
    """How every direction is scored."""

    ks: tuple[int, ...] = (1, 5, 10)
    ties: str = "expected"
    resamples: int = 1000
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Scored:
    """The measures of the queries that have a relevant target.

    queries: `(n,)` their numbers among all queries. measures: by name, `(n,)` each.
    """

    queries: Rows
    measures: dict[str, NDArray[np.float64]]

    def matrix(self) -> NDArray[np.float64]:
        """`(n, measures)`."""
        return np.stack(list(self.measures.values()), axis=1)


@dataclass(frozen=True)
class Reranking:
    """A new order of each query's best targets. depth: how many of them are put in order."""

    depth: int
    rescore: Rescore


def score_queries(
    queries: Vectors,
    targets: Vectors,
    relevant: Relevance,
    setting: Setting,
    *,
    tie_order: Rows | None = None,
    reranking: Reranking | None = None,
    on_queries: Callable[[int], None] | None = None,
) -> Scored:
    """Rank every target for every query that has a relevant one, and measure.

    tie_order: the targets in the order in which equal ones are listed (`--ties trec`).
    reranking: puts the best targets of each query in another order, in front of all others.
    """
    kept = np.flatnonzero(relevant.counts() > 0)
    asked = queries if len(kept) == len(queries) else queries[kept]
    relevant = relevant.take(kept)
    if tie_order is not None:
        targets, relevant = targets[tie_order], relevant.reorder_targets(tie_order)
    if reranking is not None:
        reranking = _renumbered(reranking, kept, tie_order)
    found: list[dict[str, NDArray[np.float64]]] = []
    for counts in iter_counts(
        asked, targets, relevant, device=setting.device, on_queries=on_queries
    ):
        if reranking is not None:
            counts = _reranked(counts, asked, targets, relevant.own, setting, reranking)
        found.append(measure(_ranks(counts, setting.ties), setting.ks))
    names = list(found[0]) if found else []
    return Scored(kept, {name: np.concatenate([part[name] for part in found]) for name in names})


def summarise(
    scored: Scored, setting: Setting, groups: NDArray[np.int64] | None
) -> dict[str, dict[str, float]]:
    """`{measure: {value, low, high}}`: means, and the mean and median rank of the first hit.

    groups: `(n,)` of the scored queries; drawn whole.
    """
    means = bootstrap_means(scored.matrix(), setting.resamples, setting.seed, groups)
    report = {
        "mean_rank" if name == "first_rank" else name: _entry(means, i)
        for i, name in enumerate(scored.measures)
    }
    ranks = scored.measures["first_rank"]
    median = bootstrap_median(ranks, setting.resamples, setting.seed, groups)
    return {**report, "median_rank": _entry(median, 0)}


def compare(
    scored: Scored, other: Scored, setting: Setting, groups: NDArray[np.int64] | None
) -> dict[str, dict[str, float]]:
    """`{measure: {other, difference, low, high, p}}` over the same queries, this minus the other.

    The interval is a paired bootstrap, p a two-sided sign-flip permutation test.
    """
    differences = scored.matrix() - other.matrix()
    means = bootstrap_means(differences, setting.resamples, setting.seed, groups)
    p = sign_flip_test(differences, setting.seed, groups)
    theirs = other.matrix().mean(axis=0)
    return {
        "mean_rank" if name == "first_rank" else name: {
            "other": float(theirs[i]),
            "difference": float(means.value[i]),
            "low": float(means.low[i]),
            "high": float(means.high[i]),
            "p": float(p[i]),
        }
        for i, name in enumerate(scored.measures)
    }


def slices(
    scored: Scored,
    setting: Setting,
    codes: NDArray[np.int64],
    values: Sequence[Any],
    groups: NDArray[np.int64] | None,
) -> dict[str, dict[str, Any]]:
    """The summary of the queries of each value, those with most queries first.

    codes: `(n,)` the number of each scored query's value, -1 without one.
    """
    report: dict[str, dict[str, Any]] = {}
    sizes = np.bincount(codes[codes >= 0], minlength=len(values))
    for code in np.argsort(-sizes, kind="stable"):
        if not sizes[code]:
            break
        among = np.flatnonzero(codes == code)
        part = Scored(scored.queries[among], {n: v[among] for n, v in scored.measures.items()})
        theirs = None if groups is None else np.unique(groups[among], return_inverse=True)[1]
        summary = summarise(part, setting, theirs)
        report[str(values[code])] = {"queries": len(among), "measures": summary}
    return report


def in_new_order(best: Best, queries: Rows, candidates: Rows, reranking: Reranking) -> Best:
    """The best targets of some queries in the order of a re-ranker, with its scores.

    queries: `(n,)`, candidates: as `best.index`, both by the numbers that the re-ranker knows.
    """
    scores = reranking.rescore(queries, candidates)
    scores = np.where(np.isneginf(best.score), -np.inf, scores)  # a query's own target
    order = np.argsort(-scores, axis=1, kind="stable")
    return Best(
        best.start,
        np.take_along_axis(best.index, order, axis=1),
        np.take_along_axis(scores, order, axis=1),
    )


def _ranks(counts: Counts, ties: str) -> Ranks:
    if ties == "trec":
        return trec_ranks(counts.indptr, counts.better, counts.before, counts.gains)
    return expected_ranks(counts.indptr, counts.better, counts.equal, counts.gains)


def _renumbered(reranking: Reranking, kept: Rows, tie_order: Rows | None) -> Reranking:
    """The same re-ranker, given queries by their place among those kept and targets by theirs."""

    def rescore(queries: Rows, candidates: Rows) -> Vectors:
        numbers = candidates if tie_order is None else tie_order[candidates]
        return reranking.rescore(kept[queries], numbers)

    return Reranking(reranking.depth, rescore)


def _reranked(
    counts: Counts,
    queries: Vectors,
    targets: Vectors,
    own: Rows | None,
    setting: Setting,
    reranking: Reranking,
) -> Counts:
    """Counts of a block of queries once a re-ranker has put their best targets in its order."""
    block = slice(counts.start, counts.start + len(counts.indptr) - 1)
    theirs = None if own is None else own[block]
    parts = list(
        iter_best(queries[block], targets, reranking.depth, own=theirs, device=setting.device)
    )
    index = np.concatenate([part.index for part in parts])
    best = Best(counts.start, index, np.concatenate([part.score for part in parts]))
    numbers = np.arange(counts.start, counts.start + len(index))
    return reorder(counts, best, reranking.rescore(numbers, index))


def _entry(estimates: Estimates, i: int) -> dict[str, float]:
    return {
        "value": float(estimates.value[i]),
        "low": float(estimates.low[i]),
        "high": float(estimates.high[i]),
    }
