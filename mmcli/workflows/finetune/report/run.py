"""How a fine-tuned model came about, as parts of its page: curves, shares, towers, settings.

Made of the report that `metrics.json` keeps; knows nothing about how good the model is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.report.charts import Series, line_chart
from mmcli.report.page import figure, heading, paragraph, rows_table, table, text
from mmcli.report.run_page import counts_line
from mmcli.workflows.finetune.report.bars import bar, bars_caption, bars_chart, cell, pair
from mmcli.workflows.fuse.report import scored
from mmcli.workflows.predictions.measures import LESS_IS_BETTER


def scored_line(report: Mapping[str, Any]) -> str:
    """Of which rows the scores are, and what each model was given."""
    line = scored(report)
    if report.get("tuning"):
        line += f" Only {report['kept']} had more: it went on from {report['method']}."
    return line


def curves(history: Sequence[Mapping[str, Any]], measure: str) -> list[str]:
    """Loss and validation score of each stage; a measure of which less is better as it is."""
    sign = -1.0 if measure in LESS_IS_BETTER else 1.0
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for record in history:
        stages.setdefault(str(record.get("stage") or "probe"), []).append(record)
    blocks = []
    for stage, records in stages.items():
        what = "all heads on frozen features" if stage == "probe" else "towers and head"
        if len(stages) > 1:
            blocks.append(heading(f"{stage}: {what}"))
        mean = "mean " if stage == "probe" else ""
        charts = []
        for name, label, times in (
            ("loss", f"{mean}train loss", 1.0),
            ("score", f"{mean}validation {measure}", sign),
        ):
            points = [r for r in records if r.get(name) is not None]
            curve = Series(label, [p["epoch"] for p in points], [times * p[name] for p in points])
            charts.append(figure(line_chart([curve], "epoch", label)))
        blocks.append(pair(*charts))
    return blocks


def learning_curve(curve: Sequence[Mapping[str, Any]], measure: str) -> list[str]:
    """The rows of `finetune_curve.learning_curve` as table and charts."""
    series, bars, rows = [], [], []
    for what, before in (("chosen fusion", ""), ("best single modality", "single ")):
        points = [r for r in curve if r.get(f"{before}{measure}") is not None]
        x, y = [r["train rows"] for r in points], [r[f"{before}{measure}"] for r in points]
        series.append(Series(what, x, y))
    for row in curve:
        shown: dict[str, Any] = {
            "share": f"{100 * row['share']:.4g} %",
            "train rows": row["train rows"],
        }
        for before in ("", "single "):
            score = {n: row.get(f"{before}{n}") for n in ("low", "high")}
            score["value"] = row.get(f"{before}{measure}")
            if score["value"] is None:
                continue
            model = row[f"{before}model"]
            bars.append(bar(f"{row['train rows']} · {model}", score))
            shown |= {f"{before}model": model, f"{before}{measure}": cell(**score)}
        rows.append(shown)
    note = (
        "Nested shares of the train rows, the same val and test rows. Heads on frozen features"
        " only: tuned towers are not trained on each share. The fusion and the single modality are"
        " those that val chose with these rows."
    )
    charts = [
        figure(line_chart(series, "train rows", measure)),
        figure(bars_chart(bars), bars_caption(measure)),
    ]
    return [paragraph(note, note=True), rows_table(rows), pair(*charts)]


def left_out(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows of `finetune_leave_out.leave_out`."""
    note = (
        "Each value of the column as a test set of its own, heads on frozen features trained on the"
        " others; the last row is the mean over values, its interval resamples them."
    )
    return [paragraph(note, note=True), rows_table(rows)]


def towers(report: Mapping[str, Any]) -> list[str]:
    """The table of strategies, and what the second stage took."""
    of = report["tuning"]
    rows = [
        {
            "tower": key,
            "strategy": one["strategy"],
            "trainable": one["trainable"],
            "parameters": one["parameters"],
            "share": f"{100 * one['trainable'] / max(1, one['parameters']):.2f} %",
            "rate": of["lr"].get(key),
        }
        for key, one in of["towers"].items()
    ]
    kept = "the mean of the best epochs" if of.get("averaged") else f"epoch {of['best_epoch']}"
    words = (
        f"{of['epochs']} epochs of {of['seconds_an_epoch']:.3g} s, {of['seconds']:.4g} s for all"
        f" seeds; kept: {kept}, chosen on val."
    )
    return [rows_table(rows), paragraph(words, note=True)]


def settings(report: Mapping[str, Any], command: str, told: Mapping[str, Any]) -> list[str]:
    """The command, what was chosen, and every option behind a fold."""
    found: list[list[Any]] = [
        ["data", report.get("data")],
        ["label", f"{report['label']['kind']}: {report['label']['why']}"],
        ["rows", counts_line(report["rows"])],
        ["splits", report["splits"]],
        *([f"{n} keys", ", ".join(m["keys"])] for n, m in report["modalities"].items()),
        *(
            [f"strategy{' of ' + n if n else ''}", s]
            for n, s in (report.get("strategy") or {}).items()
        ),
        *([name, value] for name, value in report["chosen"].items()),
        ["device", f"{report['device']} {report['precision']}"],
        ["epochs of the first stage", report["epochs"]],
        ["seconds", report.get("seconds")],
    ]
    blocks = [table(["setting", "value"], found)]
    if command:
        blocks.insert(0, f"<pre>{text(command)}</pre>\n")
    options = list(_flat(told))
    if options:
        every = table(["option", "value"], options)
        blocks.append(f"<details><summary>every option</summary>{every}</details>\n")
    return blocks


def _flat(told: Mapping[str, Any], before: str = "") -> list[list[Any]]:
    """`a.b` and its value, for whatever is said."""
    found: list[list[Any]] = []
    for name, value in told.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name or 'all'}.")
        elif value not in (None, "", [], ()):
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            found.append([f"{before}{name or 'all'}", shown])
    return found
