"""`evaluate predictions`: how good predictions are, of any model, against labels that are known.

Measures of the task with intervals, per class, in slices, calibrated, and against other predictions
of the same rows. Prints nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.metrics.classification import class_counts, class_table, confusion_matrix
from mmcli.metrics.multilabel import label_counts, label_pairs
from mmcli.metrics.probabilities import reliability
from mmcli.metrics.sentiment import LIMITS
from mmcli.store.predictions import TASKS, Predictions
from mmcli.workflows.evaluate.resampling import check_resamples, interval_warnings
from mmcli.workflows.output_files import refuse_page
from mmcli.workflows.predictions.answers import Answers, answers_of, paired
from mmcli.workflows.predictions.calibration import calibrate
from mmcli.workflows.predictions.columns import ItemColumns
from mmcli.workflows.predictions.intervals import Draws, compare, described, summarise
from mmcli.workflows.predictions.measures import Asked, binned, judge
from mmcli.workflows.predictions.opened import open_predictions

#: Values of a sliced column, each of which has intervals of its own.
MOST_SLICES = 100
MOST_BINS = 1000
SENTIMENT = "sentiment"
ASKABLE = ("auto", *TASKS, SENTIMENT)


@dataclass(frozen=True)
class PredictionsConfig:
    """What `mmcli evaluate predictions` can be told."""

    predictions: str
    task: str = "auto"
    scale: str | None = None
    against: str | None = None
    calibrate_on: str | None = None
    slices: tuple[str, ...] = ()
    items: str | None = None
    group_by: str | None = None
    bootstrap: int = 1000
    bins: int = 15
    html: str | None = None
    force: bool = False
    verify: str = "once"
    seed: int = 0


def evaluate_predictions(
    config: PredictionsConfig, message: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Score predictions and report; write the page if it was asked for.

    message: told what goes on. Raises UsageError for options that do not fit, BadInput, naming
    file and row, for predictions that cannot be scored.
    """
    _check(config)
    asked_task = None if config.task in ("auto", SENTIMENT) else config.task
    predictions = open_predictions(config.predictions, config.verify, asked_task)
    answers = answers_of(predictions)
    scale = (config.scale or "mosi") if _of_sentiment(config, predictions) else None
    asked = Asked(config.bins, scale)
    columns = ItemColumns(predictions, config.items, config.verify)
    groups = columns.groups(config.group_by) if config.group_by else None
    draws = Draws(config.bootstrap, config.seed, groups)
    sliced = {name: _slices(columns, name) for name in dict.fromkeys(config.slices)}
    other = _open_other(config.against, config, predictions)
    calibration_rows = _open_other(config.calibrate_on, config, predictions)
    message(f"{len(answers)} rows of {predictions.task}")
    judged = judge(answers, asked)
    found = summarise(judged, draws)
    report: dict[str, Any] = {
        "predictions": config.predictions,
        "task": predictions.task,
        "scale": scale,
        "classes": len(answers.classes) if answers.classes else None,
        "positive": None if answers.positive is None else answers.classes[answers.positive],
        "probabilities": answers.probabilities is not None,
        "rows": len(predictions.ids),
        "scored": len(answers),
        "without_label": int((~predictions.known & ~predictions.strange).sum()),
        "with_unknown_label": int(predictions.strange.sum()),
        "without_prediction": int((~predictions.answered).sum()),
        "measures": found.measures,
        "intervals": described(draws, config.group_by, len(answers), found.fewer),
        **_by_class(answers),
        "warnings": [*_warnings(predictions, columns), *_contradictions(answers)],
    }
    report["warnings"] += interval_warnings(config.bootstrap, report["intervals"]["drawn"])
    report["reliability"] = _reliability(answers, config.bins)
    if sliced:
        message(f"slices by {', '.join(sliced)}")
        report["slices"] = {
            name: {
                value: summarise(
                    judge(answers.take(rows), asked), draws.among(rows, 1 / len(parts))
                ).report(len(rows))
                for value, rows in parts.items()
            }
            for name, parts in sliced.items()
        }
    if calibration_rows is not None:
        message(f"calibrate on {config.calibrate_on}")
        after, fitted = calibrate(predictions, calibration_rows, answers)
        changed = compare(judge(after, asked), judged, draws)
        fitted["measures"] = {
            name: {"before": entry.pop("other"), "after": entry.pop("this"), **entry}
            for name, entry in changed.measures.items()
        }
        fitted["reliability"] = _reliability(after, config.bins)
        report["calibration"] = fitted
    if other is not None:
        message(f"against {config.against}")
        report["against"] = _against(config, predictions, other, asked, draws, report["warnings"])
    if config.html:
        from mmcli.workflows.predictions.page import write_page

        write_page(Path(config.html), answers, report)
    return report


def _of_sentiment(config: PredictionsConfig, predictions: Predictions) -> bool:
    """Whether it was asked for, or a model of sentiment gave these numbers."""
    if config.task != "auto":
        return config.task == SENTIMENT
    told = predictions.manifest.get("finetuned") == SENTIMENT
    return told and predictions.task == "regression"


def _check(config: PredictionsConfig) -> None:
    if config.task not in ASKABLE:
        raise UsageError(f"`--task {config.task}` is unknown", suggestion(config.task, ASKABLE))
    if config.scale is not None:
        if config.task != SENTIMENT:
            raise UsageError(
                f"`--scale {config.scale}` is of sentiment only", "add `--task sentiment`"
            )
        if config.scale not in LIMITS:
            raise UsageError(
                f"`--scale {config.scale}` is unknown", suggestion(config.scale, LIMITS)
            )
    check_resamples(config.bootstrap)
    if not 1 <= config.bins <= MOST_BINS:
        raise UsageError(f"`--bins {config.bins}`: must be 1 to {MOST_BINS}", "15 is common")
    refuse_page(config.html, config.force)


def _open_other(
    path: str | None, config: PredictionsConfig, predictions: Predictions
) -> Predictions | None:
    return None if path is None else open_predictions(path, config.verify, predictions.task)


def _slices(columns: ItemColumns, name: str) -> dict[str, Any]:
    """The scored rows of each value of a column, those of most rows first."""
    codes, values = columns.codes(name)
    sizes = np.bincount(codes[codes >= 0], minlength=len(values))
    if (sizes > 0).sum() > MOST_SLICES:
        raise BadInput(
            f"`--slice {name}`: it has {(sizes > 0).sum()} values, too many to score each",
            f"slice by a column of at most {MOST_SLICES} values",
        )
    order = [code for code in np.argsort(-sizes, kind="stable") if sizes[code]]
    return {str(values[code]): np.flatnonzero(codes == code) for code in order}


def _by_class(answers: Answers) -> dict[str, Any]:
    """The table of classes, the confusion matrix, and what the largest class alone would reach."""
    if answers.task == "regression":
        return {}
    n = len(answers.classes)
    if answers.task == "multilabel":
        counts = label_counts(label_pairs(answers.truth, answers.predicted))
        return {"per_class": class_table(answers.classes, counts)}
    counts = class_counts(answers.truth, answers.predicted, n)
    return {
        "majority_accuracy": float(counts.support.max() / len(answers)),
        "per_class": class_table(answers.classes, counts),
        "confusion": {
            "classes": list(answers.classes),
            "matrix": confusion_matrix(answers.truth, answers.predicted, n).tolist(),
        },
    }


def _reliability(answers: Answers, bins: int) -> dict[str, Any] | None:
    found = binned(answers, bins)
    if found is None:
        return None
    seen = reliability(found)
    rows = zip(seen.edges, seen.edges[1:], seen.rows, seen.stated, seen.observed, strict=False)
    names = ("from", "to", "rows", "stated", "observed")
    return {
        "of": "every label" if answers.task == "multilabel" else "the most probable class",
        "bins": [
            {name: v.item() for name, v in zip(names, values, strict=True)} for values in rows
        ],
    }


def _against(
    config: PredictionsConfig,
    predictions: Predictions,
    other: Predictions,
    asked: Asked,
    draws: Draws,
    warnings: list[str],
) -> dict[str, Any]:
    both, mine, theirs = paired(predictions, other)
    if len(both) < len(predictions.scored):
        warnings.append(
            f"compared on {len(both)} of {len(predictions.scored)} rows:"
            f" `{config.against}` predicts no others"
        )
    found = compare(judge(mine, asked), judge(theirs, asked), draws.among(both))
    return {"path": config.against, **found.report(len(both))}


def _contradictions(answers: Answers) -> list[str]:
    """Columns or classes changed about show by predictions that are not the likeliest class."""
    shares = answers.probabilities
    if shares is None or answers.task != "classification":
        return []
    other = int((shares.argmax(1) != answers.predicted).sum())
    # with two classes a threshold of one's own may move many
    if other <= len(answers) * (0.5 if len(answers.classes) == 2 else 0.1):
        return []
    return [
        f"in {other} of {len(answers)} rows the prediction is not the class of the highest"
        " probability: are columns or classes changed about?"
    ]


def _warnings(predictions: Predictions, columns: ItemColumns) -> list[str]:
    found = []
    strange, silent = int(predictions.strange.sum()), int((~predictions.answered).sum())
    if strange:
        found.append(f"{strange} rows have a label that is no class: not scored")
    if silent:
        found.append(f"{silent} rows have no prediction: not scored")
    if columns.missing:
        found.append(f"{columns.missing} scored rows are not in `{columns.path}`")
    return found
