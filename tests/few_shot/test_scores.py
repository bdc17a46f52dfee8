"""Intervals that hold draws and test rows, against loops over the same resamples."""

import numpy as np
import pytest

from mmcli.metrics.classification import class_counts, overall_scores
from mmcli.metrics.statistics import draws
from mmcli.workflows.few_shot.scores import Cell, rising, score_cells, steps

TRUTH = np.array([0, 0, 1, 1, 2, 2, 0, 1])
GROUPS = np.array([0, 0, 1, 2, 3, 3, 4, 5])


def guesses(n_draws: int, share: float, seed: int) -> np.ndarray:
    """Predictions of which about so many are right."""
    rng = np.random.default_rng(seed)
    right = rng.random((n_draws, len(TRUTH))) < share
    return np.where(right, TRUTH, rng.integers(0, 3, right.shape))


def test_resamples_are_of_draws_and_groups() -> None:
    cell, lone = Cell("probe", 4, guesses(5, 0.6, 0)), Cell("zero-shot", 0, guesses(1, 0.5, 1))
    scored, alone = score_cells([cell, lone], TRUTH, 3, GROUPS, seed=3, resamples=40)
    rng = np.random.default_rng((3, 1))
    (weights,) = draws(6, 40, 3, width=8)
    chosen = rng.integers(0, 5, (40, 4))  # one draw fewer than there are
    for name in ("accuracy", "macro_f1"):
        wanted, single = [], []
        for w, picked in zip(weights, chosen):
            rows = w[GROUPS]
            if not rows.any():
                continue
            each = [overall_scores(class_counts(TRUTH, p, 3, rows))[name] for p in cell.predicted]
            wanted.append(np.mean([each[d] for d in picked]))
            single.append(overall_scores(class_counts(TRUTH, lone.predicted[0], 3, rows))[name])
        np.testing.assert_allclose(scored.resampled[name], wanted)
        np.testing.assert_allclose(alone.resampled[name], single)
        entry = scored.entry(name)
        ends = np.percentile(wanted, [2.5, 97.5])
        np.testing.assert_allclose([entry["low"], entry["high"]], ends)
        plain = [overall_scores(class_counts(TRUTH, p, 3))[name] for p in cell.predicted]
        assert entry["value"] == pytest.approx(np.mean(plain))
    assert alone.over_draws("accuracy") is None
    assert scored.over_draws("accuracy") == pytest.approx(np.std([
        (p == TRUTH).mean() for p in cell.predicted], ddof=1))  # fmt: skip


def test_the_spread_over_draws_alone_is_that_of_their_mean() -> None:
    """Draws that are right on all test rows or none: rows add nothing, and D - 1 is unbiased."""
    predicted = np.stack([TRUTH if right else (TRUTH + 1) % 3 for right in (1, 1, 0, 1, 0)])
    (scored,) = score_cells([Cell("probe", 1, predicted)], TRUTH, 3, GROUPS, 0, 20_000)
    of_mean = np.std([1, 1, 0, 1, 0], ddof=1) / 5**0.5
    assert scored.resampled["accuracy"].std() == pytest.approx(of_mean, rel=0.02)


def test_a_perfect_prediction_scores_one_and_one_row_has_no_interval() -> None:
    (scored,) = score_cells([Cell("probe", 1, TRUTH[None])], TRUTH, 3, GROUPS, 0, 20)
    assert scored.entry("accuracy") == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert scored.entry("macro_f1")["value"] == 1.0
    one = np.zeros(len(TRUTH), np.int64)
    (scored,) = score_cells([Cell("probe", 1, TRUTH[None])], TRUTH, 3, one, 0, 20)
    assert np.isnan(scored.entry("accuracy")["low"])


def test_steps_are_paired_and_rising_needs_no_fall() -> None:
    truth, groups = np.tile(TRUTH, 40), np.arange(8 * 40)
    low = np.stack([np.where(np.arange(320) % 4, truth, (truth + 1) % 3)] * 3)  # three quarters
    best = np.stack([truth] * 3)
    cells = [Cell("up", 1, low), Cell("up", 2, low), Cell("up", 4, best),
             Cell("down", 1, best), Cell("down", 2, low), Cell("none", 0, low[:1])]  # fmt: skip
    found = steps(cells, score_cells(cells, truth, 3, groups, 0, 200))
    verdicts = {(s["rung"], s["from"], s["to"]): s["verdict"] for s in found}
    assert verdicts == {
        ("up", 1, 2): "no change shown",
        ("up", 2, 4): "rises",
        ("up", 1, 4): "rises",
        ("down", 1, 2): "falls",
    }
    assert found[0]["low"] == found[0]["high"] == found[0]["gain"] == 0
    assert found[2]["gain"] == pytest.approx(0.25)
    assert rising(found) == {"up": True, "down": False}
