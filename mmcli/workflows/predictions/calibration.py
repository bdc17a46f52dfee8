"""`--calibrate-on`: a temperature and thresholds from other rows, and what they change here."""

from dataclasses import replace
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.metrics.calibration import (
    best_threshold,
    best_thresholds,
    fit_label_temperature,
    fit_temperature,
    tempered,
    tempered_labels,
)
from mmcli.store.predictions import Predictions
from mmcli.workflows.predictions.answers import Answers, recoded


def calibrate(
    this: Predictions, on: Predictions, answers: Answers
) -> tuple[Answers, dict[str, Any]]:
    """The answers after calibration, and what was fitted: `{on, rows, temperature, thresholds}`.

    answers: of `this`. Thresholds are fitted for labels, and for the positive one of two classes.
    Raises BadInput when the two share an id, have other classes, or no probabilities.
    """
    if this.task == "regression":
        raise BadInput(
            f"`{this.path}` holds numbers, which have no probabilities to calibrate",
            "leave out `--calibrate-on`",
        )
    shared = sorted(set(this.ids) & set(on.ids))
    if shared:
        raise BadInput(
            f"`{on.path}` and `{this.path}` share {len(shared)} ids, as `{shared[0]}`",
            "calibrate on rows that are not scored, such as those of `val`",
        )
    fitted_on = recoded(on, answers.classes)
    for predictions, found in ((this, answers), (on, fitted_on)):
        if found.probabilities is None:
            raise BadInput(
                f"`{predictions.path}` has no probabilities", "they are what is calibrated"
            )
    shares, given = answers.probabilities, fitted_on.probabilities
    assert shares is not None and given is not None
    fitted: dict[str, Any] = {"on": str(on.path), "rows": len(fitted_on)}
    if this.task == "multilabel":
        temperature = fit_label_temperature(given, fitted_on.truth)
        limits = best_thresholds(tempered_labels(given, temperature), fitted_on.truth)
        after = tempered_labels(shares, temperature)
        predicted = after >= limits
        thresholds = dict(zip(answers.classes, limits.tolist(), strict=True))
    else:
        temperature = fit_temperature(given, fitted_on.truth)
        after = tempered(shares, temperature)
        predicted, thresholds = answers.predicted, {}
        positive = answers.positive
        if positive is not None:
            there = tempered(given, temperature)[:, positive]
            limit = best_threshold(there, fitted_on.truth == positive)
            predicted = np.where(after[:, positive] >= limit, positive, 1 - positive)
            thresholds = {answers.classes[positive]: limit}
    fitted |= {"temperature": temperature, "thresholds": thresholds}
    return replace(answers, probabilities=after, predicted=predicted), fitted
