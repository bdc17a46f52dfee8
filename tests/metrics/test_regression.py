"""Scores of numbers: equal to scikit-learn's and scipy's; NaN where there is none."""

import numpy as np
import pytest

from mmcli.metrics.regression import find_ties, mean_ranks, pearson, regression_scores, spearman

sklearn = pytest.importorskip("sklearn.metrics")
stats = pytest.importorskip("scipy.stats")
CLOSE = {"abs": 1e-9}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_equal_to_scikit_learn_and_scipy(seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(5, 80))
    truth = rng.integers(-6, 7, rows) / 2.0
    predicted = np.round(truth + rng.normal(0, 1, rows), int(rng.integers(0, 3))) + 1e3 * seed
    times = rng.integers(0, 4, rows)
    times[:3] = 1
    truth[:2] = (0.0, 1.0)
    predicted[:2] = (5.0, 7.0)
    again = np.repeat(np.arange(rows), times) if weighted else np.arange(rows)
    weights = times.astype(float) if weighted else None
    found = regression_scores(truth, predicted, weights)
    t, p = truth[again], predicted[again]
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(t, p), **CLOSE)
    assert found["rmse"] == pytest.approx(sklearn.mean_squared_error(t, p) ** 0.5, **CLOSE)
    assert found["r2"] == pytest.approx(sklearn.r2_score(t, p), rel=1e-9)
    assert found["pearson"] == pytest.approx(stats.pearsonr(t, p).statistic, **CLOSE)
    ties = find_ties(truth), find_ties(predicted)
    wanted = stats.spearmanr(t, p).statistic
    assert spearman(*ties, weights) == pytest.approx(wanted, **CLOSE)
    np.testing.assert_allclose(mean_ranks(ties[0], weights)[again], stats.rankdata(t))


def test_a_perfect_prediction() -> None:
    truth = np.array([-1.5, 0.0, 0.0, 2.0])
    found = regression_scores(truth, truth)
    assert (found["mae"], found["rmse"], found["r2"]) == (0, 0, 1)
    assert found["pearson"] == pytest.approx(1, **CLOSE)
    assert spearman(find_ties(truth), find_ties(truth)) == pytest.approx(1, **CLOSE)


def test_what_is_not_defined_is_no_number() -> None:
    varied, constant = np.array([1.0, 2.0, 4.0]), np.full(3, 0.1)
    assert np.isnan(pearson(constant, varied)) and np.isnan(pearson(varied, constant))
    assert np.isnan(spearman(find_ties(constant), find_ties(varied)))
    found = regression_scores(constant, varied)
    assert np.isnan(found["r2"]) and np.isnan(found["pearson"]) and found["mae"] > 1
    assert np.isnan(list(regression_scores(np.zeros(0), np.zeros(0)).values())).all()
    drawn = np.array([0.0, 3.0, 0.0])  # a resample of one row alone
    assert np.isnan(pearson(varied, varied[::-1].copy(), drawn))
