"""Scores of probabilities: equal to scikit-learn's, with ties, absent classes and one class."""

import numpy as np
import pytest

from mmcli.metrics.probabilities import (
    bin_probabilities,
    brier_scores,
    calibration_error,
    curve_areas,
    gaps_by_row,
    label_log_losses,
    log_losses,
    rank_scores,
    reliability,
)

sklearn = pytest.importorskip("sklearn.metrics")
CLOSE = {"abs": 1e-9}


def shares(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    """Probabilities of few distinct values, so that most of them tie."""
    found = rng.integers(0, 5, (rows, classes)) + 1e-3
    return found / found.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("seed", range(8))
def test_losses_equal_scikit_learn(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth, given = rng.integers(0, max(1, classes - 1), 120), shares(rng, 120, classes)
    labels = list(range(classes))
    given[0, truth[0]], given[0, truth[0] - 1] = 0.0, given[0, [truth[0], truth[0] - 1]].sum()
    log_loss = sklearn.log_loss(truth, given, labels=labels)
    assert log_losses(given, truth).mean() == pytest.approx(log_loss, **CLOSE)
    brier = sklearn.brier_score_loss(truth, given, labels=labels)
    assert brier_scores(given, truth).mean() == pytest.approx(brier, **CLOSE)
    if classes == 2:
        positive = sklearn.brier_score_loss(truth, given[:, 1], pos_label=1)
        assert brier_scores(given, truth).mean() == pytest.approx(positive, **CLOSE)


def test_log_loss_of_labels_is_that_of_each_decision() -> None:
    rng = np.random.default_rng(0)
    truth, given = rng.random((60, 4)) < 0.4, rng.random((60, 4))
    wanted = [sklearn.log_loss(truth[:, i], given[:, i], labels=[0, 1]) for i in range(4)]
    assert label_log_losses(given, truth).mean() == pytest.approx(np.mean(wanted), **CLOSE)


@pytest.mark.parametrize("seed", range(60))
def test_areas_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(2, 80))
    scores = rng.integers(0, rng.integers(1, 12), rows) / 7  # from all tied to hardly any
    positive = rng.random(rows) < rng.random()
    weights = rng.integers(0, 4, rows).astype(float)
    for given in (None, weights):
        area, precision = curve_areas(rank_scores(scores, positive), given)
        counted = np.ones(rows) if given is None else given
        present = {bool(flag) for flag in positive[counted > 0]}
        if present == {True, False}:
            wanted = sklearn.roc_auc_score(positive, scores, sample_weight=given)
            assert area == pytest.approx(wanted, **CLOSE)
        else:
            assert np.isnan(area)
        if True in present:
            wanted = sklearn.average_precision_score(positive, scores, sample_weight=given)
            assert precision == pytest.approx(wanted, **CLOSE)
        else:
            assert np.isnan(precision)


def test_weights_are_repeated_rows() -> None:
    rng = np.random.default_rng(3)
    scores, positive, times = rng.random(40), rng.random(40) < 0.3, rng.integers(0, 4, 40)
    again = np.repeat(np.arange(40), times)
    weighted = curve_areas(rank_scores(scores, positive), times.astype(float))
    repeated = curve_areas(rank_scores(scores[again], positive[again]))
    assert weighted == pytest.approx(repeated, **CLOSE)
    hits = rng.random(40) < scores
    binned, copied = bin_probabilities(scores, hits), bin_probabilities(scores[again], hits[again])
    assert calibration_error(binned, times.astype(float)) == pytest.approx(
        calibration_error(copied), **CLOSE
    )


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_bins_equal_scikit_learn(bins: int) -> None:
    curve = pytest.importorskip("sklearn.calibration").calibration_curve
    rng = np.random.default_rng(bins)
    stated = np.concatenate([rng.random(300), np.linspace(0, 1, 11)])  # some on the very edges
    came_true = rng.random(311) < stated**2
    found = reliability(bin_probabilities(stated, came_true, bins))
    observed, mean = curve(came_true, stated, n_bins=bins)
    filled = found.rows > 0
    np.testing.assert_allclose(found.stated[filled], mean, atol=1e-9)
    np.testing.assert_allclose(found.observed[filled], observed, atol=1e-9)
    assert found.rows.sum() == 311 and np.isnan(found.stated[~filled]).all()
    error = (found.rows[filled] * np.abs(mean - observed)).sum() / 311
    assert calibration_error(bin_probabilities(stated, came_true, bins)) == pytest.approx(error)


def test_calibration_error_of_labels_by_row() -> None:
    rng = np.random.default_rng(5)
    stated, times = rng.random((30, 4)), rng.integers(0, 4, 30)
    came_true = rng.random((30, 4)) < stated
    gaps = gaps_by_row(bin_probabilities(stated.ravel(), came_true.ravel()), 30)
    again = np.repeat(np.arange(30), times)
    copied = bin_probabilities(stated[again].ravel(), came_true[again].ravel())
    found = np.abs(times @ gaps).sum() / (times.sum() * 4)
    assert found == pytest.approx(calibration_error(copied), **CLOSE)


def test_a_perfect_prediction() -> None:
    truth = np.array([0, 1, 2, 2, 1, 0])
    given = np.eye(3)[truth]
    assert log_losses(given, truth).max() == 0 and brier_scores(given, truth).max() == 0
    assert label_log_losses(given, given > 0).max() == 0
    top = bin_probabilities(given.max(axis=1), given.argmax(axis=1) == truth)
    assert calibration_error(top) == 0
    for i in range(3):
        assert curve_areas(rank_scores(given[:, i], truth == i)) == (1.0, 1.0)


def test_nothing_to_score_is_no_number() -> None:
    nothing = bin_probabilities(np.zeros(0), np.zeros(0, bool))
    assert np.isnan(calibration_error(nothing))
    assert np.isnan(curve_areas(rank_scores(np.zeros(0), np.zeros(0, bool)))).all()
