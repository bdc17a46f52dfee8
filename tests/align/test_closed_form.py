"""Closed forms: exact on data that they fit, the definition elsewhere."""

import numpy as np
import pytest

from mmcli.align.closed_form import cca, kernel_ridge, procrustes, ridge

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [20, 200])
def test_ridge_is_the_penalised_least_squares(rows: int) -> None:
    """By rows and by columns: the gradient of |xW + b - y|² + p |W|² is zero."""
    x, y = RANDOM.standard_normal((rows, 40)), RANDOM.standard_normal((rows, 7))
    centred = x - x.mean(0)
    unit = np.square(centred).sum() / rows
    for penalty, found in zip((0.1, 2.0), ridge(x, y, (0.1, 2.0)), strict=True):
        residual = found(x) - y
        gradient = centred.T @ residual + penalty * unit * found.weight
        assert np.abs(gradient).max() < 1e-8
        assert np.abs(residual.sum(0)).max() < 1e-8


def test_ridge_recovers_a_linear_map() -> None:
    x, weight = RANDOM.standard_normal((500, 10)), RANDOM.standard_normal((10, 4))
    (found,) = ridge(x, x @ weight + 3, (1e-9,))
    np.testing.assert_allclose(found.weight, weight, atol=1e-6)
    np.testing.assert_allclose(found.bias, 3, atol=1e-6)


def test_a_penalty_means_the_same_for_any_scale() -> None:
    x, y = RANDOM.standard_normal((60, 8)), RANDOM.standard_normal((60, 3))
    (small,), (large,) = ridge(x, y, (0.5,)), ridge(1000 * x, y, (0.5,))
    np.testing.assert_allclose(small(x), large(1000 * x), atol=1e-9)


def test_kernel_ridge_with_every_landmark_is_exact() -> None:
    """(K + p n I) A = y - mean, solved directly."""
    x, y = RANDOM.standard_normal((30, 5)), RANDOM.standard_normal((30, 2))
    (found,) = kernel_ridge(x, y, (0.2,), 1.0, x)
    square = ((x[:, None] - x[None]) ** 2).sum(2)
    gamma = 1 / np.median(square[np.triu_indices(30, 1)])
    kernel = np.exp(-gamma * square)
    weight = np.linalg.solve(kernel + 0.2 * (1 - kernel.mean()) * np.eye(30), y - y.mean(0))
    new = RANDOM.standard_normal((4, 5))
    expected = np.exp(-gamma * ((new[:, None] - x[None]) ** 2).sum(2)) @ weight + y.mean(0)
    np.testing.assert_allclose(found(new), expected, atol=1e-5)


def test_procrustes_finds_rotation_scale_and_shift() -> None:
    x = RANDOM.standard_normal((50, 6))
    rotation, _ = np.linalg.qr(RANDOM.standard_normal((6, 6)))
    found = procrustes(x, 2.5 * x @ rotation - 1)
    np.testing.assert_allclose(found.weight, 2.5 * rotation, atol=1e-10)
    np.testing.assert_allclose(found.bias, -1, atol=1e-10)


@pytest.mark.parametrize("rows", [30, 3000])
def test_cca_correlates_what_is_shared_and_weighs_it(rows: int) -> None:
    cause = RANDOM.standard_normal((rows, 2))
    x = np.hstack([cause, RANDOM.standard_normal((rows, 5))]) @ RANDOM.standard_normal((7, 7))
    y = np.hstack([cause, RANDOM.standard_normal((rows, 3))]) @ RANDOM.standard_normal((5, 5))
    ((to_x, to_y),) = cca(x, y, (1e-6,), 4)
    left, right = to_x(x), to_y(y)
    strength = [np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(4)]
    assert min(strength[:2]) > 0.999
    assert np.abs(left.mean(0)).max() < 1e-8
    size = np.square(left).mean(0)
    np.testing.assert_allclose(size, strength, atol=5e-3)  # variance = correlation


def test_cca_of_more_columns_than_rows_is_finite() -> None:
    x, y = RANDOM.standard_normal((8, 30)), RANDOM.standard_normal((8, 20))
    for ours, theirs in cca(x, y, (0.1, 1.0), 5):
        assert np.isfinite(ours(x)).all() and np.isfinite(theirs(y)).all()
        assert ours(x).shape == theirs(y).shape == (8, 5)
