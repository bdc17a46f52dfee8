"""Scores of sets of labels: equal to scikit-learn's where it means the same."""

import numpy as np
import pytest

from mmcli.metrics.classification import class_scores
from mmcli.metrics.multilabel import label_counts, label_pairs, label_scores, set_scores

sklearn = pytest.importorskip("sklearn.metrics")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(20))
def test_equal_to_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, labels = int(rng.integers(1, 60)), int(rng.integers(2, 8))
    truth, predicted = rng.random((rows, labels)) < 0.3, rng.random((rows, labels)) < 0.3
    truth[:, 0] = False  # a label that nobody has
    times = rng.integers(0, 4, rows)
    times[0] = 1
    again = np.repeat(np.arange(rows), times)
    for weights, t, p in (
        (None, truth, predicted),
        (times.astype(float), truth[again], predicted[again]),
    ):
        counts = label_counts(label_pairs(truth, predicted), weights)
        found = label_scores(counts)
        present = np.flatnonzero(t.any(axis=0))
        each = sklearn.f1_score(t, p, average=None, zero_division=0, labels=range(labels))
        np.testing.assert_allclose(class_scores(counts)["f1"], each, atol=1e-9)
        if len(present):
            macro = sklearn.f1_score(t, p, labels=present, average="macro", zero_division=0)
            assert found["macro_f1"] == pytest.approx(macro, abs=1e-9)
            weighted = sklearn.f1_score(t, p, average="weighted", zero_division=0)
            assert found["weighted_f1"] == pytest.approx(weighted, abs=1e-9)
        if t.any() or p.any():
            micro = sklearn.f1_score(t, p, average="micro", zero_division=0)
            assert found["micro_f1"] == pytest.approx(micro, abs=1e-9)
    of_rows = {name: values.mean() for name, values in set_scores(truth, predicted).items()}
    both = truth.astype(int), predicted.astype(int)
    assert of_rows["subset_accuracy"] == pytest.approx(sklearn.accuracy_score(*both), abs=1e-9)
    assert of_rows["hamming_loss"] == pytest.approx(sklearn.hamming_loss(*both), abs=1e-9)
    samples = sklearn.f1_score(*both, average="samples", zero_division=1)
    assert of_rows["samples_f1"] == pytest.approx(samples, abs=1e-9)


def test_a_perfect_prediction() -> None:
    truth = np.array([[True, False, True], [False, False, False], [True, False, False]])
    assert set(label_scores(label_counts(label_pairs(truth, truth))).values()) == {1.0}
    means = {name: values.mean() for name, values in set_scores(truth, truth).items()}
    assert means == {"samples_f1": 1.0, "subset_accuracy": 1.0, "hamming_loss": 0.0}


def test_no_label_at_all_has_no_f1() -> None:
    nothing = np.zeros((3, 2), bool)
    assert np.isnan(list(label_scores(label_counts(label_pairs(nothing, nothing))).values())).all()
