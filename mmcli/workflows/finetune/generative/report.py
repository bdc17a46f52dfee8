"""What the directory of a generative model says of itself: `report.html`, and a model card."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.metrics.captions import CIDER_D_MAX
from mmcli.report.charts import Interval, interval_chart
from mmcli.report.markdown import markdown_table
from mmcli.report.media import make_thumbnails, picture
from mmcli.report.page import figure, paragraph, rows_table, section, table
from mmcli.report.page import page as whole_page
from mmcli.report.page import text as escaped
from mmcli.report.run_page import epoch_chart, settings_section
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.loading import Base
from mmcli.workflows.fuse.report import shown_rows

#: Answers shown with their pictures.
_SHOWN = 24


def page(
    report: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    examples: Sequence[Example],
    said: Sequence[str],
) -> str:
    """Scores, each kind of question, answers with their pictures, curves, settings."""
    measure = report["measure"]
    sections = [
        section(
            "How good it is",
            [
                *(paragraph(line) for line in report["lines"]),
                *(paragraph(line, note=True) for line in report["cautions"]),
                rows_table(report["table"]),
                figure(_bars(report), f"{measure} and its 95 % interval"),
            ],
        )
    ]
    if report["kinds"]:
        rows = [
            [name, *(one[key] for key in ("score", "low", "high", "n"))]
            for name, one in report["kinds"].items()
        ]
        columns = ["kind", measure, "low", "high", "rows"]
        sections.append(section("By kind of question", [table(columns, rows)]))
    sections.append(section("Answers", [_answers(examples, said)]))
    if history:
        sections.append(section("Curves", _curves(history)))
    sections.append(settings_section(_settings(report)))
    return whole_page(f"{report['task']} by {report['base']}", sections)


def card(report: Mapping[str, Any], base: Base, command: str, folder: str) -> str:
    """The model card, in Markdown. folder: that of the model or of its adapter."""
    family, rows = base.family, report["rows"]
    loads = f'`transformers.{base.class_name}.from_pretrained("{folder}")`'
    if report["adapter"]:
        loads = f'`peft.PeftModel.from_pretrained(base, "{folder}")` on its base'
    lines = "\n".join(f"- {line}" for line in [*report["lines"], *report["cautions"]])
    strategy = ", ".join(f"{part} {name}" for part, name in report["strategy"].items())
    return f"""# {report["task"]} by {family.name}

`{base.reference}` ({base.class_name}), tuned: {strategy}. {report["trainable"]} of
{report["parameters"]} parameters learned. The family's paper: {family.paper}. The base keeps its
own licence; that of `{family.hub}` is {family.licence}.

## Made by

```sh
{command or "mmcli finetune"}
```

{rows["train"]} train, {rows["val"]} val and {rows["test"]} test rows ({report["splits"]}).

## Scores

{lines}

{markdown_table(shown_rows(report["table"]))}

{_measures(report["task"])}

## Use

`mmcli predict MODEL DATA -o PREDICTIONS`, or {loads}. Answers are the likeliest words, and may be
wrong with confidence; the scores hold for data like that of the {report["scored_rows"]} rows.
"""


def _measures(task: str) -> str:
    if task == "vqa":
        return (
            "`vqa_accuracy` is the soft score over the annotators of a question, `exact` the share"
            " of answers that equal one of them after normalisation."
        )
    return (
        f"`cider_d` goes from 0 to {CIDER_D_MAX:g} (Vedantam et al. 2015), `bleu_4` from 0 to 1;"
        " both compare with what people wrote, a picture at a time."
    )


def _bars(report: Mapping[str, Any]) -> str:
    measure = report["measure"]
    bars = [Interval(r["model"], r[measure], r["low"], r["high"]) for r in report["table"]]
    highest = max((bar.high or bar.value for bar in bars), default=1.0)
    return interval_chart(bars, 0.0, max(1.0, highest))


def _answers(examples: Sequence[Example], said: Sequence[str]) -> str:
    """Wrong answers first, since there is more to learn from them."""
    rows = list(zip(examples, said, strict=True))
    rows.sort(key=lambda row: row[1] in row[0].references)
    rows = rows[:_SHOWN]
    thumbnails = make_thumbnails([path for example, _ in rows for path in example.images[:1]])
    tiles = []
    for example, text in rows:
        right = " right" if text in example.references else ""
        shown = picture(example.images[0], example.id, thumbnails) if example.images else ""
        words = [example.question, f"said: {text}", f"true: {example.answer}", example.id]
        body = "".join(f"<p>{escaped(line)}</p>" for line in words if line)
        tiles.append(f'<div class="tile{right}">{shown}{body}</div>')
    return f'<div class="grid">{"".join(tiles)}</div>\n'


def _curves(history: Sequence[Mapping[str, Any]]) -> list[str]:
    labels = {"loss": "train loss, nats a token", "score": "validation score"}
    return [epoch_chart({label: history}, name, label) for name, label in labels.items()]


def _settings(report: Mapping[str, Any]) -> list[list[Any]]:
    names = ("base", "revision", "prompt", "label", "splits", "metric", "device", "precision")
    rows: list[list[Any]] = [[name, report[name]] for name in names if report.get(name)]
    for group in ("strategy", "rows", "chosen", "writing", "tokens"):
        rows += [[f"{group}: {name}", value] for name, value in report[group].items()]
    rows += [["trainable", report["trainable"]], ["parameters", report["parameters"]]]
    return [*rows, ["best epoch", report["best_epoch"]], ["seconds", report.get("seconds")]]
