"""Groups never part, shares are kept, and what a value is hashed to can be computed elsewhere."""

import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from mmcli.core.errors import BadInput
from mmcli.data.groups import Groups, fill, group_rows
from mmcli.data.partition import (
    folds_at_random,
    folds_by_hash,
    shares_at_random,
    shares_by_hash,
)

SHARES = [0.2, 0.1, 0.7]


def groups_of(values: list[str | None], ids: list[str] | None = None) -> Groups:
    names = pa.array(ids or [f"r{i}" for i in range(len(values))], pa.string())
    return group_rows(names, pa.array(values, pa.string()), "value")


def singles(rows: int) -> Groups:
    return group_rows(pa.array([f"r{i}" for i in range(rows)], pa.string()))


def check_whole(groups: Groups, parts: np.ndarray) -> None:
    homes = {(int(g), int(p)) for g, p in zip(groups.codes, parts, strict=True)}
    assert len(homes) == len(groups)


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(5)


def test_rows_of_a_value_are_a_group_and_rows_without_one_are_alone() -> None:
    groups = groups_of(["a", None, "b", "a", None])
    assert groups.codes.tolist() == [0, 2, 1, 0, 3]
    assert groups.texts == ("a", "b", "r1", "r4")
    assert groups.sizes.tolist() == [2, 1, 1, 1]
    other = groups.among(np.array([1, 3, 4]))
    assert (other.codes.tolist(), other.texts) == ([1, 0, 2], ("a", "r1", "r4"))


def test_values_of_any_single_type_can_be_groups() -> None:
    ids = pa.array(["x", "y", "z"])
    assert group_rows(ids, pa.array([3, None, 3])).texts == ("3", "y")
    assert group_rows(ids, pa.array([True, False, True])).texts == ("true", "false")
    dictionary = pa.array(["u", "v", "u"]).dictionary_encode()
    assert group_rows(ids, dictionary).texts == ("u", "v")
    assert group_rows(ids, pa.nulls(3)).texts == ("x", "y", "z")
    assert len(group_rows(pa.array([], pa.string()), pa.array([], pa.string()))) == 0
    chunks = pa.chunked_array([["b"], ["a", None]])
    assert group_rows(ids, chunks).texts == ("b", "a", "z")
    with pytest.raises(BadInput, match="column `c` holds list"):
        group_rows(ids, pa.array([[1], [2], [3]]), "c")


def test_folds_by_hash_are_the_published_formula() -> None:
    values = ["a tiger", "ein Löwe", "一只猫", "a tiger", ""]
    expected = [int(hashlib.sha256(v.encode()).hexdigest(), 16) % 5 for v in values]
    assert folds_by_hash(groups_of(values), 5).tolist() == expected


def test_shares_by_hash_hold_about_and_no_row_moves_another() -> None:
    values = [f"v{i}" for i in range(4000)]
    parts = shares_by_hash(groups_of(values), SHARES)
    assert np.bincount(parts) / 4000 == pytest.approx(SHARES, abs=0.03)
    more = shares_by_hash(groups_of([f"new{i}" for i in range(500)] + values), SHARES)
    assert more[500:].tolist() == parts.tolist()


def test_random_shares_are_exact_and_the_seed_draws_others() -> None:
    groups = singles(1000)
    parts = shares_at_random(groups, SHARES, 0)
    assert np.bincount(parts).tolist() == [200, 100, 700]
    assert shares_at_random(groups, SHARES, 0).tolist() == parts.tolist()
    assert shares_at_random(groups, SHARES, 1).tolist() != parts.tolist()


def test_a_group_added_moves_few_others() -> None:
    before = shares_at_random(singles(1000), SHARES, 0)
    after = shares_at_random(singles(1010), SHARES, 0)[:1000]
    assert (before != after).sum() <= 10


def test_groups_stay_whole_and_shares_are_near(draw: np.random.Generator) -> None:
    groups = groups_of([f"v{i}" for i in draw.zipf(1.5, 3000) % 400])
    parts = shares_at_random(groups, SHARES, 0)
    check_whole(groups, parts)
    assert np.bincount(parts) / 3000 == pytest.approx(SHARES, abs=0.005)


def test_a_group_larger_than_a_share_stays_out_of_it() -> None:
    groups = groups_of(["big"] * 60 + [f"v{i}" for i in range(40)])
    for seed in range(5):
        assert np.bincount(shares_at_random(groups, SHARES, seed)).tolist() == [20, 10, 70]


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_folds_differ_by_a_row_and_groups_stay_whole(folds: int, draw: np.random.Generator) -> None:
    sizes = np.bincount(folds_at_random(singles(103), folds, 0))
    assert len(sizes) == folds and sizes.max() - sizes.min() <= 1
    groups = groups_of([f"v{i}" for i in draw.integers(0, 200, 1000)])
    parts = folds_at_random(groups, folds, 0)
    check_whole(groups, parts)
    sizes = np.bincount(parts)
    assert len(sizes) == folds and sizes.max() - sizes.min() <= 2


def test_classes_keep_their_shares_within_rounding(draw: np.random.Generator) -> None:
    classes = np.append(draw.zipf(1.3, 2000) % 60, np.arange(60))
    for parts, shares in (
        (shares_at_random(singles(len(classes)), SHARES, 0, classes), SHARES),
        (folds_at_random(singles(len(classes)), 5, 0, classes), [0.2] * 5),
    ):
        for number in range(60):
            mine = np.bincount(parts[classes == number], minlength=len(shares))
            exact = np.array(shares) * mine.sum()
            assert (np.floor(exact + 1e-9) <= mine).all() and (mine <= np.ceil(exact - 1e-9)).all()
        assert np.abs(np.bincount(parts) - np.array(shares) * len(classes)).max() <= 1.0001


def test_many_small_classes_still_fill_every_part() -> None:
    """A tenth of three rows is rounded to nothing; over a hundred such classes it must not be."""
    classes = np.repeat(np.arange(100), 3)
    parts = shares_at_random(singles(300), SHARES, 0, classes)
    assert np.bincount(parts).tolist() == [60, 30, 210]


@pytest.mark.parametrize("folds", [None, 5])
def test_groups_and_classes_together(folds: int | None, draw: np.random.Generator) -> None:
    names = draw.integers(0, 500, 3000)
    classes = np.where(draw.random(3000) < 0.8, names % 4, draw.integers(0, 4, 3000))
    groups = groups_of([f"v{i}" for i in names])
    if folds is None:
        parts, shares = shares_at_random(groups, SHARES, 0, classes), np.array(SHARES)
    else:
        parts, shares = folds_at_random(groups, folds, 0, classes), np.full(folds, 1 / folds)
    check_whole(groups, parts)
    for number in range(4):
        mine = np.bincount(parts[classes == number])
        assert mine / mine.sum() == pytest.approx(shares, abs=0.01)


def test_one_group_is_always_left() -> None:
    sizes = np.array([4, 4], np.intp)
    assert fill([0, 1], sizes, 8.0) == [0]
    assert fill([1, 0], sizes, 0.3) == [1]
    assert fill([0], sizes, 4.0) == []
    assert Counter(fill([0, 1, 2], np.array([9, 2, 3], np.intp), 6.0)) == Counter([1, 2])
