"""Which targets are right: by row, by value, by judgement; subsets, new orders, own items."""

import itertools

import numpy as np

from mmcli.metrics.relevance import relevance_by_judgement, relevance_by_row, relevance_by_value


def sets(relevance) -> list[list[int]]:
    indptr, indices, _ = relevance.pairs(np.arange(len(relevance.set_of)))
    found = [indices[a:b].tolist() for a, b in itertools.pairwise(indptr)]
    assert [len(members) for members in found] == relevance.counts().tolist()
    return found


def test_by_row_and_by_value() -> None:
    assert sets(relevance_by_row(3)) == [[0], [1], [2]]
    found = relevance_by_value(["a", None, "b", "c"], ["b", "a", None, "a"])
    assert sets(found) == [[1, 3], [], [0], []]
    assert sets(found.take(np.array([2, 0]))) == [[0], [1, 3]]
    assert sets(relevance_by_value([1], [])) == [[]]


def test_new_order_of_targets() -> None:
    found = relevance_by_value("ab", "bab", own=np.array([2, -1]))
    moved = found.reorder_targets(np.array([2, 0, 1]))
    assert [sorted(s) for s in sets(moved)] == [[2], [0, 1]]
    assert moved.own.tolist() == [0, -1]


def test_own_items_are_left_out() -> None:
    values = ["a", "a", "b", None]
    found = relevance_by_value(values, values, own=np.arange(4))
    assert sets(found) == [[1], [0], [], []]
    assert sets(found.take(np.array([1]))) == [[0]]


def test_by_judgement() -> None:
    judged = {"q": {"x": 2.0, "y": 0.0, "z": 1.0, "gone": 3.0}, "other": {"x": 1.0}}
    found = relevance_by_judgement(["p", "q"], ["z", "y", "x"], judged)
    assert sets(found) == [[], [0, 2]]
    assert found.pairs(np.array([1]))[2].tolist() == [1.0, 2.0]
