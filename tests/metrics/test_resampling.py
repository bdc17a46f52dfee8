"""Resamples of any measure: the same as those of plain means, groups whole, gaps said."""

import numpy as np

from mmcli.metrics.resampling import interval_where_defined, resampled, row_weights
from mmcli.metrics.statistics import bootstrap_means


def test_the_same_as_the_bootstrap_of_means() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.random(60), rng.integers(0, 20, 60)
    groups[:20] = np.arange(20)
    for of in (None, groups):
        found = resampled(lambda w: {"mean": w @ values / w.sum()}, 60, 300, 5, of)["mean"]
        wanted = bootstrap_means(values[:, None], 300, 5, of)
        np.testing.assert_allclose(
            interval_where_defined(found), [wanted.low[0], wanted.high[0]], atol=1e-12
        )


def test_fewer_resamples_are_the_first_of_more() -> None:
    few, many = list(row_weights(9, 5, 2)), list(row_weights(9, 50, 2))
    np.testing.assert_array_equal(few, many[:5])
    groups = np.array([0, 0, 1, 2, 2])
    for weights in row_weights(5, 20, 0, groups):
        assert weights[0] == weights[1] and weights[3] == weights[4]
        assert weights[[0, 2, 3]].sum() == 3


def test_no_interval_where_there_is_none() -> None:
    assert resampled(lambda w: {"n": w.sum()}, 1, 50)["n"].shape == (0,)
    assert list(row_weights(4, 10, 0, np.zeros(4, np.int64))) == []
    nan = float("nan")
    assert np.isnan(interval_where_defined(np.array([]))).all()
    assert np.isnan(interval_where_defined(np.array([nan, nan, 1.0]))).all()
    low, high = interval_where_defined(np.array([nan, 1.0, 2.0]))
    assert 1 <= low < high <= 2
