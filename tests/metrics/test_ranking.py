"""Ranking measures: equal to trec_eval's, to numbers worked out by hand, and exactly 1 at best."""

import itertools
import math

import numpy as np
import pytest

from mmcli.engine.exact_ranks import count_better
from mmcli.metrics.ranking import Ranks, expected_ranks, measure, trec_ranks
from mmcli.metrics.relevance import relevance_by_judgement

KS = (1, 5, 10)
TREC = {"mrr": "recip_rank", "map": "map"}
for _k in KS:
    TREC |= {f"hit@{_k}": f"success_{_k}", f"recall@{_k}": f"recall_{_k}"}
    TREC[f"ndcg@{_k}"] = f"ndcg_cut_{_k}"


def counts_of(scores: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, ...]:
    """indptr, better, equal, before and gains of dense `(queries, documents)` matrices."""
    query, document = np.nonzero(gains)
    own = scores[query, document][:, None]
    earlier = np.arange(scores.shape[1]) < document[:, None]
    indptr = np.concatenate([[0], np.cumsum((gains > 0).sum(axis=1))])
    better, same = scores[query] > own, scores[query] == own
    before = (same & earlier).sum(axis=1)
    return indptr, better.sum(axis=1), same.sum(axis=1), before, gains[query, document]


def trec(run: dict, judged: dict) -> dict[str, dict[str, float]]:
    evaluation = pytest.importorskip("pytrec_eval")
    return evaluation.RelevanceEvaluator(judged, set(TREC.values())).evaluate(run)


def test_ten_thousand_runs_heavy_with_ties_equal_trec_eval() -> None:
    rng = np.random.default_rng(0)
    n, documents = 10_000, 24
    scores = rng.integers(0, 5, (n, documents)).astype(np.float32)
    gains = rng.integers(0, 4, (n, documents)) * (rng.random((n, documents)) < 0.25) * 1.0
    gains[gains.sum(axis=1) == 0, 0] = 1.0
    names = sorted((f"d{i}" for i in rng.permutation(1000)[:documents]), reverse=True)
    run = {f"q{q}": dict(zip(names, row, strict=True)) for q, row in enumerate(scores.tolist())}
    judged = {
        f"q{q}": dict(zip(names, row, strict=True)) for q, row in enumerate(gains.astype(int))
    }
    judged = {q: {d: int(g) for d, g in row.items()} for q, row in judged.items()}
    indptr, better, _, before, gain = counts_of(scores, gains)
    found = measure(trec_ranks(indptr, better, before, gain), KS)
    expected = trec(run, judged)
    for ours, theirs in TREC.items():
        wanted = np.array([expected[f"q{q}"][theirs] for q in range(n)])
        np.testing.assert_allclose(found[ours], wanted, rtol=0, atol=1e-9, err_msg=ours)


def test_vectors_to_measures_equal_trec_eval() -> None:
    rng = np.random.default_rng(1)
    queries = rng.integers(-2, 3, (60, 5)).astype(np.float32)
    targets = rng.integers(-2, 3, (80, 5)).astype(np.float32)
    names = sorted((f"item/{i}" for i in range(80)), reverse=True)
    asked = [f"q{i}" for i in range(60)]
    judged = {
        q: {names[int(d)]: int(rng.integers(1, 4)) for d in rng.choice(80, 6, replace=False)}
        for q in asked
    }
    relevant = relevance_by_judgement(asked, names, judged)
    counts = count_better(queries, targets, relevant)
    ranks = trec_ranks(counts.indptr, counts.better, counts.before, counts.gains)
    found = measure(ranks, KS)
    run = {
        q: dict(zip(names, row, strict=True))
        for q, row in zip(asked, (queries @ targets.T).tolist(), strict=True)
    }
    expected = trec(run, judged)
    for ours, theirs in TREC.items():
        wanted = [expected[q][theirs] for q in asked]
        np.testing.assert_allclose(found[ours], wanted, rtol=0, atol=1e-9, err_msg=ours)


@pytest.mark.parametrize(("b", "t", "r"), [(0, 1, 1), (2, 2, 1), (3, 4, 2), (0, 5, 3), (7, 4, 4)])
def test_expected_rank_is_the_mean_over_all_orders(b: int, t: int, r: int) -> None:
    places = [sorted(chosen) for chosen in itertools.combinations(range(1, t + 1), r)]
    wanted = b + np.mean(places, axis=0)
    counts = np.full(r, b), np.full(r, t)
    found = expected_ranks(np.array([0, r]), *counts)
    np.testing.assert_allclose(found.rank, wanted, rtol=1e-12)


def test_a_set_worked_out_by_hand() -> None:
    # Query 0: scores 0.9* 0.9 0.5* 0.5 0.5 (* relevant): one of a tie of two, one of a tie of
    # three after two: ranks 1.5 and 4. Query 1: its only relevant one ties with nobody, third.
    ranks = expected_ranks(np.array([0, 2, 3]), np.array([2, 0, 2]), np.array([3, 2, 1]))
    np.testing.assert_allclose(ranks.rank, [1.5, 4.0, 3.0])
    found = measure(ranks, (1, 2, 3, 4))
    np.testing.assert_allclose(found["first_rank"], [1.5, 3.0])
    np.testing.assert_allclose(found["hit@1"], [0, 0])
    np.testing.assert_allclose(found["hit@2"], [1, 0])
    np.testing.assert_allclose(found["recall@2"], [0.5, 0])
    np.testing.assert_allclose(found["recall@4"], [1, 1])
    np.testing.assert_allclose(found["mrr"], [1 / 1.5, 1 / 3])
    np.testing.assert_allclose(found["map"], [(1 / 1.5 + 2 / 4) / 2, 1 / 3])
    best = 1 + 1 / math.log2(3)
    np.testing.assert_allclose(
        found["ndcg@4"], [(1 / math.log2(2.5) + 1 / math.log2(5)) / best, 1 / math.log2(4)]
    )
    np.testing.assert_allclose(found["ndcg@1"], [0, 0])


def test_graded_gains_are_shared_in_a_tie() -> None:
    # gains 3 and 1 tie at the top of two: ranks 1 and 2, each with the mean gain 2
    ranks = expected_ranks(
        np.array([0, 2]), np.array([0, 0]), np.array([2, 2]), np.array([1.0, 3.0])
    )
    np.testing.assert_array_equal(ranks.gain, [2, 2])
    best = 3 + 1 / math.log2(3)
    got = 2 + 2 / math.log2(3)
    np.testing.assert_allclose(measure(ranks, (2,))["ndcg@2"], [got / best])
    np.testing.assert_allclose(measure(ranks, (1,))["ndcg@1"], [2 / 3])


@pytest.mark.parametrize("ties", ["expected", "trec"])
def test_a_perfect_ranking_scores_exactly_one(ties: str) -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 12, 500)
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    better = np.concatenate([rng.permutation(n) for n in sizes])
    gains = 20.0 - better  # the best first
    one = np.ones(len(better), int)
    if ties == "expected":
        ranks = expected_ranks(indptr, better, one, gains)
    else:
        ranks = trec_ranks(indptr, better, one - 1, gains)
    found = measure(ranks, (1, 3, 20))
    for name in ("hit@1", "hit@20", "recall@20", "ndcg@1", "ndcg@3", "ndcg@20", "mrr", "map"):
        assert set(found[name]) == {1.0}, name
        assert found[name].mean() == 1.0


def test_all_relevant_targets_tied_at_the_top_are_perfect_too() -> None:
    ranks = expected_ranks(np.array([0, 7]), np.zeros(7, int), np.full(7, 7))
    np.testing.assert_array_equal(ranks.rank, np.arange(1, 8))
    assert all(v[0] == 1.0 for v in measure(ranks, (1,)).values() if v[0] != 1 / 7)


def test_a_query_without_relevant_targets_is_refused() -> None:
    ranks = Ranks(np.array([0, 0]), np.zeros(0), np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="no relevant"):
        measure(ranks, (1,))
    assert measure(Ranks(np.array([0]), *[np.zeros(0)] * 3), (1,))["mrr"].shape == (0,)
