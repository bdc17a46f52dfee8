"""Diagnostics of a space, against their formulas and the cases that bound them."""

import numpy as np
import pytest

from mmcli.metrics.space import alignment, modality_gap, uniformity


def unit(n: int, dim: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_formulas() -> None:
    left, right = unit(1500, 6), unit(1500, 6, 1)
    apart = ((left[:, None].astype(float) - left[None]) ** 2).sum(-1)
    pairs = np.triu_indices(1500, 1)
    assert uniformity(left) == pytest.approx(np.log(np.exp(-2 * apart[pairs]).mean()), abs=1e-5)
    assert alignment(left, right) == pytest.approx(((left - right) ** 2).sum(1).mean(), rel=1e-5)
    gap = np.linalg.norm(left.mean(0) - right.mean(0))
    assert modality_gap(left, right) == pytest.approx(gap, rel=1e-4)


def test_bounds() -> None:
    one = np.repeat(unit(1, 5), 20, axis=0)
    assert uniformity(one) == pytest.approx(0, abs=1e-5)
    assert alignment(one, one) == 0 and alignment(one, -one) == pytest.approx(4, abs=1e-5)
    assert modality_gap(one, -one) == pytest.approx(2, abs=1e-5)
    assert np.isnan(uniformity(one[:1]))
    assert uniformity(unit(200, 64)) < uniformity(unit(200, 2)) < 0
