"""Intervals and tests: against their definitions, and against data whose truth is known."""

import itertools

import numpy as np
import pytest

from mmcli.metrics.statistics import (
    bootstrap_means,
    bootstrap_median,
    draws,
    sign_flip_test,
)


def test_draws_are_resamples() -> None:
    weights = np.concatenate(list(draws(7, 5000, 0)))
    assert weights.shape == (5000, 7)
    assert set(weights.sum(axis=1)) == {7}
    assert abs(weights.mean() - 1) < 1e-12
    assert abs(weights[:, 0].var() - 6 / 7) < 0.05  # binomial: n p (1 - p)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        found = bootstrap_means(rng.normal(2, 1, (80, 1)), 400, trial)
        covered += found.low[0] <= 2 <= found.high[0]
    assert 0.90 <= covered / 300 <= 0.98


def test_copies_add_no_certainty() -> None:
    values = np.random.default_rng(1).random((50, 2))
    alone = bootstrap_means(values, 2000, 0)
    copies = np.repeat(values, 9, axis=0)
    grouped = bootstrap_means(copies, 2000, 0, np.repeat(np.arange(50), 9))
    np.testing.assert_allclose(grouped.value, alone.value)
    np.testing.assert_allclose(grouped.low, alone.low)
    narrow = bootstrap_means(copies, 2000, 0)
    assert (narrow.high - narrow.low < 0.5 * (alone.high - alone.low)).all()


@pytest.mark.parametrize("n", [9, 10])
def test_the_median_of_a_resample(n: int) -> None:
    values = np.random.default_rng(n).integers(0, 6, n).astype(float)
    wanted = [
        np.median(np.repeat(values, weights.astype(int)))
        for weights in np.concatenate(list(draws(n, 500, 3)))
    ]
    found = bootstrap_median(values, 500, 3)
    assert found.value[0] == np.median(values)
    np.testing.assert_allclose([found.low[0], found.high[0]], np.percentile(wanted, [2.5, 97.5]))


def test_nothing_to_resample_has_no_interval() -> None:
    one = bootstrap_means(np.array([[0.5]]), 100)
    assert one.value[0] == 0.5 and np.isnan(one.low[0])
    same = bootstrap_means(np.ones((5, 1)), 100, groups=np.zeros(5, np.int64))
    assert same.value[0] == 1 and np.isnan(same.high[0])
    assert np.isnan(bootstrap_median(np.zeros(0), 100).value[0])


def test_p_is_that_of_all_sign_patterns() -> None:
    differences = np.array([0.5, -0.1, 0.3, 0.4, 0.2, -0.2, 0.35, 0.15, 0.1])
    patterns = np.array(list(itertools.product([-1, 1], repeat=9)))
    exact = (np.abs(patterns @ differences) >= abs(differences.sum()) - 1e-12).mean()
    found = sign_flip_test(np.stack([differences, -differences], 1), seed=1, permutations=40_000)
    np.testing.assert_allclose(found, exact, atol=0.006)


def test_p_is_uniform_without_a_difference_and_small_with_one() -> None:
    rng = np.random.default_rng(2)
    ps = sign_flip_test(rng.normal(0, 1, (60, 400)), permutations=500)
    assert 0.02 <= (ps <= 0.05).mean() <= 0.09
    assert sign_flip_test(rng.normal(1, 1, (60, 1)))[0] == 1 / 10_001
    assert sign_flip_test(np.zeros((60, 1)))[0] == 1.0


def test_copies_do_not_make_a_difference_significant() -> None:
    differences = np.random.default_rng(3).normal(0.3, 1, (12, 1))
    copies, groups = np.repeat(differences, 20, axis=0), np.repeat(np.arange(12), 20)
    alone = sign_flip_test(differences)
    np.testing.assert_allclose(sign_flip_test(copies, groups=groups), alone, atol=0.01)
    assert sign_flip_test(copies)[0] < alone[0] / 2
