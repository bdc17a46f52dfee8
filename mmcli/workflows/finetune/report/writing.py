"""`report.html` of a fine-tuned model: how good it is, where it fails, how it came about.

Made of the report that `metrics.json` keeps; knows nothing about how any of it was found.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.report.confusion import MOST_CLASSES, confusion_chart
from mmcli.report.page import figure, heading, paragraph, rows_table, section, text
from mmcli.report.page import page as whole_page
from mmcli.report.reliability import ReliabilityCurve, reliability_chart
from mmcli.report.residuals import residual_histogram
from mmcli.report.scatter import predicted_figure
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.retrieval_tables import digits, with_interval
from mmcli.workflows.evaluate.zeroshot_tables import confused_rows
from mmcli.workflows.finetune.report.analysis import Analysis
from mmcli.workflows.finetune.report.bars import bar, bars_caption, bars_chart, cell, pair
from mmcli.workflows.finetune.report.errors import STYLE, error_tiles
from mmcli.workflows.finetune.report.run import (
    curves,
    learning_curve,
    left_out,
    scored_line,
    settings,
    towers,
)
from mmcli.workflows.fuse.report import verdict_lines
from mmcli.workflows.predictions.answers import Answers
from mmcli.workflows.predictions.measures import LESS_IS_BETTER
from mmcli.workflows.predictions.tables import calibration_rows

#: Points of a scatter, bars of a chart, columns named under an error.
MOST_BARS, MOST_NAMED = 40, 4
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
        section("Curves", curves(history, measure)) if history else "",
        section(f"Scores of {report['kept']}", _scores(report, found)),
        _outcomes(analysis),
        section("Calibration", _calibration(found)) if found["calibration"] else "",
        section("Slices", _slices(found["slices"], measure)) if found["slices"] else "",
        section("Modalities", _modalities(report, found)) if found["modalities"] else "",
        section("Errors", _errors(found, store)),
    ]
    if report.get("leave_out"):
        sections.append(section("Left out one at a time", left_out(report["leave_out"])))
    if report.get("curve"):
        sections.append(section("Learning curve", learning_curve(report["curve"], measure)))
    if report.get("race"):
        sections.append(section("The race", [rows_table(report["race"])]))
    if report.get("tuning"):
        sections.append(section("Towers", towers(report)))
    sections.append(section("Settings", settings(report, command, told or {})))
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
        shown: dict[str, Any] = {"model": row["model"], "parameters": row["parameters"]}
        bars.append(bar(row["model"], {**row, "value": row[measure]}))
        for name, value in row.items():
            if name == measure:
                shown[name] = cell(value, row["low"], row["high"])
            elif name == gain:
                shown[name] = cell(value, row["gain low"], row["gain high"])
            elif name not in ("low", "high", "gain low", "gain high") and value is not None:
                shown[name] = value
        rows.append(shown)
    last = [name for name in (gain, "p (rows)") if any(name in row for row in rows)]
    rows = [{**r, **{name: r.pop(name, None) for name in last}} for r in rows]
    return [
        paragraph(scored_line(report), note=True),
        rows_table(rows),
        figure(bars_chart(bars), bars_caption(measure)),
    ]


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
    if "majority_accuracy" in found:
        value = digits(found["majority_accuracy"])
        rows.append({"measure": "accuracy of the largest class", "value": value})
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
    return section("Classes", [*blocks, pair(*tables)])


def _residuals(answers: Answers) -> list[str]:
    charts = [
        predicted_figure(answers.truth, answers.predicted),
        figure(
            residual_histogram((answers.predicted - answers.truth).tolist()),
            "Right of the dashed line too much was predicted, left of it too little.",
        ),
    ]
    return [pair(*charts)]


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
    bars = [bar(f"{one['slice']} = {one['value']} ({one['rows']})", one["score"]) for one in found][
        :MOST_BARS
    ]
    note = (
        "Columns with 2 to 20 different values. Where intervals do not overlap the model may be"
        " worse for some; of many slices some differ by chance."
    )
    return [
        paragraph(note, note=True),
        pair(rows_table(rows), figure(bars_chart(bars), bars_caption(measure))),
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
        bars.append(bar(f"{name} alone", one["alone"]))
        if len(found["modalities"]) > 2:  # else it is the other alone
            bars.append(bar(f"without {name}", one["without"]))
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
    all_bars = [bar("all", whole), *bars] if whole else bars
    chart = figure(bars_chart(all_bars), bars_caption(measure))
    parts = [
        {"modalities": " + ".join(row["modalities"]), measure: row[measure]}
        for row in report.get("subsets") or []
    ]
    if 2 < len(found["modalities"]) < 6 and parts:
        return [*blocks, pair(rows_table(parts), chart)]
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
