"""What the directory of a question answering says of itself: `report.html`, and a model card."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.report.charts import Interval, interval_chart
from mmcli.report.markdown import markdown_table
from mmcli.report.media import make_thumbnails, picture
from mmcli.report.page import figure, paragraph, rows_table, section
from mmcli.report.page import page as whole_page
from mmcli.report.page import text as escaped
from mmcli.report.reliability import ReliabilityCurve, reliability_chart
from mmcli.report.run_page import counts_line, epoch_chart, settings_section
from mmcli.workflows.finetune.vqa.judge import MEASURE


def page(report: Mapping[str, Any], history: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Scores, types of question, confident errors with their pictures, curves, settings."""
    bars = [
        Interval(row["model"], row[MEASURE], row["low"], row["high"]) for row in report["table"]
    ]
    sections = [
        section(
            "How good it is",
            [
                *(paragraph(line) for line in report["lines"]),
                *(paragraph(line, note=True) for line in report["cautions"]),
                rows_table(report["table"]),
                figure(interval_chart(bars), f"{MEASURE} and its 95 % interval"),
            ],
        ),
        section("By type of question", [rows_table(report["by_type"])]),
        section(
            "With a part hidden",
            [
                paragraph("The same model when it is not shown one of the two.", note=True),
                rows_table(report["hidden"]),
            ],
        ),
        section("Calibration", [_calibration(report["calibration"])]),
        section("Most confident errors", [_errors(report["errors"])]),
        section("Frequent answers", [rows_table(report["answers"])]),
        section("Curves", _curves(history)),
        settings_section(settings_of(report)),
    ]
    return whole_page("Answers to questions about pictures", sections, report["command"])


def settings_of(report: Mapping[str, Any]) -> list[list[Any]]:
    """What was chosen, and what it ran on."""
    rows = counts_line(report["rows"])
    found: list[list[Any]] = [["splits", report["splits"]], ["rows", rows]]
    found += [["pictures", report["pictures"]], ["different questions", report["questions"]]]
    found += [[f"{name} keys", ", ".join(keys)] for name, keys in report["keys"].items()]
    found += [[name, value] for name, value in report["chosen"].items()]
    found += [["parameters", report["parameters"]]]
    return [*found, ["device", f"{report['device']} {report['precision']}"]]


def card(report: Mapping[str, Any], command: str) -> str:
    """The model card, in Markdown."""
    scores = [
        {"model": row["model"]} | {name: f"{row[name]:.3f}" for name in (MEASURE, "low", "high")}
        for row in report["table"]
    ]
    lines = "\n".join(f"- {line}" for line in [*report["lines"], *report["cautions"]])
    keys = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in report["keys"].items())
    counts = report["rows"]
    return f"""# Answers to questions about pictures

One of {report["vocabulary"]} answers that the train rows have, by `{report["method"]}` on frozen
features. {keys}. {report["parameters"]} parameters learned.

## Made by

```sh
{command or "mmcli finetune --task vqa"}
```

{counts["train"]} train, {counts["val"]} val and {counts["test"]} test rows ({report["splits"]}).

## How good it is

Of the {report["scored_rows"]} rows, with 95 % intervals over values of `{report["groups"]}`:

{markdown_table(scores)}

{lines}

An answer that is not among the {report["vocabulary"]} is never given; {report["unanswerable"]} of
the {report["scored_rows"]} rows have no other.
"""


def _errors(errors: Sequence[Mapping[str, Any]]) -> str:
    thumbnails = make_thumbnails([one["image"] for one in errors if one["image"]])
    tiles = []
    for one in errors:
        shown = picture(one["image"], one["id"], thumbnails) if one["image"] else ""
        true = ", ".join(one["answers"])
        tiles.append(
            f'<div class="tile">{shown}<p><b>{escaped(one["question"])}</b></p>'
            f"<p>said {escaped(one['said'])} ({one['confidence']:.2f}), true {escaped(true)}</p>"
            f'<p class="note">{escaped(one["id"])}</p></div>'
        )
    if not tiles:
        return paragraph("none", note=True)
    return f'<div class="grid">{"".join(tiles)}</div>\n'


def _calibration(found: Mapping[str, Any]) -> str:
    curve = ReliabilityCurve("answers", found["stated"], found["observed"], found["rows"])
    words = f"how sure it is against what that scores; expected error {found['ece']:.3f}"
    return figure(reliability_chart([curve]), words)


def _curves(history: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    labels = {"loss": "train loss", "score": f"validation {MEASURE}"}
    return [epoch_chart(history, name, label) for name, label in labels.items()]
