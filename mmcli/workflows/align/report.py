"""What an aligner's directory says of itself: `report.html` with its curves, and a model card."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.align.registry import MethodSpec
from mmcli.report.markdown import markdown_table
from mmcli.report.page import page as whole_page
from mmcli.report.page import paragraph, section, table
from mmcli.report.run_page import epoch_chart, settings_section


def page(report: Mapping[str, Any], history: Sequence[Mapping[str, Any]], command: str) -> str:
    """The report: scores beside the baselines, every seed, the curves, what was chosen."""
    sections = [section("Scores", [paragraph(_scored(report), note=True), scores_table(report)])]
    if len(report["seeds_scores"]) > 1:
        rows = report["seeds_scores"]
        names = list(rows[0])
        sections.append(section("Seeds", [table(names, [[r.get(n) for n in names] for r in rows])]))
    if history:
        sections.append(section("Curves", _curves(history)))
    sections.append(settings_section(_settings(report)))
    return whole_page(f"{report['method']}: {', '.join(report['keys'])}", sections, command)


def card(
    report: Mapping[str, Any], spec: MethodSpec, content: Mapping[str, Any], command: str
) -> str:
    """The model card, in Markdown: what it is, what it was trained on, how well it does."""
    between = ", ".join(content["between"])
    bound = "\n".join(
        f"- `{key}`: {entry.get('encoder', 'unknown encoder')}, {entry.get('dim')} dimensions,"
        f" space `{entry.get('space') or 'unknown'}`"
        for key, entry in content["keys"].items()
    )
    names, rows = _columns(report["scores"]), report["rows"]
    scores = [{name: _shown(row, name) for name in names} for row in report["scores"]]
    return f"""# {report["method"]} aligner: {between}

{spec.summary[0].upper()}{spec.summary[1:]}. Formula: `{spec.formula}`. Source: {spec.paper}.

## Made by

```sh
{command or "mmcli align train"}
```

{rows["train"]} train, {rows["val"]} val and {rows["test"]} test rows ({report["splits"]}).

## Reads

{bound}

## Scores

{_scored(report)}

{markdown_table(scores)}

## Use

`mmcli align apply ALIGNER STORE -o ALIGNED`, `mmcli retrieve index STORE -o INDEX --aligner
ALIGNER`, `mmcli evaluate retrieval STORE --query Q --target T --aligner ALIGNER`. It fits stores of
the encoders above and no others. The scores hold for data like that of the test rows.
"""


def scores_table(report: Mapping[str, Any]) -> str:
    """The scores beside the baselines' as HTML."""
    names = _columns(report["scores"])
    return table(names, [[_shown(row, name) for name in names] for row in report["scores"]])


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every measure; which rows they are of stands above the table, an interval in its cell."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name != "rows" and not name.endswith(" ±")]


def _shown(row: Mapping[str, Any], name: str) -> str:
    half = row.get(f"{name} ±")
    return _cell(row.get(name)) + (f" ± {half:.3f}" if isinstance(half, float) else "")


def _scored(report: Mapping[str, Any]) -> str:
    seeds = len(report["seeds_scores"])
    spread = f" Mean of {seeds} seeds, ± half a 95 % interval over them." if seeds > 1 else ""
    which = report["scores"][-1]["rows"]
    caveat = "" if which == "test" else f" No test rows: these are {report['val_source']}."
    what = f"hit@k of the {which} rows: a share of queries, each target ranked exactly."
    return f"{what}{caveat}{spread}"


def _curves(history: Sequence[Mapping[str, Any]]) -> list[str]:
    seeds: dict[str, list[Mapping[str, Any]]] = {}
    for record in history:
        seeds.setdefault(f"seed {record['seed']}", []).append(record)
    losses = [name for name in history[0] if name not in ("seed", "epoch", "step", "score", "lr")]
    charts = []
    for name in ("score", *losses):
        label = "mean hit@k of validation rows" if name == "score" else name
        charts.append(epoch_chart(seeds, name, label, f"{label} by epoch"))
    return charts


def _settings(report: Mapping[str, Any]) -> list[list[Any]]:
    found: list[list[Any]] = [["splits", report["splits"]], ["rows", _words(report["rows"])]]
    found += [["keys", "; ".join(f"{m}: {', '.join(k)}" for m, k in report["keys"].items())]]
    found += [[name, _words(value)] for name, value in report["chosen"].items()]
    found += [["device", f"{report['device']} {report['precision']}"]]
    return [*found, ["seconds", report["seconds"]]]


def _words(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(v)}" for name, v in value.items())
    return round(value, 5) if isinstance(value, float) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
