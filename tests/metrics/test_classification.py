"""Scores of classes: equal to scikit-learn's where it means the same."""

import numpy as np
import pytest

from mmcli.metrics.classification import (
    class_counts,
    class_scores,
    confusion_matrix,
    overall_scores,
    rank_of_truth,
    resampled_scores,
    weighted_f1,
)

sklearn = pytest.importorskip("sklearn.metrics")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 7, 300), rng.integers(0, 9, 300)  # 7, 8: never right
    truth[truth == 3] = 2  # a class that nobody has
    found = overall_scores(class_counts(truth, predicted, 9))
    present = np.unique(truth)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(truth, predicted), abs=1e-9)
    assert found["balanced_accuracy"] == pytest.approx(
        sklearn.balanced_accuracy_score(truth, predicted), abs=1e-9
    )
    assert found["macro_f1"] == pytest.approx(
        sklearn.f1_score(truth, predicted, labels=present, average="macro"), abs=1e-9
    )
    np.testing.assert_array_equal(
        confusion_matrix(truth, predicted, 9),
        sklearn.confusion_matrix(truth, predicted, labels=range(9)),
    )
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(
        truth, predicted, labels=range(9), zero_division=0
    )
    scores = class_scores(class_counts(truth, predicted, 9))
    np.testing.assert_allclose(scores["precision"], precision, atol=1e-9)
    np.testing.assert_allclose(scores["recall"], recall, atol=1e-9)
    np.testing.assert_allclose(scores["f1"], f1, atol=1e-9)


def test_top_k_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.random((200, 12)), np.arange(200) % 12
    for k in (1, 5):
        wanted = sklearn.top_k_accuracy_score(truth, scores, k=k)
        assert (rank_of_truth(scores, truth) <= k).mean() == pytest.approx(wanted, abs=1e-9)


def test_ties_count_half() -> None:
    scores = np.array([[0.5, 0.5, 0.1], [0.2, 0.2, 0.2], [0.9, 0.1, 0.2]])
    np.testing.assert_array_equal(rank_of_truth(scores, np.array([0, 1, 0])), [1.5, 2, 1])


def test_perfect_predictions_score_exactly_one_though_classes_are_absent() -> None:
    truth = np.array([0, 2, 2, 5])
    assert set(overall_scores(class_counts(truth, truth, 8)).values()) == {1.0}
    intervals = resampled_scores(truth, truth, 8, 200)
    assert set(intervals.values()) == {(1.0, 1.0)}


def test_weights_are_rows_counted_again() -> None:
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    times = rng.integers(0, 4, 50)
    weighed = overall_scores(class_counts(truth, predicted, 4, times.astype(float)))
    repeated = overall_scores(class_counts(truth.repeat(times), predicted.repeat(times), 4))
    assert weighed == pytest.approx(repeated, abs=1e-12)


def test_no_rows_and_one_row() -> None:
    nobody = np.zeros(0, np.int64)
    assert np.isnan(overall_scores(class_counts(nobody, nobody, 3))["macro_f1"])
    low, high = resampled_scores(np.array([0]), np.array([0]), 2, 100)["accuracy"]
    assert np.isnan(low) and np.isnan(high)


@pytest.mark.parametrize("seed", range(10))
def test_weighted_f1_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, rng.integers(1, 6), 80), rng.integers(0, 6, 80)
    wanted = sklearn.f1_score(truth, predicted, average="weighted", zero_division=0)
    assert weighted_f1(class_counts(truth, predicted, 6)) == pytest.approx(wanted, abs=1e-9)
    assert weighted_f1(class_counts(truth, truth, 6)) == 1
    assert np.isnan(weighted_f1(class_counts(truth[:0], truth[:0], 6)))
