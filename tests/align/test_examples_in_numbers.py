"""The examples of `mmcli methods show`: their numbers against the formulas, in plain numpy."""

import re
from math import exp, log, log1p

import numpy as np
import pytest

from mmcli.align import examples
from mmcli.align.registry import METHODS
from mmcli.core.registry import load_attribute

X = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
Y = np.array([[0.0, 2.0], [-2.0, 0.0], [0.0, -2.0], [2.0, 0.0]])


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_has_a_short_example_with_numbers(name: str) -> None:
    lines = load_attribute(METHODS.get(name).example)()
    assert 3 <= len(lines) <= 6
    for line in lines:
        assert re.search(r"\d", line) and "\n" not in line, line
        assert "nan" not in line and "-0]" not in line and "-0," not in line, line


def test_linear() -> None:
    lines = examples.linear()
    weight = np.linalg.solve(X.T @ X + np.eye(2), X.T @ Y)
    assert np.allclose(weight, [[0, 4 / 3], [-4 / 3, 0]])
    assert lines[1].endswith("= [[0, 1.3333], [-1.3333, 0]]")
    left, values, right = np.linalg.svd(X.T @ Y)
    weight = left @ right * values.sum() / np.square(X).sum()
    assert np.allclose(weight, [[0, 2], [-2, 0]])
    assert lines[2].endswith("= [[0, 2], [-2, 0]]")
    assert "[-1.3333, 4] by ridge, [-2, 6] by procrustes" in lines[3]
    # kernel ridge in its dual form: K (K + lambda (1 - mean K) I)^-1 Y, every row a landmark
    kernel = np.exp(-0.5 * np.square(X[:, None] - X[None]).sum(2))
    fitted = kernel @ np.linalg.solve(kernel + (1 - kernel.mean()) * np.eye(4), Y)
    assert abs(fitted[0, 0]) < 1e-9
    assert f"[1, 0] to [0, {fitted[0, 1]:.5g}] by kernel" in lines[3]
    # cca: both covariances are isotropic, so that a penalty divides by 1.1 on either side
    agreed = X[0] @ (X.T @ Y / 4) @ Y[0] / (0.5 * 1.1) / (2 * 1.1)
    assert f"= {agreed:.4g}, and with y_2 a quarter turn off 0" in lines[4]


def test_contrastive() -> None:
    lines = examples.contrastive()
    # of scores [[4, 0], [3, 5]], the matches on the diagonal
    gaps = (4, 2, 1, 5)  # rows 4 - 0 and 5 - 3, columns 4 - 3 and 5 - 0
    for gap in gaps:
        assert f"{1 / (1 + exp(-gap)):.4f}" in lines[2]
    assert f"= {sum(log1p(exp(-gap)) for gap in gaps) / 4:.4f} nats" in lines[3]
    assert lines[3].endswith(f"{sum(log1p(exp(gap)) for gap in gaps) / 4:.4f}")
    total = sum(log1p(exp(-z)) for z in (1.5, 2.5, -0.5, 2.5)) / 2
    assert lines[4].endswith(f"= {total:.4f}")


def test_dual() -> None:
    lines = examples.dual()
    supervised = 2 - 1 - 0.8 + log1p(exp(-4)) / 2
    assert lines[2].endswith(f"{supervised:.4f}")
    assert lines[3].endswith("= 0.4000")
    a, back = np.eye(2), np.array([[0.8, 0.6], [-0.6, 0.8]])
    means = np.square(back.mean(0) - a.mean(0)).sum()
    covariances = np.square(np.cov(back.T) - np.cov(a.T)).sum()
    assert (round(means, 4), round(covariances, 4)) == (0.2, 0.72)
    assert f"= {means + covariances:.4f}, of f(A)" in lines[4]
    b = np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert lines[4].endswith(f", {_mmd(b, b) + _mmd(back, a):.4f})")
    assert lines[5].endswith(f"= {supervised + 0.3 * 0.4 + 0.3 * (means + covariances):.4f}")


def _mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Of two rows each, by its definition, with the five widths of the method."""
    both = np.concatenate([x, y])
    square = np.square(both[:, None] - both[None]).sum(2)
    # torch's median is the lower of the two in the middle
    middle = np.sort(square[~np.eye(4, dtype=bool)])[5]
    kernel = np.mean([np.exp(-square / (w * middle)) for w in (0.25, 0.5, 1, 2, 4)], axis=0)
    return float(kernel[0, 1] + kernel[2, 3] - 2 * kernel[:2, 2:].mean())


def test_cross_attention() -> None:
    lines = examples.cross_attention()
    x, y = np.array([1.0, -1.0]), np.array([[1.0, -1.0], [-1.0, 1.0]])
    scores = y @ (log(3) / np.sqrt(8) * x) / np.sqrt(2)
    assert f"[{scores[0]:.4f}, {scores[1]:.4f}]" in lines[1]
    weights = np.exp(scores) / np.exp(scores).sum()
    assert np.allclose(weights, [0.75, 0.25])
    assert lines[2].startswith("softmax: [0.75, 0.25]") and lines[2].endswith("= [0.5, -0.5]")
    assert np.allclose(x + weights @ y, [1.5, -1.5]) and lines[3].endswith("[1.5, -1.5]")
    assert lines[4].endswith("softmax [1, 0], added to x: [2, -2]")
