"""The best targets: those of a plain sort; and ranks after a re-ranker has had its say."""

import numpy as np
import pytest

from mmcli.engine import exact_top
from mmcli.engine.exact_ranks import count_better
from mmcli.engine.exact_top import Best, iter_best, reorder
from mmcli.metrics.relevance import relevance_by_value


def tied(seed: int, n: int, dim: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, (n, dim)).astype(np.float32)


def gathered(queries: np.ndarray, targets: np.ndarray, depth: int, **options) -> Best:
    parts = list(iter_best(queries, targets, depth, **options))
    assert [p.start for p in parts] == np.cumsum([0, *(len(p.index) for p in parts)])[:-1].tolist()
    index = np.concatenate([p.index for p in parts])
    return Best(0, index, np.concatenate([p.score for p in parts]))


@pytest.mark.parametrize("depth", [1, 7, 50, 99])
@pytest.mark.parametrize("strip", [10, 200, 10_000])
def test_equal_to_a_plain_sort(depth: int, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_top, "CPU_STRIP", strip)
    queries, targets = tied(0, 30), tied(1, 50)
    found = gathered(queries, targets, depth)
    scores = queries @ targets.T
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    np.testing.assert_array_equal(found.index, wanted)
    np.testing.assert_array_equal(found.score, np.take_along_axis(scores, wanted, axis=1))


def test_scores_closer_than_a_product_errs() -> None:
    rng = np.random.default_rng(2)
    centre = rng.standard_normal((1, 64)).astype(np.float32)
    targets = centre + 1e-7 * rng.standard_normal((400, 64)).astype(np.float32)
    queries = rng.standard_normal((20, 64)).astype(np.float32)
    exact = (queries.astype(float) @ targets.astype(float).T).astype(np.float32)
    wanted = np.argsort(-exact, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(gathered(queries, targets, 10).index, wanted)


def test_a_query_does_not_find_itself() -> None:
    items = tied(3, 12)
    own = np.arange(12)
    own[5] = -1
    found = gathered(items, items, 12, own=own)
    for q in range(12):
        assert (q not in found.index[q][:-1]) == (q != 5)
        assert (found.score[q] == -np.inf).sum() == (q != 5)


@pytest.mark.parametrize("depth", [1, 5, 20])
def test_ranks_after_reranking(depth: int) -> None:
    queries, targets = tied(4, 25), tied(5, 20)
    relevant = relevance_by_value(np.arange(25) % 6, np.arange(20) % 6)
    counts = count_better(queries, targets, relevant)
    best = gathered(queries, targets, depth)
    new = np.random.default_rng(6).integers(0, 3, best.index.shape).astype(np.float32)
    found = reorder(counts, best, new)
    old = queries @ targets.T
    for q in range(25):
        final = old[q] - 1000
        final[best.index[q]] = new[q]
        for at in range(counts.indptr[q], counts.indptr[q + 1]):
            t = counts.index[at]
            assert found.better[at] == (final > final[t]).sum()
            assert found.equal[at] == (final == final[t]).sum()
            assert found.before[at] == (final[:t] == final[t]).sum()
