"""Scores of ordered classes: equal to scikit-learn's and to their definition."""

import numpy as np
import pytest

from mmcli.metrics.ordinal import ordinal_rows, quadratic_kappa

sklearn = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize("seed", range(15))
def test_kappa_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 5, 60), rng.integers(1, 7, 60)
    wanted = sklearn.cohen_kappa_score(truth, predicted, weights="quadratic", labels=range(7))
    assert quadratic_kappa(truth, predicted) == pytest.approx(wanted, abs=1e-9)
    times = rng.integers(0, 4, 60)
    wanted = sklearn.cohen_kappa_score(
        truth, predicted, weights="quadratic", labels=range(7), sample_weight=times
    )
    found = quadratic_kappa(truth, predicted, times.astype(float))
    assert found == pytest.approx(wanted, abs=1e-9)


def test_steps_and_edges() -> None:
    truth, predicted = np.array([0, 1, 2, 4]), np.array([0, 2, 0, 4])
    rows = ordinal_rows(truth, predicted)
    assert rows["steps_off"].tolist() == [0, 1, 2, 0] and rows["within_1"].tolist() == [1, 1, 0, 1]
    assert quadratic_kappa(truth, truth) == 1
    one = np.zeros(4, np.int64)
    assert np.isnan(quadratic_kappa(one, one)) and np.isnan(quadratic_kappa(one[:0], one[:0]))
