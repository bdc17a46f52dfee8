"""What the kept model does on the judged rows: scores, confusions, calibration, slices, errors.

Knows answers and measures; nothing about HTML. The numbers go into `metrics.json`, the page is made
of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.fusion.inputs import Rows
from mmcli.fusion.model import probabilities
from mmcli.metrics.calibration import (
    fit_label_temperature,
    fit_temperature,
    tempered,
    tempered_labels,
)
from mmcli.metrics.choice import Measure
from mmcli.metrics.classification import class_counts, class_table, confusion_matrix
from mmcli.metrics.multilabel import label_counts, label_pairs
from mmcli.metrics.probabilities import reliability
from mmcli.store.reader import Store
from mmcli.workflows.finetune.report.errors import errors
from mmcli.workflows.finetune.report.slices import Scored, modalities, slices
from mmcli.workflows.fuse.fit import Contest
from mmcli.workflows.predictions.answers import Answers
from mmcli.workflows.predictions.intervals import Draws, compare, described, summarise
from mmcli.workflows.predictions.measures import Asked, binned, judge

Floats = NDArray[np.float64]
BINS = 15
RESAMPLES = 1000
#: Validation rows from which a temperature is fitted.
LEAST_ROWS = 20
_TASKS = {"several": "multilabel", "ordinal": "ordinal", "number": "regression"}


@dataclass(frozen=True)
class Analysis:
    """told: what `metrics.json` keeps. answers: what was said of the judged rows."""

    told: dict[str, Any]
    answers: Answers


def analyse(
    network: Any,
    contest: Contest,
    method: str,
    rows: Rows,
    measure: Measure,
    store: Store,
    *,
    task: str = "",
    split_column: str = "split",
    group_by: str | None = None,
    seed: int = 0,
) -> Analysis:
    """Everything that the report says of one network on the rows by which it is judged.

    network: the kept one, on the inputs that `contest.data` has. task: of `finetune`; sentiments
    that are numbers are also scored as their sets score them. measure: of slices and modalities.
    """
    data, view = contest.data, contest.specs[method].view

    def said(of: Rows, without: Sequence[str] = ()) -> Floats:
        found: Floats = probabilities(network, view, contest.objective, data.inputs, of, without)
        return found

    shares = said(rows)
    answers = _answers(contest, rows, shares)
    groups = np.unique(data.groups[rows], return_inverse=True)[1].astype(np.int64)
    draws = Draws(RESAMPLES, seed, groups)
    scored = Scored(contest.objective, measure, data.labels.values[rows], groups, seed)
    ids = store.ids()
    told: dict[str, Any] = {
        **_scores(answers, draws, _scale(contest, task)),
        "intervals": described(draws, group_by, len(rows), {}),
        **_by_class(answers),
        "calibration": _calibration(answers, contest, said, draws, rows),
        "slices": slices(
            scored, shares, store, rows, data.inputs, {data.labels.column, split_column}
        ),
        "modalities": modalities(scored, shares, data.inputs.names, lambda gone: said(rows, gone)),
        "errors": errors(answers, [ids[row] for row in rows], rows),
    }
    return Analysis(told, answers)


def _answers(contest: Contest, rows: Rows, shares: Floats) -> Answers:
    labels, objective = contest.data.labels, contest.objective
    truth, predicted = labels.values[rows], objective.predicted(shares)
    if objective.kind == "several":
        truth, predicted = truth.astype(bool), predicted.astype(bool)
    return Answers(
        _TASKS.get(objective.kind, "classification"),
        tuple(labels.classes),
        truth,
        predicted,
        None if objective.kind == "number" else shares,
        1 if objective.kind == "classes" and len(labels.classes) == 2 else None,
    )


def _scale(contest: Contest, task: str) -> str | None:
    """Of sentiments that are numbers: CH-SIMS goes from -1 to 1, CMU-MOSI from -3 to 3."""
    if task != "sentiment" or contest.objective.kind != "number":
        return None
    values = contest.data.labels.values[contest.data.labels.known]
    return "sims" if np.abs(values).max() <= 1 else "mosi"


def _scores(answers: Answers, draws: Draws, scale: str | None) -> dict[str, Any]:
    """Every measure of the task with its interval."""
    found = summarise(judge(answers, Asked(BINS)), draws)
    measures, fewer = dict(found.measures), dict(found.fewer)
    if scale is not None:
        also = summarise(judge(answers, Asked(BINS, scale)), draws)
        measures |= {n: v for n, v in also.measures.items() if n not in (*measures, "corr")}
        fewer |= also.fewer
    return {"measures": measures, "fewer_resamples": fewer, "scale": scale}


def _by_class(answers: Answers) -> dict[str, Any]:
    """Precision, recall and F1 of each class, what was called what, what the largest would get."""
    if answers.task == "regression":
        return {}
    n = len(answers.classes)
    found: dict[str, Any] = {}
    if answers.task == "multilabel":
        counts = label_counts(label_pairs(answers.truth, answers.predicted))
    else:
        counts = class_counts(answers.truth, answers.predicted, n)
        matrix = confusion_matrix(answers.truth, answers.predicted, n)
        found = {
            "confusion": {"classes": list(answers.classes), "matrix": matrix.tolist()},
            "majority_accuracy": float(counts.support.max() / len(answers)),
        }
    return {**found, "per_class": class_table(answers.classes, counts)}


def _calibration(
    answers: Answers, contest: Contest, said: Any, draws: Draws, rows: Rows
) -> dict[str, Any] | None:
    """Reliability in bins, and what a temperature fitted on val would change; None of numbers.

    Of ordered classes none is fitted: their probabilities are differences, which may be 0.
    """
    if answers.probabilities is None:
        return None
    found: dict[str, Any] = {"bins": _bins(answers), "temperature": None}
    found["of"] = "every label" if answers.task == "multilabel" else "the most probable class"
    val = contest.data.val
    if len(val) < LEAST_ROWS or np.array_equal(val, rows) or answers.task == "ordinal":
        return found
    truth, shares = contest.data.labels.values[val], said(val)
    if answers.task == "multilabel":
        temperature = fit_label_temperature(shares, truth.astype(bool))
        after = tempered_labels(answers.probabilities, temperature)
    else:
        temperature = fit_temperature(shares, truth)
        after = tempered(answers.probabilities, temperature)
    other = replace(answers, probabilities=after)
    asked = Asked(BINS)
    changed = compare(judge(other, asked), judge(answers, asked), draws).measures
    return found | {
        "temperature": temperature,
        "val_rows": len(val),
        "bins_after": _bins(other),
        "change": {
            name: {"before": entry.pop("other"), "after": entry.pop("this"), **entry}
            for name, entry in changed.items()
            if name in ("ece", "log_loss", "brier_score")
        },
    }


def _bins(answers: Answers) -> list[dict[str, Any]]:
    found = binned(answers, BINS)
    assert found is not None
    seen = reliability(found)
    names = ("from", "to", "rows", "stated", "observed")
    each = zip(seen.edges, seen.edges[1:], seen.rows, seen.stated, seen.observed, strict=False)
    return [{n: v.item() for n, v in zip(names, values, strict=True)} for values in each]
