"""What a few-shot ladder says of itself: rows for a terminal, `report.html` and a model card."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmcli.metrics.classification import class_counts, class_scores, confusion_matrix
from mmcli.report.charts import Interval, Series, interval_chart, line_chart
from mmcli.report.markdown import markdown_table
from mmcli.report.page import figure, paragraph, rows_table, section, table
from mmcli.report.page import page as whole_page
from mmcli.report.run_page import counts_line, settings_section
from mmcli.tuning.few_shot.registry import RungSpec
from mmcli.workflows.evaluate.retrieval_tables import with_interval
from mmcli.workflows.few_shot.data import FewShotData
from mmcli.workflows.finetune.config import FinetuneConfig

if TYPE_CHECKING:
    from mmcli.workflows.few_shot.climb import Kept

#: Pairs of classes that the report names as confused.
_CONFUSED = 10


def describe(
    config: FinetuneConfig,
    data: FewShotData,
    rungs: Sequence[RungSpec],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """What is about to be done: keys, classes, rows, rungs."""
    most = max(config.shots)
    train = data.counts("train")
    short = {data.classes[i]: int(train[i]) for i in np.flatnonzero(train < most)}
    return {
        "task": "classification",
        "model": config.output,
        "data": config.data,
        "label": {
            "column": data.labels.column,
            "kind": data.labels.kind,
            "why": data.labels.source,
            "classes": list(data.classes),
        },
        "keys": list(data.reader.keys),
        "text_key": data.reader.text_key,
        "rungs": [spec.name for spec in rungs],
        "shots": sorted(set(config.shots)),
        "draws": config.draws,
        "rows": {name: len(data.rows(name)) for name in ("train", "val", "test")},
        "splits": data.split_source,
        "groups": config.splits.group_by,
        "short": short,
        "warnings": list(warnings),
    }


def ladder_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a rung and number of shots, as a terminal shows it."""
    found = []
    for cell in report["ladder"]:
        spread = cell["over_draws"]
        found.append(
            {
                "rung": cell["rung"],
                "shots": cell["shots"],
                "rows": cell["rows"],
                "accuracy": with_interval(cell["accuracy"], 3),
                "macro_f1": with_interval(cell["macro_f1"], 3),
                "over draws": "" if spread is None else f"± {spread:.3f}",
                "trained": cell["trained"],
            }
        )
    return found


def note_lines(report: Mapping[str, Any]) -> list[str]:
    """What a reader of the table must know, a sentence each."""
    rows, draws = report["rows"], report["draws"]
    by = f" by {report['groups']}" if report["groups"] else ""
    if draws > 1:
        what = (
            f"Mean of {draws} draws on {rows['test']} test rows; intervals at 95 % over draws and"
        )
    else:
        what = (
            f"One draw, whose luck is not in the intervals: those are at 95 % over {rows['test']}"
        )
    lines = [
        f"{what} test rows{by}.",
        f"Splits: {report['splits']}.",
    ]
    if report["short"]:
        listed = ", ".join(f"{name} {count}" for name, count in list(report["short"].items())[:12])
        lines.append(
            f"{len(report['short'])} classes have fewer than {report['shots'][-1]} train rows and"
            f" give all they have: {listed}."
        )
    kept = report["kept"]
    of = f" of the first draw of {kept['shots']} shots" if kept["shots"] else ""
    why = f"best on {kept['judge_rows']} rows that are neither shots nor test rows"
    lines.append(
        f"Kept: {kept['rung']}{of}, {why}." if kept["judge_rows"] else f"Kept: {kept['rung']}{of}."
    )
    return lines


def verdict_lines(report: Mapping[str, Any]) -> list[str]:
    """Whether each rung rises from the fewest shots to the most, and how sure that is."""
    last = {step["rung"]: step for step in report["steps"]}
    return [
        f"{rung} from {step['from']} to {step['to']} shots: {step['verdict']} ({step['measure']}"
        f" {step['gain']:+.3f}, 95 % interval {step['low']:+.3f} to {step['high']:+.3f})"
        for rung, step in last.items()
    ]


def page(report: Mapping[str, Any], data: FewShotData, kept: "Kept") -> str:
    """The report: the ladder as chart and table, its steps, the kept model by class."""
    cells = report["ladder"]
    sections = [
        section("Do more shots help?", [paragraph(line) for line in verdict_lines(report)]),
        section(
            "The ladder",
            [
                *(paragraph(line, note=True) for line in note_lines(report)),
                figure(_curves(cells), "accuracy over shots of each class"),
                rows_table(ladder_rows(report)),
                *(
                    figure(_bars(cells, measure), f"{measure} and its 95 % interval")
                    for measure in ("accuracy", "macro_f1")
                ),
            ],
        ),
        section("Each step", [rows_table(report["steps"])]),
        section(f"What is kept: {report['kept']['rung']}", _by_class(report, data, kept)),
        settings_section(_settings(report)),
    ]
    if report["warnings"]:
        sections.append(section("Warnings", [paragraph(line) for line in report["warnings"]]))
    title = f"{report['label']['column']} from few shots, or none"
    return whole_page(title, sections, report["data"])


def card(report: Mapping[str, Any], kept: "Kept", command: str) -> str:
    """The model card, in Markdown: what it is, what it was made from, how well it does."""
    label, summary = report["label"], kept.spec.summary
    return f"""# {kept.spec.name}: `{label["column"]}` from {", ".join(report["keys"])}

{summary[0].upper()}{summary[1:]}. Formula: `{kept.spec.formula}`. Source: {kept.spec.paper}.

## Made by

```sh
{command or "mmcli finetune --task classification --shots"}
```

{kept.shots} shots of each of {len(label["classes"])} classes: {", ".join(label["classes"][:20])}.

## Scores

{" ".join(note_lines(report))}

{markdown_table(ladder_rows(report))}

{chr(10).join(f"- {line}" for line in verdict_lines(report))}

## Use

`mmcli predict MODEL STORE -o PREDICTIONS`. It fits stores of the encoders it was made with and no
others. `splits.parquet` holds the split of every row: `--split-file` takes it.
"""


def _curves(cells: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy over shots; what takes no shots is a level line."""
    last = max(cell["shots"] for cell in cells)
    series = []
    for rung in dict.fromkeys(cell["rung"] for cell in cells):
        mine = [cell for cell in cells if cell["rung"] == rung]
        x = [cell["shots"] for cell in mine]
        y = [cell["accuracy"]["value"] for cell in mine]
        level = x == [0]
        series.append(Series(rung, [0, last] if level else x, y * 2 if level else y))
    return line_chart(series, "shots", "accuracy")


def _bars(cells: Sequence[Mapping[str, Any]], measure: str) -> str:
    return interval_chart(
        [
            Interval(
                f"{c['rung']} · {c['shots']}" if c["shots"] else c["rung"],
                c[measure]["value"],
                *(
                    None if np.isnan(c[measure][end]) else c[measure][end]
                    for end in ("low", "high")
                ),
            )
            for c in cells
        ]
    )


def _by_class(report: Mapping[str, Any], data: FewShotData, kept: "Kept") -> list[str]:
    """Precision and recall of each class on the test rows, and what is taken for what."""
    n = len(data.classes)
    scores = class_scores(class_counts(kept.truth, kept.predicted, n))
    train, test = data.counts("train"), data.counts("test")
    rows = [
        [name, int(train[i]), int(test[i]), *(float(scores[s][i]) for s in scores)]
        for i, name in enumerate(data.classes)
    ]
    matrix = confusion_matrix(kept.truth, kept.predicted, n)
    np.fill_diagonal(matrix, 0)
    worst = np.argsort(-matrix, axis=None, kind="stable")[:_CONFUSED]
    pairs = [
        [data.classes[at // n], data.classes[at % n], int(matrix.flat[at])]
        for at in worst
        if matrix.flat[at]
    ]
    by_val = [[rung, score] for rung, score in report["kept"]["by_val"].items()]
    return [
        table(["rung", "accuracy on the rows it was chosen by"], by_val),
        table(["class", "train rows", "test rows", *scores], rows),
        table(["is", "is taken for", "test rows"], pairs),
    ]


def _settings(report: Mapping[str, Any]) -> list[list[Any]]:
    found: list[list[Any]] = [
        ["keys", ", ".join(report["keys"])],
        ["names in the space of", report["text_key"]],
        ["text encoder", report["text_encoder"]],
        ["prompts", " | ".join(report["prompts"])],
        ["label", f"{report['label']['kind']}: {report['label']['why']}"],
        ["rows", counts_line(report["rows"])],
        ["splits", report["splits"]],
    ]
    found += [[f"{name} of the kept model", v] for name, v in report["kept"]["settings"].items()]
    return [*found, *([f"seconds: {name}", s] for name, s in report["seconds"].items())]
