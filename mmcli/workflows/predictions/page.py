"""The page of predictions: scores, confusions, reliability, slices, calibration, and a scatter."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcli.report.charts import Interval, interval_chart
from mmcli.report.page import figure, page, paragraph, rows_table, section, table
from mmcli.report.reliability import ReliabilityCurve, reliability_chart
from mmcli.report.scatter import predicted_figure
from mmcli.store.atomic import write_bytes
from mmcli.workflows.evaluate.zeroshot_tables import confused_rows
from mmcli.workflows.predictions import tables
from mmcli.workflows.predictions.answers import Answers
from mmcli.workflows.predictions.measures import LESS_IS_BETTER

#: Classes up to which the whole confusion matrix is shown, and points of a scatter.
MOST_CLASSES = 24
PAIRED_NOTE = (
    "Differences on the same rows: {}; intervals by paired bootstrap, p by a two-sided sign-flip"
    " permutation test where the measure is a mean over rows."
)


def write_page(path: Path, answers: Answers, report: Mapping[str, Any]) -> None:
    """Write the page of a report. answers: the rows that it is of."""
    sections = [
        section("What was scored", [rows_table(tables.fact_rows(report))]),
        section("Scores", _scores(report)),
    ]
    if answers.task == "regression":
        sections.append(
            section("Predicted and true", [predicted_figure(answers.truth, answers.predicted)])
        )
    if report["reliability"] is not None:
        sections.append(section("Reliability", [_reliability(report)]))
    if "calibration" in report:
        note = PAIRED_NOTE.format("after minus before")
        blocks = [
            rows_table(tables.calibration_facts(report)),
            rows_table(tables.calibration_rows(report)),
            paragraph(note, note=True),
        ]
        sections.append(section("Calibration", blocks))
    if "against" in report:
        found = report["against"]
        blocks = [
            paragraph(f"{found['rows']} rows are in both."),
            rows_table(tables.against_rows(report)),
            paragraph(PAIRED_NOTE.format("this minus the other"), note=True),
        ]
        sections.append(section(f"Against {found['path']}", blocks))
    if report.get("slices"):
        sections.append(section("Slices", [rows_table(tables.slice_rows(report))]))
    if report.get("per_class"):
        sections.append(section("Classes", [rows_table(tables.class_rows(report))]))
    if report.get("confusion"):
        sections.append(section("Confusions", _confusions(report)))
    title = f"Predictions · {Path(report['predictions']).resolve().name}"
    write_bytes(path, page(title, sections, "mmcli evaluate predictions").encode())


def _scores(report: Mapping[str, Any]) -> list[str]:
    bars = [
        Interval(name, entry["value"], *_ends(entry))
        for name, entry in report["measures"].items()
        if name not in LESS_IS_BETTER and entry["value"] >= 0
    ]
    less = [name for name in report["measures"] if name in LESS_IS_BETTER]
    blocks = [rows_table(tables.shown_measure_rows(report))]
    if less:
        blocks.append(paragraph(f"Less is better: {', '.join(less)}.", note=True))
    return [*blocks, *([figure(interval_chart(bars))] if bars else [])]


def _ends(entry: Mapping[str, float]) -> tuple[float | None, float | None]:
    known = math.isfinite(entry["low"]) and math.isfinite(entry["high"])
    return (entry["low"], entry["high"]) if known else (None, None)


def _reliability(report: Mapping[str, Any]) -> str:
    curves = [_curve("as given", report["reliability"])]
    if "calibration" in report:
        curves.append(_curve("calibrated", report["calibration"]["reliability"]))
    caption = (
        f"The probability of {report['reliability']['of']} in bins of equal width; under the dashed"
        " line it is too high."
    )
    return figure(reliability_chart(curves), caption)


def _curve(name: str, found: Mapping[str, Any]) -> ReliabilityCurve:
    bins = found["bins"]
    stated, observed, rows = (
        [one[what] for one in bins] for what in ("stated", "observed", "rows")
    )
    return ReliabilityCurve(name, stated, observed, rows)


def _confusions(report: Mapping[str, Any]) -> list[str]:
    blocks = []
    classes, matrix = report["confusion"]["classes"], report["confusion"]["matrix"]
    if len(classes) <= MOST_CLASSES:
        note = "Rows: the true class; columns: the class that was said."
        counts = [[label, *row] for label, row in zip(classes, matrix, strict=True)]
        blocks = [table(["", *classes], counts), paragraph(note, note=True)]
    confused = confused_rows(report)
    return [*blocks, rows_table(confused)] if confused else blocks
