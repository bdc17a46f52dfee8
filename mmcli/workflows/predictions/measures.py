"""Which measures each task has, ready to be computed under many weights of the rows.

Knows nothing about files, resamples or reports.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.metrics.classification import (
    class_counts,
    class_scores,
    overall_scores,
    rank_of_truth,
    weighted_f1,
)
from mmcli.metrics.multilabel import label_counts, label_pairs, label_scores, set_scores
from mmcli.metrics.ordinal import ordinal_rows, quadratic_kappa
from mmcli.metrics.probabilities import (
    Binned,
    RankedScores,
    bin_probabilities,
    brier_scores,
    calibration_error,
    curve_areas,
    gaps_by_row,
    label_log_losses,
    log_losses,
    rank_scores,
)
from mmcli.metrics.regression import find_ties, regression_scores, spearman
from mmcli.metrics.resampling import Measure
from mmcli.metrics.sentiment import (
    Decision,
    class_decisions,
    decision_scores,
    number_decisions,
    on_scale,
    polarities,
)
from mmcli.workflows.predictions.answers import Answers

Floats = NDArray[np.float64]
TOP = 5
#: Measures of which less is better.
LESS_IS_BETTER = {"log_loss", "brier_score", "ece", "hamming_loss", "steps_off", "mae", "rmse"}
#: Sorted scores of all classes are kept up to so many numbers: 80 MB.
_KEPT = 10_000_000
#: How many times the ranks of two columns go over the rows.
_SPEARMAN_PASSES = 16


@dataclass(frozen=True)
class Asked:
    """What was asked for. scale: `mosi` or `sims` for the measures of sentiment, else None."""

    bins: int = 15
    scale: str | None = None


@dataclass(frozen=True)
class Judge:
    """The measures of some rows, as functions of how often each row counts `(rows,)`.

    quick: cost a few passes over the rows. slow: those of ranks, which cost `passes`. by_row:
    `(rows,)` of each measure that is a mean over rows, NaN in rows that it is not about.
    """

    rows: int
    quick: Measure
    by_row: Mapping[str, Floats]
    slow: Measure | None = None
    passes: int = 0


def judge(answers: Answers, asked: Asked) -> Judge:
    """The measures of the task. Raises BadInput for classes that are no sentiments."""
    if asked.scale is not None:
        return _sentiment(answers, asked.scale)
    if answers.task == "regression":
        return _numbers(answers)
    return _labels(answers, asked) if answers.task == "multilabel" else _classes(answers, asked)


def binned(answers: Answers, bins: int) -> Binned | None:
    """The probabilities in bins: those of the most probable class, or of every label of a row."""
    shares = answers.probabilities
    if shares is None:
        return None
    if answers.task == "multilabel":
        return bin_probabilities(shares.ravel(), answers.truth.ravel(), bins)
    return bin_probabilities(shares.max(axis=1), shares.argmax(axis=1) == answers.truth, bins)


def _classes(answers: Answers, asked: Asked) -> Judge:
    truth, predicted, n = answers.truth, answers.predicted, len(answers.classes)
    shares, positive, ordinal = answers.probabilities, answers.positive, answers.task == "ordinal"
    by_row = {"accuracy": (truth == predicted).astype(np.float64)}
    if ordinal:
        by_row |= ordinal_rows(truth, predicted)
    if shares is not None:
        if n > TOP:
            by_row[f"top_{TOP}_accuracy"] = (rank_of_truth(shares, truth) <= TOP) * 1.0
        by_row |= {
            "log_loss": log_losses(shares, truth),
            "brier_score": brier_scores(shares, truth),
        }
    means, in_bins = _means(by_row), binned(answers, asked.bins)

    def quick(weights: Floats) -> dict[str, float]:
        counts = class_counts(truth, predicted, n, weights)
        found = {**overall_scores(counts), "weighted_f1": weighted_f1(counts)}
        if positive is not None and not ordinal:
            found |= {name: float(of[positive]) for name, of in class_scores(counts).items()}
        if ordinal:
            found["quadratic_kappa"] = quadratic_kappa(truth, predicted, weights)
        found |= means(weights)
        if in_bins is not None:
            found["ece"] = calibration_error(in_bins, weights)
        return found

    if shares is None:
        return Judge(len(answers), quick, by_row)
    present = np.unique(truth) if positive is None else [positive]
    columns = [(shares[:, i], truth == i) for i in present]
    return Judge(len(answers), quick, by_row, _areas(columns), 2 * len(columns))


def _labels(answers: Answers, asked: Asked) -> Judge:
    truth, shares = answers.truth, answers.probabilities
    pairs = label_pairs(truth, answers.predicted)
    by_row = set_scores(truth, answers.predicted)
    if shares is not None:
        by_row["log_loss"] = label_log_losses(shares, truth)
        by_row["brier_score"] = ((shares - truth) ** 2).mean(axis=1)
    means, in_bins = _means(by_row), binned(answers, asked.bins)
    gaps = None if in_bins is None else gaps_by_row(in_bins, len(answers))

    def quick(weights: Floats) -> dict[str, float]:
        found = {**label_scores(label_counts(pairs, weights)), **means(weights)}
        if gaps is not None:
            cells = weights.sum() * truth.shape[1]
            found["ece"] = float(np.abs(weights @ gaps).sum() / cells)
        return found

    if shares is None:
        return Judge(len(answers), quick, by_row)
    present = np.flatnonzero(truth.any(axis=0))
    columns = [(shares[:, i], truth[:, i]) for i in present]
    return Judge(len(answers), quick, by_row, _areas(columns), 2 * len(columns))


def _numbers(answers: Answers) -> Judge:
    truth, predicted = answers.truth, answers.predicted
    ties = find_ties(truth), find_ties(predicted)
    return Judge(
        len(answers),
        lambda weights: regression_scores(truth, predicted, weights),
        {"mae": np.abs(truth - predicted)},
        lambda weights: {"spearman": spearman(*ties, weights)},
        _SPEARMAN_PASSES,
    )


def _sentiment(answers: Answers, scale: str) -> Judge:
    if answers.task == "multilabel":
        raise BadInput(
            "sets of labels have no sentiment", "`--task sentiment` takes numbers or classes"
        )
    if answers.task == "regression":
        decisions = number_decisions(answers.truth, answers.predicted, scale)
        truth, predicted = (on_scale(v, scale) for v in (answers.truth, answers.predicted))

        def quick(weights: Floats) -> dict[str, float]:
            of = regression_scores(truth, predicted, weights)
            return {**decision_scores(decisions, weights), "mae": of["mae"], "corr": of["pearson"]}

        by_row = {**_rights(decisions), "mae": np.abs(truth - predicted)}
        return Judge(len(answers), quick, by_row)
    try:
        polarity = polarities(answers.classes, ordered=answers.task == "ordinal")
    except ValueError as error:
        raise BadInput(
            str(error), "name them negative, neutral and positive, or give them numbers or an order"
        ) from None
    decisions = class_decisions(
        answers.truth, answers.predicted, answers.probabilities, polarity, scale
    )
    n = len(answers.classes)

    def of_classes(weights: Floats) -> dict[str, float]:
        counts = class_counts(answers.truth, answers.predicted, n, weights)
        macro = overall_scores(counts)["macro_f1"]
        return {**decision_scores(decisions, weights), "macro_f1": macro}

    return Judge(len(answers), of_classes, _rights(decisions))


def _rights(decisions: Iterable[Decision]) -> dict[str, Floats]:
    return {decision.accuracy: decision.right() for decision in decisions}


def _means(by_row: Mapping[str, Floats]) -> Callable[[Floats], dict[str, float]]:
    """The weighted mean of each, all at once."""
    names, values = list(by_row), np.stack(list(by_row.values()), axis=1)

    def means(weights: Floats) -> dict[str, float]:
        found = weights @ values / weights.sum()
        return dict(zip(names, found.tolist(), strict=True))

    return means


def _areas(columns: list[tuple[Any, Any]]) -> Measure:
    """roc_auc and average_precision: means over classes of the rows' scores and positive rows.

    Classes that a resample lacks, or that all of its rows have, do not count in it.
    """
    rows = len(columns[0][0]) if columns else 0
    kept = [rank_scores(*c) for c in columns] if rows * len(columns) <= _KEPT else None

    def ranked() -> Iterable[RankedScores]:
        return kept if kept is not None else (rank_scores(*column) for column in columns)

    def areas(weights: Floats) -> dict[str, float]:
        found = np.array([curve_areas(one, weights) for one in ranked()]).reshape(-1, 2)
        means = [
            float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")
            for values in found.T
        ]
        return dict(zip(("roc_auc", "average_precision"), means, strict=True))

    return areas
