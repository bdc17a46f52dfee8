"""Timed events: average precision and collar F1 as worked out by hand."""

import itertools

import numpy as np
import pytest

from mmcli.metrics.detection import (
    TIOUS,
    Events,
    average_precisions,
    collar_counts,
    event_scores,
    mean_average_precision,
    rank_events,
    side_by_side,
    swap_test,
    temporal_iou,
)

Entry = tuple[int, int, float, float, float]
NOTHING = Events.of([])


def precisions(truth: list[Entry], predicted: list[Entry], classes: int = 1) -> np.ndarray:
    return average_precisions(rank_events(Events.of(truth), Events.of(predicted), classes))


def true(recording: int, start_s: float, end_s: float, label: int = 0) -> Entry:
    return recording, label, start_s, end_s, 0.0


def test_iou_of_intervals() -> None:
    truth = Events.of([true(0, 0, 2), true(0, 5, 6), true(0, 1, 1.5)])
    found = temporal_iou(np.array([1.0]), np.array([3.0]), truth)
    assert found.tolist() == [[1 / 3, 0.0, 0.25]]


def test_average_precision_by_hand() -> None:
    """Four true events; the ranking is right, wrong, right, wrong (taken already), at IoU 0.5."""
    truth = [true(0, 0, 2), true(0, 10, 12), true(1, 0, 2), true(1, 4, 6)]
    predicted = [
        (0, 0, 0.0, 2.0, 0.9),  # IoU 1
        (0, 0, 5.0, 7.0, 0.8),  # nothing there
        (1, 0, 0.5, 2.0, 0.7),  # 1.5 / 2 = 0.75
        (0, 0, 0.0, 2.0, 0.6),  # taken by the first
        (1, 0, 4.0, 4.8, 0.5),  # 0.8 / 2 = 0.4
    ]
    found = precisions(truth, predicted)[0]
    # 0.3, 0.4: right, wrong, right, wrong, right: 1/4 x (1 + 2/3 + 3/5)
    # 0.5, 0.6, 0.7: the last is wrong: 1/4 x (1 + 2/3)
    low, high = (1 + 2 / 3 + 3 / 5) / 4, (1 + 2 / 3) / 4
    assert found == pytest.approx([low, low, high, high, high], abs=1e-12)


def test_precision_is_interpolated() -> None:
    """Wrong, right, right: precision 0, 1/2, 2/3 becomes 2/3 everywhere."""
    truth = [true(0, 0, 1), true(0, 2, 3)]
    predicted = [(0, 0, 7.0, 8.0, 0.9), (0, 0, 0.0, 1.0, 0.8), (0, 0, 2.0, 3.0, 0.7)]
    assert precisions(truth, predicted)[0] == pytest.approx([2 / 3] * 5)


def test_a_prediction_takes_the_best_event_that_is_free() -> None:
    truth = [true(0, 0.0, 2.0), true(0, 1.0, 3.0)]
    # both overlap the first most; 1.25 / 2.75 = 0.4545 of the other is left for the second
    predicted = [(0, 0, 0.0, 1.5, 0.9), (0, 0, 0.25, 2.25, 0.8)]
    found = precisions(truth, predicted)[0]
    assert found == pytest.approx([1.0, 1.0, 0.5, 0.5, 0.5])


def test_equal_scores_come_in_together_in_any_order() -> None:
    truth = [true(0, 0, 1), true(0, 2, 3), true(1, 0, 1)]
    predicted = [(0, 0, 0.0, 1.0, 0.5), (0, 0, 5.0, 6.0, 0.5), (1, 0, 0.0, 1.0, 0.5),
                 (1, 0, 7.0, 8.0, 0.5)]  # fmt: skip
    # one run of four, two right: recall 2/3 at precision 1/2
    for order in itertools.permutations(predicted):
        assert precisions(truth, list(order))[0] == pytest.approx([1 / 3] * 5)


@pytest.mark.parametrize("scores", [(0.9, 0.8, 0.7, 0.6), (0.5,) * 4])
def test_a_perfect_prediction_scores_exactly_one(scores: tuple[float, ...]) -> None:
    truth = [true(0, 0.1, 0.7), true(0, 3, 4.3), true(2, 1 / 3, 2, 1), true(5, 0, 0.3, 1)]
    predicted = [(*entry[:4], score) for entry, score in zip(truth, scores, strict=True)]
    found = precisions(truth, predicted, 2)
    assert (found == 1.0).all()
    assert (mean_average_precision(found) == 1.0).all()
    counts = collar_counts(Events.of(truth), Events.of(predicted), 6, 2)
    assert set(event_scores(counts.summed()).values()) == {1.0}


def test_other_recordings_and_classes_do_not_match() -> None:
    truth = [true(0, 0, 1), true(1, 0, 1, 1)]
    predicted = [(1, 0, 0.0, 1.0, 0.9), (0, 1, 0.0, 1.0, 0.9)]
    assert (precisions(truth, predicted, 2) == 0).all()
    counts = collar_counts(Events.of(truth), Events.of(predicted), 2, 2)
    assert counts.matched.sum() == 0


def test_no_truth_and_no_prediction() -> None:
    truth, predicted = [true(0, 0, 1)], [(0, 1, 0.0, 1.0, 0.9)]
    found = precisions(truth, predicted, 3)
    assert (found[0] == 0).all() and np.isnan(found[1:]).all()
    assert (mean_average_precision(found) == 0).all()
    assert np.isnan(mean_average_precision(precisions([], predicted, 2))).all()
    assert np.isnan(mean_average_precision(precisions([], [], 2))).all()
    scores = event_scores(collar_counts(Events.of(truth), NOTHING, 1, 2).summed())
    assert scores == dict.fromkeys(scores, 0.0)
    scores = event_scores(collar_counts(NOTHING, Events.of(predicted), 1, 2).summed())
    assert np.isnan(scores["event_f1"]) and scores["micro_event_f1"] == 0.0
    none = event_scores(collar_counts(NOTHING, NOTHING, 1, 2).summed())
    assert all(np.isnan(value) for value in none.values())


def test_weights_count_recordings_as_if_they_were_there_so_often() -> None:
    rng = np.random.default_rng(3)
    truth = [true(r, s, s + 1) for r in range(4) for s in (0, 3, 6)]
    predicted = [
        (r, 0, s + shift, s + 1 + shift, round(float(rng.random()), 1))
        for r in range(4)
        for s, shift in zip((0, 3, 6), rng.normal(0, 0.3, 3), strict=True)
    ]
    often = np.array([2.0, 0.0, 1.0, 3.0])
    copies = [(r, i) for r, count in enumerate(often) for i in range(int(count))]

    def repeated(entries: list[Entry]) -> list[Entry]:
        return [(new, *e[1:]) for new, (r, _) in enumerate(copies) for e in entries if e[0] == r]

    ranked = rank_events(Events.of(truth), Events.of(predicted), 1)
    expected = precisions(repeated(truth), repeated(predicted))
    np.testing.assert_allclose(average_precisions(ranked, often), expected, atol=1e-12)
    counts = collar_counts(Events.of(truth), Events.of(predicted), 4, 1)
    again = collar_counts(Events.of(repeated(truth)), Events.of(repeated(predicted)), 6, 1)
    assert event_scores(counts.summed(often)) == event_scores(again.summed())


def test_average_precision_as_scikit_learn_has_it() -> None:
    """With one true event in each of many recordings, not interpolated, it is that of a ranking.

    Interpolated it is that of the best precision at the same or a greater recall.
    """
    from sklearn.metrics import precision_recall_curve

    rng = np.random.default_rng(0)
    right = rng.random(200) < 0.4
    scores = np.round(rng.random(200) + 0.3 * right, 2)  # with ties
    truth = [true(i, 0, 1) for i in range(200) if right[i]]
    predicted = [(i, 0, 0.0, 1.0, float(scores[i])) for i in range(200)]
    precision, recall, _ = precision_recall_curve(right, scores)
    best = np.maximum.accumulate(precision)
    expected = -np.sum(np.diff(recall) * best[:-1])
    assert precisions(truth, predicted)[0] == pytest.approx([expected] * len(TIOUS))


# -- the collar ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start_s", "end_s", "right"),
    [
        (1.2, 2.0, True),  # onset 200 ms late
        (1.21, 2.0, False),
        (0.8, 2.0, True),
        (1.0, 2.5, True),  # half of one second
        (1.0, 2.51, False),
        (1.0, 1.5, True),
    ],
)
def test_the_collar_of_an_event_of_one_second(start_s: float, end_s: float, right: bool) -> None:
    truth, predicted = Events.of([true(0, 1.0, 2.0)]), Events.of([(0, 0, start_s, end_s, 1.0)])
    assert collar_counts(truth, predicted, 1, 1).matched.tolist() == [[float(right)]]


def test_a_short_event_may_end_200_ms_off() -> None:
    truth = Events.of([true(0, 1.0, 1.1)])
    near, far = (Events.of([(0, 0, 1.0, end_s, 1.0)]) for end_s in (1.3, 1.31))
    assert collar_counts(truth, near, 1, 1).matched.sum() == 1
    assert collar_counts(truth, far, 1, 1).matched.sum() == 0


def test_as_many_pairs_as_possible() -> None:
    """The first prediction fits both events, the second only the first: greedily there is one."""
    truth = Events.of([true(0, 1.0, 2.0), true(0, 1.3, 2.3)])
    predicted = Events.of([(0, 0, 1.15, 2.15, 1.0), (0, 0, 0.9, 2.0, 1.0)])
    assert collar_counts(truth, predicted, 1, 1).matched.tolist() == [[2.0]]
    one = Events.of([true(0, 1.0, 2.0)])
    assert collar_counts(one, predicted, 1, 1).matched.tolist() == [[1.0]]


def test_event_scores_by_hand() -> None:
    truth = Events.of([true(0, 0, 1), true(0, 5, 6), true(1, 0, 1), true(1, 0, 1, 1)])
    predicted = Events.of(
        [(0, 0, 0.1, 1.1, 1.0), (0, 0, 8.0, 9.0, 1.0), (1, 1, 0.0, 1.0, 1.0), (1, 2, 0, 1, 1.0)]
    )
    found = event_scores(collar_counts(truth, predicted, 2, 3).summed())
    # class 0: 3 true, 2 predicted, 1 right; class 1: all right; class 2: no truth, one predicted
    assert found["event_precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["event_recall"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["event_f1"] == pytest.approx((2 / 5 + 1) / 2)
    assert found["micro_event_f1"] == pytest.approx(2 * 2 / (4 + 4))


# -- two systems -----------------------------------------------------------------------------------


def test_the_swap_test_counts_every_exchange() -> None:
    """Five recordings, the first system right in all and the other in none: of 32 ways to swap
    only two are as far apart."""
    truth = Events.of([true(r, 0, 1) for r in range(5)])
    wrong = Events.of([(r, 0, 5.0, 6.0, 0.5) for r in range(5)])
    right = Events.of([(r, 0, 0.0, 1.0, 0.5) for r in range(5)])
    ranked = rank_events(side_by_side(truth, truth, 5), side_by_side(right, wrong, 5), 1)

    def measure(weights: np.ndarray) -> dict[str, float]:
        return {"map": float(mean_average_precision(average_precisions(ranked, weights)).mean())}

    assert measure(np.r_[np.ones(5), np.zeros(5)]) == {"map": 1.0}
    assert measure(np.r_[np.zeros(5), np.ones(5)]) == {"map": 0.0}
    p = swap_test(measure, 5, permutations=2000)["map"]
    assert p == pytest.approx(2 / 32, abs=0.02)
    same = rank_events(side_by_side(truth, truth, 5), side_by_side(right, right, 5), 1)

    def alike(weights: np.ndarray) -> dict[str, float]:
        return {"map": float(mean_average_precision(average_precisions(same, weights)).mean())}

    assert swap_test(alike, 5, permutations=50)["map"] == 1.0
