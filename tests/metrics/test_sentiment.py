"""The measures of sentiment: MMSA's definitions written out, and perfect predictions."""

import numpy as np
import pytest

from mmcli.metrics.sentiment import (
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    class_decisions,
    decision_scores,
    number_decisions,
    on_scale,
    polarities,
)

sklearn = pytest.importorskip("sklearn.metrics")


def mosi_by_definition(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Every measure straight from its definition, with scikit-learn's accuracy and F1."""
    seven = [np.round(np.clip(v, -3, 3)) for v in (truth, predicted)]
    five = [np.round(np.clip(v, -2, 2)) for v in (truth, predicted)]
    kept = truth != 0
    found = {
        "mult_acc_7": float(np.mean(seven[0] == seven[1])),
        "mult_acc_5": float(np.mean(five[0] == five[1])),
    }
    for name, t, p in (
        ("has0", truth >= 0, predicted >= 0),
        ("non0", truth[kept] > 0, predicted[kept] > 0),
    ):
        found[f"{name}_accuracy"] = sklearn.accuracy_score(t, p)
        found[f"{name}_f1"] = sklearn.f1_score(t, p, average="weighted", zero_division=0)
    return found


def sims_by_definition(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Intervals closed on their right, in the single precision of the data set."""
    found, cut = {}, {}
    for n, edges in (
        (2, [-1.01, 0.0, 1.01]),
        (3, [-1.01, -0.1, 0.1, 1.01]),
        (5, [-1.01, -0.7, -0.1, 0.1, 0.7, 1.01]),
    ):
        cut[n] = []
        for values in (truth, predicted):
            clipped = np.clip(values.astype(np.float32), -1, 1)
            code = np.full(len(values), -1)
            for i in range(n):
                within = (clipped > np.float32(edges[i])) & (clipped <= np.float32(edges[i + 1]))
                code[within] = i
            cut[n].append(code)
        found[f"mult_acc_{n}"] = sklearn.accuracy_score(*cut[n])
    found["f1"] = sklearn.f1_score(*cut[2], average="weighted", zero_division=0)
    return found


@pytest.mark.parametrize("scale", ["mosi", "sims"])
def test_numbers_as_mmsa_defines_them(scale: str) -> None:
    rng = np.random.default_rng(0)
    limit = 4 if scale == "mosi" else 1.5
    for case in range(70):
        rows = int(rng.integers(2, 40))
        truth, predicted = (rng.uniform(-limit, limit, rows) for _ in range(2))
        step = 2 if scale == "mosi" else 10
        snapped = rng.random(rows) < 0.5  # half-integers, zeros and the very cuts
        truth[snapped] = np.round(truth[snapped] * step) / step
        predicted[snapped] = np.round(predicted[snapped] * step) / step
        truth[0] = 1.0  # some row is not neutral
        found = decision_scores(number_decisions(truth, predicted, scale))
        wanted = (mosi_by_definition if scale == "mosi" else sims_by_definition)(truth, predicted)
        assert found == pytest.approx(wanted, abs=1e-9), case


def test_only_sims_is_cut_before_error_and_correlation() -> None:
    values = np.array([-2.0, 0.5, 1.5])
    assert on_scale(values, "sims").tolist() == [-1, 0.5, 1]
    assert on_scale(values, "mosi").tolist() == [-2, 0.5, 1.5]


def test_weights_are_repeated_rows() -> None:
    rng = np.random.default_rng(1)
    truth, predicted, times = rng.normal(0, 2, 30), rng.normal(0, 2, 30), rng.integers(0, 4, 30)
    again = np.repeat(np.arange(30), times)
    weighted = decision_scores(number_decisions(truth, predicted, "mosi"), times.astype(float))
    repeated = decision_scores(number_decisions(truth[again], predicted[again], "mosi"))
    assert weighted == pytest.approx(repeated)


@pytest.mark.parametrize("scale", ["mosi", "sims"])
@pytest.mark.parametrize(
    "classes",
    [
        ("negative", "positive"),
        ("negative", "neutral", "positive"),
        ("positive", "negative", "neutral"),
        ("-2", "-1", "0", "1", "2"),
        ("very bad", "bad", "so so", "fine", "very fine", "great", "best"),
    ],
)
def test_a_perfect_prediction_scores_one(classes: tuple[str, ...], scale: str) -> None:
    truth = np.arange(60) % len(classes)
    polarity = polarities(classes, ordered=classes[0] == "very bad")
    for probabilities in (None, np.eye(len(classes))[truth]):
        found = decision_scores(class_decisions(truth, truth, probabilities, polarity, scale))
        assert set(found.values()) == {1.0}, found
    numbers = np.linspace(-1, 1, 21)
    assert set(decision_scores(number_decisions(numbers, numbers, scale)).values()) == {1.0}


def test_a_neutral_prediction_leans_where_its_probability_is() -> None:
    polarity = polarities(("negative", "neutral", "positive"))
    truth = np.array([0, 2, 2, 1, 0])
    predicted = np.array([1, 1, 1, 0, 0])
    given = np.array(
        [[0.4, 0.5, 0.1], [0.1, 0.5, 0.4], [0.4, 0.5, 0.1], [0.9, 0.1, 0], [0.8, 0.1, 0.1]]
    )
    found = decision_scores(class_decisions(truth, predicted, given, polarity, "mosi"))
    assert found["non0_accuracy"] == 3 / 4  # all but the third, which leans the wrong way
    assert found["has0_accuracy"] == 3 / 5  # the first and the fourth are on the wrong side of 0
    assert found["mult_acc_3"] == 1 / 5
    blind = decision_scores(class_decisions(truth, predicted, None, polarity, "mosi"))
    assert blind["non0_accuracy"] == 1 / 4 and blind["has0_accuracy"] == 3 / 5
    balanced = np.full((5, 3), 1 / 3)
    even = decision_scores(class_decisions(truth, predicted, balanced, polarity, "mosi"))
    assert even["non0_accuracy"] == 1 / 4


def test_polarity_of_classes() -> None:
    n, o, p = NEGATIVE, NEUTRAL, POSITIVE
    assert polarities(("Strongly_Negative", "neg", "Neutral", "POS")).tolist() == [n, n, o, p]
    assert polarities(("消极", "中性", "积极")).tolist() == [n, o, p]
    assert polarities(("0", "1", "2")).tolist() == [n, o, p]
    assert polarities(("0", "1")).tolist() == [n, p]
    assert polarities(("-1", "0", "3")).tolist() == [n, o, p]
    assert polarities(("a", "b", "c", "d"), ordered=True).tolist() == [n, n, p, p]
    for classes in (("happy", "sad"), ("negative", "angry", "positive"), ("neutral", "positive")):
        with pytest.raises(ValueError, match=r"class"):
            polarities(classes)
