"""The rungs against their formulas, written out as loops, and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mmcli.core.errors import UsageError
from mmcli.tuning.few_shot import linear_probe, tip_adapter, tip_adapter_f, zero_shot
from mmcli.tuning.few_shot.episode import Episode, Views, best, log_softmax, quality
from mmcli.tuning.few_shot.model import temperature_of
from mmcli.tuning.few_shot.registry import RUNGS
from tests.evaluate.small_stores import unit


def views(rows: int, seed: int, classes: int = 3) -> Views:
    truth = np.random.default_rng(seed).integers(0, classes, rows)
    truth[:classes] = np.arange(classes)  # none is missing
    return Views(unit(rows, 5, seed), unit(rows, 4, seed + 50), truth)


@pytest.fixture
def episode() -> Episode:
    return Episode(views(9, 1), views(12, 2), 3, unit(3, 4, 3), 20.0)


def loop_logits(
    rows: Views, shots: Views, texts: np.ndarray, alpha: float, beta: float, scale: float
) -> np.ndarray:
    """alpha sum_i exp(-beta (1 - f F_i)) L_i + scale f W, one number at a time."""
    found = np.zeros((len(rows.truth), len(texts)))
    for r in range(len(rows.truth)):
        for c in range(len(texts)):
            found[r, c] = scale * sum(
                float(rows.shared[r, d]) * float(texts[c, d]) for d in range(texts.shape[1])
            )
        for i, c in enumerate(shots.truth):
            cosine = sum(float(a) * float(b) for a, b in zip(rows.features[r], shots.features[i]))
            found[r, c] += alpha * math.exp(-beta * (1 - cosine))
    return found


def test_zero_shot_is_scaled_cosines(episode: Episode) -> None:
    fitted = zero_shot.fit(episode)
    said = zero_shot.logits(fitted, episode.val.features, episode.val.shared)
    empty = Views(episode.shots.features[:0], None, episode.shots.truth[:0])
    wanted = loop_logits(episode.val, empty, episode.texts, 0, 1, 20)
    np.testing.assert_allclose(said, wanted, atol=1e-5)
    assert fitted.trained == 0


def test_tip_adapter_is_its_formula(episode: Episode) -> None:
    fitted = tip_adapter.kept(episode, episode.shots.features, 3.0, 5.5)
    said = tip_adapter.logits(fitted, episode.val.features, episode.val.shared)
    wanted = loop_logits(episode.val, episode.shots, episode.texts, 3.0, 5.5, 20)
    np.testing.assert_allclose(said, wanted, atol=1e-5)


def test_tip_adapter_takes_the_best_of_its_grid(episode: Episode) -> None:
    fitted = tip_adapter.fit(episode)
    found = {}
    for alpha in tip_adapter.ALPHAS:
        for beta in tip_adapter.BETAS:
            logits = loop_logits(episode.val, episode.shots, episode.texts, alpha, beta, 20)
            found[alpha, beta] = quality(logits, episode.val.truth)
    alpha, beta = fitted.settings["alpha"], fitted.settings["beta"]
    right, likelihood = found[alpha, beta]
    assert right == max(accuracy for accuracy, _ in found.values())
    assert likelihood == pytest.approx(max(v[1] for v in found.values() if v[0] == right), abs=1e-6)


def test_settings_are_the_papers_where_no_rows_choose(episode: Episode) -> None:
    none = Views(episode.val.features[:0], episode.val.shared[:0], episode.val.truth[:0])
    alone = Episode(episode.shots, none, 3, episode.texts, 20.0)
    assert tip_adapter.fit(alone).settings == {"alpha": 1.0, "beta": 5.5, "scale": 20.0}
    trained = tip_adapter_f.fit(alone)
    assert trained.settings["alpha"] == 1.0 and trained.trained == 9 * 5
    assert np.abs(trained.arrays["keys"] - episode.shots.features).max() > 1e-3
    assert linear_probe.fit(alone).settings == {"C": linear_probe.DEFAULT_STRENGTH}


def test_the_first_step_of_tip_adapter_f_by_hand(episode: Episode) -> None:
    """AdamW's first step is rate * g / (|g| + eps) and decay; g by finite differences."""
    alpha, beta = 2.0, 3.0
    shots = episode.shots

    def loss(keys: np.ndarray) -> float:
        """Mean cross-entropy of the shots, each read without its own key."""
        total = 0.0
        for r, truth in enumerate(shots.truth):
            logits = 20.0 * shots.shared[r].astype(float) @ episode.texts.astype(float).T
            for i, c in enumerate(shots.truth):
                if i != r:
                    logits[c] += alpha * math.exp(-beta * (1 - float(shots.features[r] @ keys[i])))
            total -= log_softmax(logits[None])[0, truth]
        return total / len(shots.truth)

    start, after, *_ = tip_adapter_f.train(episode, alpha, beta, epochs=2)
    np.testing.assert_array_equal(start, shots.features)
    keys = shots.features.astype(float)
    gradient = np.zeros_like(keys)
    for at in np.ndindex(keys.shape):
        up, down = keys.copy(), keys.copy()
        up[at] += 1e-5
        down[at] -= 1e-5
        gradient[at] = (loss(up) - loss(down)) / 2e-5
    rate = tip_adapter_f.RATE
    wanted = keys * (1 - rate * 0.01) - rate * gradient / (np.abs(gradient) + 1e-4)
    large = np.abs(gradient) > 1e-3  # below, single precision decides the sign
    assert large.mean() > 0.5
    np.testing.assert_allclose(after[large], wanted[large], atol=2e-6)
    assert loss(after.astype(float)) < loss(keys)


def test_tip_adapter_f_is_by_no_validation_row_worse(episode: Episode) -> None:
    plain, trained = tip_adapter.fit(episode), tip_adapter_f.fit(episode)
    scores = [
        quality(tip_adapter.logits(f, episode.val.features, episode.val.shared), episode.val.truth)
        for f in (plain, trained)
    ]
    assert scores[1] >= scores[0]
    again = tip_adapter_f.fit(episode)
    np.testing.assert_array_equal(again.arrays["keys"], trained.arrays["keys"])


@pytest.mark.parametrize("strength", [0.1, 10.0, 1000.0])
def test_the_probe_is_scikit_learns(strength: float) -> None:
    """More dimensions than shots, and fewer."""
    for rows, dim in ((15, 40), (60, 6)):
        shots = Views(unit(rows, dim, 4), None, np.arange(rows) % 3)
        none = Views(shots.features[:0], None, shots.truth[:0])
        ((_, weight, bias),) = linear_probe.solve(Episode(shots, none, 3), (strength,))
        known = LogisticRegression(C=strength, tol=1e-10, max_iter=5000)
        known.fit(shots.features.astype(np.float64), shots.truth)
        test = unit(30, dim, 5).astype(np.float64)
        mine = np.exp(log_softmax(test @ weight + bias))
        np.testing.assert_allclose(mine, known.predict_proba(test), atol=2e-3)


def test_the_probe_takes_the_best_strength(episode: Episode) -> None:
    fitted = linear_probe.fit(episode)
    scores = {}
    for strength, weight, bias in linear_probe.solve(episode, linear_probe.STRENGTHS):
        scores[strength] = quality(episode.val.features @ weight + bias, episode.val.truth)
    assert fitted.settings["C"] == max(scores, key=scores.__getitem__)
    assert fitted.trained == 5 * 3 + 3
    said = linear_probe.logits(fitted, episode.val.features, None)
    assert quality(said, episode.val.truth)[0] == max(scores.values())[0]


def test_equal_accuracy_is_told_apart_by_likelihood() -> None:
    truth = np.array([0, 1])
    sure, unsure, wrong = np.eye(2) * 5, np.eye(2), np.eye(2)[::-1] * 9
    tried = [("wrong", wrong), ("unsure", unsure), ("sure", sure), ("sure too", sure)]
    assert best(tried, truth) == "sure"


def test_a_temperature_makes_large_logits_say_what_comes_true() -> None:
    """Logits of thousands, right seven times in ten: the best shares are 0.7 and 0.3."""
    logits = np.zeros((1000, 2))
    logits[:, 0] = 5000.0
    truth = (np.arange(1000) % 10 >= 7).astype(np.int64)
    temperature = temperature_of(logits, truth)
    assert np.exp(log_softmax(logits / temperature))[0, 0] == pytest.approx(0.7, abs=1e-3)
    assert temperature_of(logits[:0], truth[:0]) == 1.0


def test_the_registry_names_what_it_loads() -> None:
    for spec in RUNGS:
        assert callable(spec.load("fit")) and callable(spec.load("logits")) and spec.on_features
    with pytest.raises(UsageError, match="no few-shot rung"):
        RUNGS.get("tip")
