"""The report of a zero-shot evaluation as rows of tables, for the terminal and for the page."""

from collections.abc import Mapping
from typing import Any

from mmcli.workflows.evaluate.retrieval_tables import Row, with_interval

#: Confused pairs that are shown.
SHOWN_PAIRS = 10


def fact_rows(report: Mapping[str, Any]) -> list[Row]:
    """What was classified, one row a fact."""
    intervals = report["intervals"]
    groups = intervals["groups"]
    facts = {
        "store": report["store"],
        "key": report["key"],
        "aligner": report["aligner"],
        "space": report["space"],
        "text encoder": report["text_encoder"],
        "prompts": " | ".join(report["prompts"]),
        "rows": f"{report['rows']} ({report['split']}: {report['split_source']})",
        "scored": f"{report['scored']} in {report['classes']} classes",
        "left out": f"{report['without_vector']} without a vector, {report['without_label']}"
        f" without a label, {report['with_unknown_label']} of no class",
        "intervals": f"{intervals['level']:.0%} bootstrap, {intervals['resamples']} resamples of "
        + (f"groups of {groups}" if groups else "rows"),
    }
    return [{"what": name, "is": value} for name, value in facts.items() if value is not None]


def score_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a measure; then what guessing would reach."""
    rows = [{"measure": n, "value": with_interval(e)} for n, e in report["scores"].items()]
    for name in ("chance_accuracy", "majority_accuracy"):
        rows.append({"measure": name, "value": f"{report[name]:.4f}"})
    return rows


def class_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a class, those with most rows first."""
    ordered = sorted(report["per_class"], key=lambda entry: -entry["rows"])
    return [
        {
            **entry,
            **{name: f"{entry[name]:.4f}" for name in ("precision", "recall", "f1")},
        }
        for entry in ordered
    ]


def confused_rows(report: Mapping[str, Any], shown: int = SHOWN_PAIRS) -> list[Row]:
    """The pairs of classes confused most often."""
    names, matrix = report["confusion"]["classes"], report["confusion"]["matrix"]
    pairs = [
        {"is": names[i], "called": names[j], "rows": count}
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: -pair["rows"])[:shown]
