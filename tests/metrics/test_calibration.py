"""Temperatures and thresholds: they find what was put into the data, and the best there is."""

import numpy as np
import pytest

from mmcli.metrics.calibration import (
    RANGE,
    best_threshold,
    best_thresholds,
    fit_label_temperature,
    fit_temperature,
    tempered,
    tempered_labels,
)
from mmcli.metrics.probabilities import label_log_losses, log_losses

sklearn = pytest.importorskip("sklearn.metrics")


def softmax(logits: np.ndarray) -> np.ndarray:
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 4))
    truth = (softmax(logits).cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    stated = softmax(logits * temperature)  # as sure as if divided by 1 / temperature
    found = fit_temperature(stated, truth)
    assert found == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(tempered(stated, temperature), softmax(logits), atol=1e-9)
    losses = [log_losses(tempered(stated, t), truth).mean() for t in np.geomspace(0.1, 10, 60)]
    assert log_losses(tempered(stated, found), truth).mean() <= min(losses) + 1e-12


def test_the_temperature_of_labels() -> None:
    rng = np.random.default_rng(1)
    odds = rng.normal(0, 2, (8000, 3))
    truth = rng.random((8000, 3)) < 1 / (1 + np.exp(-odds))
    stated = 1 / (1 + np.exp(-2 * odds))
    found = fit_label_temperature(stated, truth)
    assert found == pytest.approx(2, rel=0.05)
    before, after = (
        label_log_losses(p, truth).mean() for p in (stated, tempered_labels(stated, found))
    )
    assert after < before
    np.testing.assert_allclose(tempered_labels(stated, 2), 1 / (1 + np.exp(-odds)), atol=1e-9)


def test_certain_predictions_stay_finite() -> None:
    right = np.eye(3)[[0, 1, 2, 0]]
    assert RANGE[0] <= fit_temperature(right, np.array([0, 1, 2, 0])) <= RANGE[1]
    wrong = fit_temperature(right, np.array([1, 1, 2, 0]))
    assert 1 < wrong <= RANGE[1] and np.isfinite(tempered(right, wrong)).all()
    assert np.isfinite(tempered_labels(right, 0.02)).all()


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_has_a_better_f1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(1, 50))
    given = rng.integers(0, rng.integers(2, 30), rows) / 29
    positive = rng.random(rows) < given
    found = best_threshold(given, positive)
    if not positive.any():
        assert found == 0.5
        return
    scores = [
        sklearn.f1_score(positive, given >= t, zero_division=0)
        for t in np.append(np.unique(given), found)
    ]
    assert scores[-1] == pytest.approx(max(scores), abs=1e-12)


def test_thresholds_of_a_perfect_prediction() -> None:
    truth = np.array([[True, False], [False, False], [True, True]])
    given = np.where(truth, 0.3, 0.1)
    found = best_thresholds(given, truth)
    np.testing.assert_allclose(found, 0.2)
    assert ((given >= found) == truth).all()
    near = np.nextafter(0.3, 1)
    assert best_threshold(np.array([0.3, near]), np.array([False, True])) == near
