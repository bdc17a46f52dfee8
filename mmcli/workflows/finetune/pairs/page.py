"""What a model of pairs says of itself: `report.html`, and a model card in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.report.charts import Interval, interval_chart
from mmcli.report.markdown import markdown_table
from mmcli.report.page import figure, heading, paragraph, rows_table, section, table
from mmcli.report.page import page as whole_page
from mmcli.report.run_page import counts_line, epoch_chart, settings_section
from mmcli.workflows.fuse.report import shown_rows

_LOSSES = ("loss", "contrastive", "matching", "masked")


def page(report: Mapping[str, Any], history: Sequence[Mapping[str, Any]], command: str) -> str:
    """Verdicts, every model in both directions, what else was learned, curves, settings."""
    metric = report["metric"]
    bars = [Interval(r["model"], r[metric], r["low"], r["high"]) for r in report["table"]]
    scores: list[str] = [paragraph(scored(report), note=True)]
    for name, rows in report["tables"].items():
        scores += [heading(name), rows_table(rows)]
    if bars:
        scores.append(figure(interval_chart(bars), f"{metric} and its 95 % interval"))
    sections = [
        section("Was anything learned?", [paragraph(line) for line in report["lines"]]),
        section("Scores", scores),
    ]
    if report["worth"]:
        rows = [[name, value] for name, value in report["worth"].items()]
        words = f"On the {report['scored_rows']} rows; losses in nats."
        blocks = [paragraph(words, note=True), table(["what", "value"], rows)]
        sections.append(section("What the losses came to", blocks))
    if len(report["seeds_scores"]) > 1:
        sections.append(section("Seeds", [rows_table(report["seeds_scores"])]))
    sections += [
        section("Curves", _curves(history)),
        settings_section(_settings(report)),
    ]
    return whole_page(f"{report['kept']}: {' and '.join(report['between'])}", sections, command)


def scored(report: Mapping[str, Any]) -> str:
    """Of which rows the scores are, and how they came about."""
    which = report["scored_rows"]
    caveat = "" if which == "test" else f" No row is `test`: these are the {which} rows."
    return (
        f"{report['rows']['scored']} {which} rows, each found among all of them, exactly; 95 %"
        f" intervals over rows.{caveat}"
    )


def card(report: Mapping[str, Any], command: str) -> str:
    """The model card, in Markdown: what it is, what it was trained on, how well it does."""
    between = " and ".join(report["between"])
    reads = "\n".join(
        f"- {name}: {', '.join(m['keys'])} ({m['strategy']})"
        for name, m in report["modalities"].items()
    )
    rows, first = report["rows"], report["between"][0]
    lines = "\n".join(f"- {line}" for line in report["lines"])
    losses = {
        "retrieval": "Contrast of pairs (Radford et al. 2021, arXiv 2103.00020).",
        "pretrain": "Contrast, matching and hidden parts given back, from pairs without labels (Li"
        " et al. 2021, arXiv 2107.07651; Tan and Bansal 2019, arXiv 1908.07490).",
    }[report["task"]]
    return f"""# {report["kept"]}: {between}

Two towers that meet in one space. {losses}

## Made by

```sh
{command or "mmcli finetune"}
```

{rows["train"]} train, {rows["val"]} val and {rows["test"]} test rows with both parts
({report["splits"]}), seed {report["kept_seed"]} of {report["seeds"]}.

## Reads

{reads}

## Scores

{scored(report)}

{lines}

{markdown_table(shown_rows(report["table"]))}

## Use

`mmcli extract DATA -o STORE {" ".join(f"--{n} model:DIR" for n in report["between"])}` gives both
in one space, for `mmcli retrieve index STORE` and `mmcli evaluate retrieval STORE --query {first}`.
`mmcli finetune --task TASK DATA -o MODEL --from DIR` reads the towers, and beside them the encoders
that they read. The scores hold for data like that of the {report["scored_rows"]} rows.
"""


def _curves(history: Sequence[Mapping[str, Any]]) -> list[str]:
    charts = []
    for name in ("score", *_LOSSES):
        runs: dict[str, list[Mapping[str, Any]]] = {}
        for record in history:
            if record.get(name) is not None:
                runs.setdefault(f"{record['stage']}, seed {record['seed']}", []).append(record)
        if runs:
            label = "score of the validation rows" if name == "score" else f"{name}, train rows"
            charts.append(epoch_chart(runs, name, label, f"{label}, by epoch"))
    return charts


def _settings(report: Mapping[str, Any]) -> list[list[Any]]:
    rows = counts_line(report["rows"])
    found: list[list[Any]] = [["data", report["data"]], ["rows", rows]]
    found += [["splits", report["splits"]], ["positives", report["positives"]]]
    for name, told in report["modalities"].items():
        found.append([name, f"{', '.join(told['keys'])}; {told['strategy']}"])
    found += [[name, value] for name, value in report["chosen"].items()]
    found += [["device", f"{report['device']} {report['precision']}"]]
    return [*found, ["seeds", report["seeds"]], ["seconds", report.get("seconds")]]
