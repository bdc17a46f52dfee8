"""What a fusion's directory says of itself: `report.html`, and a model card in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.fusion.registry import FusionSpec
from mmcli.report.charts import Interval, interval_chart
from mmcli.report.markdown import markdown_table
from mmcli.report.page import figure, paragraph, rows_table, section, side_by_side, table
from mmcli.report.page import page as whole_page
from mmcli.report.run_page import counts_line, epoch_chart, settings_section


def page(report: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """The report: verdict, the honest table, what each modality is worth, the curves."""
    measure = report["metric"]
    sections = [
        section("Does fusing help?", [paragraph(line) for line in verdict_lines(report)]),
        section(
            "Every model",
            [
                paragraph(scored(report), note=True),
                rows_table(report["table"]),
                figure(_bars(report), f"{measure} and its 95 % interval"),
            ],
        ),
    ]
    if report["subsets"]:
        sections.append(section("What each modality is worth", _worth(report)))
    if report["race"]:
        sections.append(section("The race", [rows_table(report["race"])]))
    if history:
        sections.append(section("Curves", _curves(history, measure)))
    sections.append(settings_section(_settings(report)))
    title = (
        f"{report['method']}: {report['label']['column']} from {', '.join(report['modalities'])}"
    )
    return whole_page(title, sections, report.get("space", ""))


def verdict_lines(report: Mapping[str, Any]) -> list[str]:
    """One sentence for each comparison: what was gained, how sure that is."""
    lines = []
    for found in report["verdicts"]:
        sure = (
            f", 95 % interval {found['low']:+.3f} to {found['high']:+.3f}, p {found['p']:.2g}"
            if found["low"] == found["low"]  # NaN where one row says nothing of others
            else ""
        )
        lines.append(
            f"{found['method']} against {found['against']}: {found['verdict']}"
            f" ({found['measure']} {found['gain']:+.3f}{sure})"
        )
    if not lines:
        lines.append("there is nothing to compare with: one modality, one model")
    return lines


def shown_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The table with three decimals, for a terminal or a card; what is not a number is absent."""
    return [{name: _shown(name, value) for name, value in row.items()} for row in rows]


def _shown(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if value != value:
        return None
    return f"{value:.2g}" if name == "p (rows)" and value < 0.01 else f"{value:.3f}"


def card(report: Mapping[str, Any], spec: FusionSpec, command: str) -> str:
    """The model card, in Markdown: what it is, what it was trained on, how well it does."""
    label = report["label"]
    reads = "\n".join(
        f"- {name}: {', '.join(m['keys'])}" for name, m in report["modalities"].items()
    )
    rows = report["rows"]
    verdicts = "\n".join(f"- {line}" for line in verdict_lines(report))
    classes = f" ({', '.join(label['classes'][:20])})" if label["classes"] else ""
    return f"""# {report["method"]}: `{label["column"]}` from {", ".join(report["modalities"])}

{spec.summary[0].upper()}{spec.summary[1:]}. Formula: `{spec.formula}`. Source: {spec.paper}.

## Made by

```sh
{command or "mmcli fuse train"}
```

{rows["train"]} train, {rows["val"]} val and {rows["test"]} test rows ({report["splits"]}), seed
{report["kept_seed"]} of {report["seeds"]}. The label is {label["kind"]}{classes}.

## Reads

{reads}

## Scores

{scored(report)}

{verdicts}

{markdown_table(shown_rows(report["table"]))}

## Use

`mmcli predict MODEL STORE -o PREDICTIONS`, `mmcli fuse apply MODEL STORE -o FUSED`. It fits stores
of the encoders it was trained on and no others; a modality may be missing. The scores hold for data
like that of the {report["scored_rows"]} rows.
"""


def scored(report: Mapping[str, Any]) -> str:
    """Of which rows the scores are, and how they came about."""
    which = report["scored_rows"]
    caveat = "" if which == "test" else f" No row is `test`: these are the {which} rows."
    seeds = report["seeds"]
    return (
        f"{report['metric']} of the {which} rows, mean of {seeds} seed{'s' * (seeds > 1)};"
        f" intervals at 95 % over rows and seeds. Every model had the same budget.{caveat}"
    )


def _bars(report: Mapping[str, Any]) -> str:
    measure = report["metric"]
    bars = [Interval(r["model"], r[measure], r["low"], r["high"]) for r in report["table"]]
    highest = max((bar.high or bar.value for bar in bars), default=1.0)
    lowest = min((bar.low or bar.value for bar in bars), default=0.0)
    return interval_chart(bars, min(0.0, lowest), max(1.0, highest) if highest <= 1 else highest)


def _worth(report: Mapping[str, Any]) -> list[str]:
    found, measure = report["contribution"], report["metric"]
    share = table(
        ["modality", f"Shapley value of {measure}"],
        [
            ["(nothing known)", found["nothing"]],
            *([n, v] for n, v in found["values"].items()),
            ["all together", found["all"]],
        ],
    )
    parts = table(
        ["modalities", measure],
        [[" + ".join(row["modalities"]), row[measure]] for row in report["subsets"]],
    )
    words = "The values sum to the score of all modalities together."
    return [paragraph(words, note=True), side_by_side([share, parts])]


def _curves(history: Sequence[Mapping[str, Any]], measure: str) -> list[str]:
    labels = {"loss": "mean train loss", "score": f"mean validation {measure}"}
    return [
        epoch_chart({label: history}, name, label, f"{label}, over all models")
        for name, label in labels.items()
    ]


def _settings(report: Mapping[str, Any]) -> list[list[Any]]:
    rows = counts_line(report["rows"])
    found: list[list[Any]] = [["splits", report["splits"]], ["rows", rows]]
    found += [[f"{n} keys", ", ".join(m["keys"])] for n, m in report["modalities"].items()]
    found += [[name, value] for name, value in report["chosen"].items()]
    found += [["label", f"{report['label']['kind']}: {report['label']['why']}"]]
    found += [["device", f"{report['device']} {report['precision']}"]]
    return [*found, ["epochs", report["epochs"]], ["seconds", report.get("seconds")]]
