"""`report.html` of a fine-tuned model: how good it is, where it fails, how it came about.

Made of the report that `metrics.json` keeps; knows nothing about how any of it was found.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmcli.report.charts import Interval, Series, interval_chart, line_chart
from mmcli.report.confusion import MOST_CLASSES, confusion_chart
from mmcli.report.page import figure, heading, paragraph, section, table, text
from mmcli.report.page import page as whole_page
from mmcli.report.reliability import ReliabilityCurve, reliability_chart
from mmcli.report.residuals import residual_histogram
from mmcli.report.scatter import scatter_chart
from mmcli.store.reader import Store
from mmcli.workflows.answers import Answers
from mmcli.workflows.finetune_report_analysis import Analysis
from mmcli.workflows.finetune_report_errors import STYLE, error_tiles
from mmcli.workflows.fuse_report import scored, verdict_lines
from mmcli.workflows.prediction_measures import LESS_IS_BETTER
from mmcli.workflows.predictions_tables import calibration_rows
from mmcli.workflows.retrieval_page import rows_table
from mmcli.workflows.retrieval_tables import digits, with_interval
from mmcli.workflows.zeroshot_tables import confused_rows

#: Points of a scatter, bars of a chart, columns named under an error, letters beside a bar.
MOST_POINTS, MOST_BARS, MOST_NAMED, LONGEST_NAME = 2000, 40, 4, 26
_STYLE = (
    STYLE
    + """
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1rem; }
.pair figure { margin: 0; } figure.wide { max-width: none; width: fit-content; max-width: 100%; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem; white-space: pre-wrap; } summary { cursor: pointer; color: var(--dim); }
"""
)


def finetune_page(
    report: Mapping[str, Any],
    analysis: Analysis,
    history: Sequence[Mapping[str, Any]],
    store: Store,
    command: str = "",
    told: Mapping[str, Any] | None = None,
) -> str:
    """The whole page. analysis: of the kept model. history: the records of all stages; those
    without a `stage` are of the first. told: every option of the run."""
    found, measure = analysis.told, report["metric"]
    sections = [
        section("Does it help?", [paragraph(line) for line in verdict_lines(report)]),
        section("Every model", _models(report)),
        section("Curves", _curves(history, measure)) if history else "",
        section(f"Scores of {report['kept']}", _scores(report, found)),
        _outcomes(analysis),
        section("Calibration", _calibration(found)) if found["calibration"] else "",
        section("Slices", _slices(found["slices"], measure)) if found["slices"] else "",
        section("Modalities", _modalities(report, found)) if found["modalities"] else "",
        section("Errors", _errors(found, store)),
    ]
    if report.get("curve"):
        sections.append(section("Learning curve", _learning(report["curve"], measure)))
    if report.get("race"):
        sections.append(section("The race", [rows_table(report["race"])]))
    if report.get("tuning"):
        sections.append(section("Towers", _towers(report)))
    sections.append(section("Settings", _settings(report, command, told or {})))
    title = (
        f"{report.get('task') or 'model'}: {report['label']['column']} from"
        f" {', '.join(report['modalities'])} by {report['kept']}"
    )
    return whole_page(title, sections, report.get("space") or "mmcli finetune", _STYLE)


def _models(report: Mapping[str, Any]) -> list[str]:
    """The honest table, each value with its interval in one cell."""
    measure, gain = report["metric"], f"gain on {report['best_single']}"
    rows, bars = [], []
    for row in report["table"]:
        shown = {"model": row["model"], "parameters": row["parameters"]}
        bars.append(_bar(row["model"], {**row, "value": row[measure]}))
        for name, value in row.items():
            if name == measure:
                shown[name] = _cell(value, row["low"], row["high"])
            elif name == gain:
                shown[name] = _cell(value, row["gain low"], row["gain high"])
            elif name not in ("low", "high", "gain low", "gain high") and value is not None:
                shown[name] = value
        rows.append(shown)
    last = [name for name in (gain, "p (rows)") if any(name in row for row in rows)]
    rows = [{**r, **{name: r.pop(name, None) for name in last}} for r in rows]
    return [
        paragraph(scored(report), note=True),
        rows_table(rows),
        figure(_bars(bars), _bars_caption(measure)),
    ]


def _curves(history: Sequence[Mapping[str, Any]], measure: str) -> list[str]:
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
        blocks.append(_pair(*charts))
    return blocks


def _scores(report: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Every measure of the model that is kept, which is of one seed."""
    seeds, of = report["seeds"], found["intervals"]
    one = f"The kept model is that of seed {report['kept_seed']}, the best of {seeds} on val."
    drawn = f"groups of {of['groups']}" if of["groups"] else "rows"
    note = (
        f"{one if seeds > 1 else ''} Intervals at {of['level']:.0%}: {of['resamples']} resamples of"
        f" {of['drawn']} {report['scored_rows']} {drawn}."
    )
    rows = [
        {"measure": name, **{n: digits(entry[n]) for n in ("value", "low", "high")}}
        for name, entry in found["measures"].items()
    ]
    less = [name for name in found["measures"] if name in LESS_IS_BETTER]
    blocks = [paragraph(note.strip(), note=True), rows_table(rows)]
    if less:
        blocks.append(paragraph(f"Less is better: {', '.join(less)}.", note=True))
    return blocks


def _outcomes(analysis: Analysis) -> str:
    """Confusions of classes, each label's counts, or residuals."""
    found, answers = analysis.told, analysis.answers
    if answers.task == "regression":
        return section("Residuals", _residuals(answers))
    blocks = []
    if "confusion" in found and len(answers.classes) <= MOST_CLASSES:
        chart = confusion_chart(answers.classes, found["confusion"]["matrix"])
        caption = "Rows: the true class; columns: the class that was said; shares of the row."
        under = f"<figcaption>{text(caption)}</figcaption>"
        blocks.append(f'<figure class="wide">{chart}{under}</figure>\n')
    confused = confused_rows(found) if "confusion" in found else []
    each = [
        {**row, **{n: digits(row[n]) for n in ("precision", "recall", "f1")}}
        for row in found["per_class"]
    ]
    tables = [heading("Each class") + rows_table(each)]
    if confused:
        tables.append(heading("What is taken for what") + rows_table(confused))
    return section("Classes", [*blocks, _pair(*tables)])


def _residuals(answers: Answers) -> list[str]:
    rows = np.arange(len(answers))
    if len(rows) > MOST_POINTS:
        rows = np.linspace(0, len(answers) - 1, MOST_POINTS).astype(np.int64)
    truth, predicted = answers.truth[rows].tolist(), answers.predicted[rows].tolist()
    of = "" if len(rows) == len(answers) else f" of {len(answers)}"
    charts = [
        figure(scatter_chart(truth, predicted, "true", "predicted"), f"{len(rows)}{of} rows"),
        figure(
            residual_histogram((answers.predicted - answers.truth).tolist()),
            "Right of the dashed line too much was predicted, left of it too little.",
        ),
    ]
    return [_pair(*charts)]


def _calibration(found: Mapping[str, Any]) -> list[str]:
    of = found["calibration"]
    curves = [_reliability("as given", of["bins"])]
    blocks = []
    ece = found["measures"]["ece"]
    words = f"Expected calibration error {with_interval(ece)}, in {len(of['bins'])} bins."
    if of["temperature"] is not None:
        curves.append(_reliability(f"temperature {of['temperature']:.3g}", of["bins_after"]))
        words += (
            f" A temperature of {of['temperature']:.3g}, fitted on {of['val_rows']} val rows, would"
            " change it as below; `predict` gives probabilities as they are."
        )
        shown = calibration_rows({"calibration": {"measures": of["change"]}})
        blocks = [rows_table(shown)]
    caption = (
        f"The probability of {of['of']} in bins of equal width; under the dashed line it is too"
        " high."
    )
    return [paragraph(words), *blocks, figure(reliability_chart(curves), caption)]


def _reliability(name: str, bins: Sequence[Mapping[str, Any]]) -> ReliabilityCurve:
    stated, observed, rows = ([one[w] for one in bins] for w in ("stated", "observed", "rows"))
    return ReliabilityCurve(name, stated, observed, rows)


def _slices(found: Sequence[Mapping[str, Any]], measure: str) -> list[str]:
    rows = [
        {
            "slice": f"{one['slice']} = {one['value']}",
            "rows": one["rows"],
            measure: with_interval(one["score"]),
        }
        for one in found
    ]
    bars = [
        _bar(f"{one['slice']} = {one['value']} ({one['rows']})", one["score"]) for one in found
    ][:MOST_BARS]
    note = (
        "Columns with 2 to 20 different values. Where intervals do not overlap the model may be"
        " worse for some; of many slices some differ by chance."
    )
    return [
        paragraph(note, note=True),
        _pair(rows_table(rows), figure(_bars(bars), _bars_caption(measure))),
    ]


def _modalities(report: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What each is worth to the trained model: alone, left out, and by Shapley values."""
    measure, worth = report["metric"], report.get("contribution") or {}
    rows, bars = [], []
    for one in found["modalities"]:
        name = one["modality"]
        rows.append(
            {
                "modality": name,
                f"alone: {measure}": with_interval(one["alone"]),
                f"left out: {measure}": with_interval(one["without"]),
                "what it costs to leave it out": with_interval(one["loss"]),
                "Shapley value": worth.get("values", {}).get(name),
            }
        )
        bars.append(_bar(f"{name} alone", one["alone"]))
        if len(found["modalities"]) > 2:  # else it is the other alone
            bars.append(_bar(f"without {name}", one["without"]))
    whole = found["measures"].get(measure) or ({"value": worth["all"]} if worth else None)
    note = (
        "The model as it is, with a part taken as absent from every row; it was not trained again."
        " What it costs is signed so that more means that the part is needed more."
    )
    if worth:
        note += (
            f" Shapley values are of {measure}, and sum with {worth['nothing']:.4g} of nothing"
            f" known to {worth['all']:.4g} of all."
        )
    blocks = [paragraph(note, note=True), rows_table(rows)]
    all_bars = [_bar("all", whole), *bars] if whole else bars
    chart = figure(_bars(all_bars), _bars_caption(measure))
    parts = [
        {"modalities": " + ".join(row["modalities"]), measure: row[measure]}
        for row in report.get("subsets") or []
    ]
    if 2 < len(found["modalities"]) < 6 and parts:
        return [*blocks, _pair(rows_table(parts), chart)]
    return [*blocks, chart]


def _errors(found: Mapping[str, Any], store: Store) -> list[str]:
    of = found["errors"]
    if "sure" in of:
        words = (
            f"{of['wrong']} of {of['rows']} rows are wrong, {of['sure']} of them with a probability"
            " of 0.9 or more. Those that were said with most confidence:"
        )
    else:
        words = f"The largest errors of {of['rows']} rows:"
    if not of["shown"]:
        return [paragraph(f"None of {of['rows']} rows is wrong.")]
    columns = list(dict.fromkeys(one["slice"] for one in found["slices"]))[:MOST_NAMED]
    return [paragraph(words), error_tiles(of["shown"], store, columns)]


def _learning(curve: Sequence[Mapping[str, Any]], measure: str) -> list[str]:
    series, bars, rows = [], [], []
    for what, before in (("chosen fusion", ""), ("best single modality", "single ")):
        points = [r for r in curve if r.get(f"{before}{measure}") is not None]
        x, y = [r["train rows"] for r in points], [r[f"{before}{measure}"] for r in points]
        series.append(Series(what, x, y))
    for row in curve:
        shown = {"share": f"{100 * row['share']:.4g} %", "train rows": row["train rows"]}
        for before in ("", "single "):
            score = {n: row.get(f"{before}{n}") for n in ("low", "high")}
            score["value"] = row.get(f"{before}{measure}")
            if score["value"] is None:
                continue
            model = row[f"{before}model"]
            bars.append(_bar(f"{row['train rows']} · {model}", score))
            shown |= {f"{before}model": model, f"{before}{measure}": _cell(**score)}
        rows.append(shown)
    note = (
        "Nested shares of the train rows, the same val and test rows. Heads on frozen features"
        " only: tuned towers are not trained on each share. The fusion and the single modality are"
        " those that val chose with these rows."
    )
    charts = [
        figure(line_chart(series, "train rows", measure)),
        figure(_bars(bars), _bars_caption(measure)),
    ]
    return [paragraph(note, note=True), rows_table(rows), _pair(*charts)]


def _towers(report: Mapping[str, Any]) -> list[str]:
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


def _settings(report: Mapping[str, Any], command: str, told: Mapping[str, Any]) -> list[str]:
    rows = ", ".join(f"{n} {c}" for n, c in report["rows"].items())
    found: list[list[Any]] = [
        ["data", report.get("data")],
        ["label", f"{report['label']['kind']}: {report['label']['why']}"],
        ["rows", rows],
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


def _bar(name: str, score: Mapping[str, Any]) -> Interval:
    ends = [score.get(end) for end in ("low", "high")]
    known = all(end is not None and math.isfinite(end) for end in ends)
    short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return Interval(short, float(score["value"]), *(ends if known else (None, None)))


def _bars(bars: Sequence[Interval]) -> str:
    """From 0, or the lowest end below it, to 1, or the highest end beyond it."""
    lowest = min((b.value if b.low is None else b.low for b in bars), default=0.0)
    highest = max((b.value if b.high is None else b.high for b in bars), default=1.0)
    low = min(0.0, lowest) if math.isfinite(lowest) else 0.0
    return interval_chart(bars, low, max(1.0, highest) if math.isfinite(highest) else 1.0)


def _bars_caption(measure: str) -> str:
    less = "; less is better" if measure in LESS_IS_BETTER else ""
    return f"{measure} and its 95 % interval{less}"


def _cell(value: float | None, low: float | None, high: float | None) -> str:
    """A value and its interval in one cell, three decimals each."""
    ends = {"value": value, "low": low, "high": high}
    return with_interval({n: math.nan if v is None else float(v) for n, v in ends.items()}, 3)


def _pair(*blocks: str) -> str:
    """Beside each other where the window is wide enough, each half of it."""
    return f'<div class="pair">{"".join(f"<div>{block}</div>" for block in blocks)}</div>\n'
