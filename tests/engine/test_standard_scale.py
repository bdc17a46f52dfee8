"""Standardising: columns of any unit come out alike, constant ones stay small."""

import numpy as np

from mmcli.engine.standard_scale import standard_scale


def test_columns_of_different_units_come_out_alike() -> None:
    """One of thousands beside one of hundredths, which was once all but zero beside it."""
    random = np.random.default_rng(0)
    spreads = np.array([3000.0, 20.0, 1.0, 0.5, 0.02])
    x = random.standard_normal((5000, 5)) * spreads + 7
    mean, scale = standard_scale(x)
    assert mean.dtype == scale.dtype == np.float32
    np.testing.assert_allclose(((x - mean) / scale).std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(mean, 7, atol=200)


def test_a_constant_column_is_not_blown_up() -> None:
    x = np.random.default_rng(0).standard_normal((100, 4))
    x[:, 1] = 1 + 1e-9 * x[:, 1]
    mean, scale = standard_scale(x)
    assert np.abs((x[:, 1] - mean[1]) / scale[1]).max() < 1e-4
    assert (standard_scale(np.ones((3, 2)))[1] > 0).all()
    assert (standard_scale(np.ones((1, 2)))[1] > 0).all()
