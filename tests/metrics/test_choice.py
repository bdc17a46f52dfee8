"""The measures models are chosen by, against scikit-learn, also with weights."""

import numpy as np
import pytest
from sklearn import metrics as sk

from mmcli.metrics.choice import measures_for


@pytest.mark.parametrize("seed", range(20))
def test_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = np.round(rng.dirichlet([1, 1], 40), 1)
    truth, weights = rng.integers(0, 2, 40), rng.integers(0, 4, 40).astype(float)
    predicted = shares.argmax(1)
    known = measures_for("classes")
    found = {n: m.value(truth, shares, predicted, weights) for n, m in known.items()}
    told = {"sample_weight": weights}
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted, **told))
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(truth, predicted, average="macro", **told), abs=1e-12
    )
    assert found["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(truth, predicted, **told)
    )
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, shares[:, 1], **told))


@pytest.mark.parametrize("seed", range(10))
def test_numbers_and_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, said = rng.normal(size=30), rng.normal(size=30)
    weights = rng.integers(0, 3, 30).astype(float)
    known = measures_for("number")
    found = {n: m.value(truth, said, said, weights) for n, m in known.items()}
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, said, sample_weight=weights))
    assert found["r2"] == pytest.approx(sk.r2_score(truth, said, sample_weight=weights))
    repeated = np.repeat(np.arange(30), weights.astype(int))
    assert found["pearson"] == pytest.approx(np.corrcoef(truth[repeated], said[repeated])[0, 1])
    tags, got = rng.integers(0, 2, (30, 4)), rng.integers(0, 2, (30, 4))
    known = measures_for("several")
    value = known["micro_f1"].value(tags, got, got, weights)
    assert value == pytest.approx(sk.f1_score(tags, got, average="micro", sample_weight=weights))


def test_a_constant_prediction_has_no_correlation() -> None:
    truth, said = np.arange(7.0), np.full(7, 1 / 3)
    assert np.isnan(measures_for("number")["pearson"].value(truth, said, said, np.ones(7)))
