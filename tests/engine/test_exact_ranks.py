"""Exact ranks: equal to a plain sort of exact scores, whatever the blocks; duplicates tie."""

import numpy as np
import pytest

from mmcli.engine import exact_ranks
from mmcli.engine.exact_ranks import count_better, hit_at_k
from mmcli.engine.torch_stack import load_torch
from mmcli.metrics.relevance import Relevance, relevance_by_row, relevance_by_value


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    found = rng.standard_normal((n, dim)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def plain(queries: np.ndarray, targets: np.ndarray, relevant: Relevance) -> tuple:
    """Counts by comparing every exact score, one query at a time."""
    scores = (queries.astype(np.float64) @ targets.astype(np.float64).T).astype(np.float32)
    better, equal, before = [], [], []
    for q, row in enumerate(scores):
        if relevant.own is not None and relevant.own[q] >= 0:
            row[relevant.own[q]] = -np.inf
        _, indices, _ = relevant.pairs(np.array([q]))
        for t in indices:
            better.append((row > row[t]).sum())
            equal.append((row == row[t]).sum())
            before.append((row[:t] == row[t]).sum())
    return better, equal, before


def check(queries: np.ndarray, targets: np.ndarray, relevant: Relevance, **options) -> None:
    found = count_better(queries, targets, relevant, **options)
    better, equal, before = plain(queries, targets, relevant)
    np.testing.assert_array_equal(found.better, better)
    np.testing.assert_array_equal(found.equal, equal)
    np.testing.assert_array_equal(found.before, before)


@pytest.mark.parametrize("block", [(1024, 2032), (7, 16), (64, 5), (1, 1), (100, 100)])
def test_blocks_change_nothing(block: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    n, m = (20, 70) if block == (1, 1) else (90, 120)
    queries, targets = unit(rng, n, 33), unit(rng, m, 33)
    targets[40:60] = targets[10]  # duplicates far from each other in the blocks
    targets[7] = queries[3]
    values = rng.integers(0, 25, m)
    by_value = relevance_by_value(rng.integers(0, 30, n).tolist(), values.tolist())
    check(queries, targets, by_value, block=block)
    check(queries, targets[:n], relevance_by_row(n), block=block)


def test_scores_that_differ_by_less_than_a_product_errs() -> None:
    rng = np.random.default_rng(1)
    centre = unit(rng, 1, 64)
    targets = centre + 1e-7 * rng.standard_normal((500, 64)).astype(np.float32)
    check(unit(rng, 40, 64), targets, relevance_by_value(range(40), np.arange(500) % 50))


def test_small_whole_numbers_tie_exactly() -> None:
    rng = np.random.default_rng(2)
    queries = rng.integers(-2, 3, (200, 6)).astype(np.float32)
    targets = rng.integers(-2, 3, (300, 6)).astype(np.float32)
    queries[0] = 0
    check(queries, targets, relevance_by_value(range(200), np.arange(300) % 200))


def test_a_collapsed_space_ties_everywhere() -> None:
    one = unit(np.random.default_rng(3), 1, 384)
    found = count_better(np.repeat(one, 50, 0), np.repeat(one, 70, 0), relevance_by_row(50))
    assert set(found.better) == {0} and set(found.equal) == {70}
    np.testing.assert_array_equal(found.before, np.arange(50))


def test_sorting_equals_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    queries, targets = unit(rng, 30, 16), unit(rng, 400, 16)
    targets[200:300] = targets[:100]
    relevant = relevance_by_value(np.arange(30) % 5, np.arange(400) % 7)
    monkeypatch.setattr(exact_ranks, "CPU_STRIP", 1000)  # two queries a strip
    check(queries, targets, relevant)
    monkeypatch.setattr(exact_ranks, "MOST_COMPARED", 1000)
    check(queries, targets, relevant)


@pytest.mark.parametrize("most", [1, 32])
def test_an_item_does_not_find_itself(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_ranks, "MOST_COMPARED", most)
    rng = np.random.default_rng(5)
    items = unit(rng, 60, 8)
    items[30:40] = items[:10]
    values = (np.arange(60) % 9).tolist()
    relevant = relevance_by_value(values, values, own=np.arange(60))
    check(items, items, relevant, block=(16, 24))
    sizes = np.bincount(np.arange(60) % 9)[np.arange(60) % 9]
    np.testing.assert_array_equal(relevant.counts(), sizes - 1)


def test_threads_change_nothing_and_are_given_back() -> None:
    torch = load_torch()
    before = torch.get_num_threads()
    rng = np.random.default_rng(6)
    queries, noise = unit(rng, 300, 48), unit(rng, 300, 48)
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(count_better(queries, queries + 0.3 * noise, relevance_by_row(300)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for name in ("indptr", "index", "score", "better", "equal", "before"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


@pytest.mark.parametrize("most", [1, 32])
def test_the_path_of_a_gpu_on_a_cpu(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_ranks, "MOST_COMPARED", most)
    queries, targets = (
        unit(np.random.default_rng(8), 200, 12),
        unit(np.random.default_rng(9), 90, 12),
    )
    targets[50:60] = targets[:10]
    values = (np.arange(200) % 45).tolist()
    check(queries, targets, relevance_by_value(values, np.arange(90) % 45), device="cpu:0")


def test_hits() -> None:
    items = np.eye(6, dtype=np.float32)
    assert hit_at_k(items, items, relevance_by_row(6), (1, 5)) == {1: 1.0, 5: 1.0}
    shifted = np.roll(items, 1, axis=0)
    # the right one ties with four others behind the best: mean rank 1 + (1 + 5) / 2 = 4
    assert hit_at_k(items, shifted, relevance_by_row(6), (1, 3, 4)) == {1: 0.0, 3: 0.0, 4: 1.0}
    nothing = relevance_by_value([None, "a"], ["b", "c"])
    assert hit_at_k(items[:2], items[:2], nothing, (1,)) == {1: 0.0}


def test_no_queries_and_no_targets() -> None:
    empty = np.zeros((0, 4), np.float32)
    some = np.ones((3, 4), np.float32)
    assert len(count_better(empty, some, relevance_by_row(0)).better) == 0
    nothing = relevance_by_value([1, 2, 3], [])
    np.testing.assert_array_equal(count_better(some, empty, nothing).indptr, [0, 0, 0, 0])
