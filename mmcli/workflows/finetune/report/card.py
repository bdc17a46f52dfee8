"""The model card of a fine-tuned model, in Markdown: what it is, how it was made, its scores."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.fusion.registry import FusionSpec
from mmcli.report.markdown import markdown_table
from mmcli.workflows.evaluate.retrieval_tables import digits, with_interval
from mmcli.workflows.finetune.report.analysis import Analysis
from mmcli.workflows.finetune.report.run import scored_line
from mmcli.workflows.fuse.report import shown_rows, verdict_lines
from mmcli.workflows.predictions.measures import LESS_IS_BETTER

#: Rows from which the card names a slice.
_FEWEST_ROWS = 10


def finetune_card(
    report: Mapping[str, Any],
    analysis: Analysis,
    spec: FusionSpec,
    command: str = "",
    towers: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The card. towers: what `config.json` says of tuned encoders, by key."""
    label, rows, found = report["label"], report["rows"], analysis.told
    classes = f" ({', '.join(label['classes'][:20])})" if label["classes"] else ""
    task = f"--task {report['task']} " if report.get("task") else ""
    return f"""# {report["kept"]}: `{label["column"]}` from {", ".join(report["modalities"])}

{spec.summary[0].upper()}{spec.summary[1:]}. Formula: `{spec.formula}`. Source: {spec.paper}.

## Made by

```sh
{command or f"mmcli finetune {task}{report.get('data') or ''}".rstrip()}
```

{rows["train"]} train, {rows["val"]} val and {rows["test"]} test rows ({report["splits"]}), seed
{report["kept_seed"]} of {report["seeds"]}. The label is {label["kind"]}{classes}.

## Reads

{_reads(report, towers or {})}

## Scores

{scored_line(report)}

{chr(10).join(f"- {line}" for line in verdict_lines(report))}

{markdown_table(shown_rows(report["table"]))}

The kept model by itself:

{markdown_table([_measure(name, entry) for name, entry in found["measures"].items()])}

## Where it fails

{_failures(report, found)}

## Use

`mmcli predict MODEL DATA -o PREDICTIONS`{_elsewhere(towers or {})}
A modality may be missing from a row. The scores hold for data like that of the
{report["scored_rows"]} rows.
"""


def _reads(report: Mapping[str, Any], towers: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a modality; tuned towers with their base, strategy and size."""
    lines = []
    for name, modality in report["modalities"].items():
        lines.append(f"- {name}: {', '.join(modality['keys'])}")
        for key in modality["keys"]:
            if key not in towers:
                continue
            of = towers[key]
            lines.append(
                f"  - `{key}` is `{of['reference']}` tuned by {of['strategy']}:"
                f" {of['trainable']} of {of['parameters']} parameters learned; base sha256"
                f" `{of['base_sha256'][:12]}`,"
                f" space `{of['space']}`"
            )
    return "\n".join(lines)


def _failures(report: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Errors, the weakest slice of each column, and what each modality is worth."""
    of, measure = found["errors"], report["metric"]
    lines = []
    if "sure" in of:
        lines.append(
            f"- {of['wrong']} of {of['rows']} rows are wrong, {of['sure']} of them with a"
            " probability of 0.9 or more"
        )
    elif of["shown"]:
        lines.append(f"- the largest error is {of['shown'][0]['error']:+.3g}")
    for one in _weakest(found["slices"], report):
        lines.append(
            f"- {one['slice']} = {one['value']} ({one['rows']} rows): {measure}"
            f" {with_interval(one['score'], 3)}"
        )
    for one in found["modalities"]:
        lines.append(
            f"- without {one['modality']}: {measure} {with_interval(one['without'], 3)}; cost"
            f" {with_interval(one['loss'], 3)}"
        )
    return "\n".join(lines) or "- no row is wrong"


def _weakest(
    slices: Sequence[Mapping[str, Any]], report: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Of each column the value with the lowest score, of those with enough rows."""
    sign = -1.0 if report["metric"] in LESS_IS_BETTER else 1.0
    found: dict[str, Mapping[str, Any]] = {}
    for one in slices:
        value = sign * one["score"]["value"]
        if one["rows"] < _FEWEST_ROWS or value != value:
            continue
        best = found.get(one["slice"])
        if best is None or value < sign * best["score"]["value"]:
            found[one["slice"]] = one
    counted = Counter(one["slice"] for one in slices if one["rows"] >= _FEWEST_ROWS)
    return [one for name, one in found.items() if counted[name] > 1]


def _elsewhere(towers: Mapping[str, Mapping[str, Any]]) -> str:
    if not towers:
        return "."
    named = sorted({str(of["modality"]) for of in towers.values()})
    options = " ".join(f"--{name} model:MODEL" for name in named)
    return f"; its towers elsewhere:\n`mmcli extract DATA {options} -o STORE`."


def _measure(name: str, entry: Mapping[str, float]) -> dict[str, Any]:
    return {"measure": name, **{what: digits(entry[what], 3) for what in ("value", "low", "high")}}
