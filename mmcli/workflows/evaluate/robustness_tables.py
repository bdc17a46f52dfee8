"""The report of robustness as rows of tables, for the terminal and for the page."""

from collections.abc import Mapping
from typing import Any

from mmcli.workflows.evaluate.retrieval_tables import Row

CLEAN = "clean"


def fact_rows(report: Mapping[str, Any]) -> list[Row]:
    """What was scored, one row a fact."""
    intervals = report["intervals"]
    drawn = f"groups of {intervals['groups']}" if intervals["groups"] else "rows"
    facts = {
        "model": f"{report['model']} ({report['method']})",
        "store": report["store"],
        "label": report["label"],
        "metric": report["metric"],
        "greater is better": "true" if report["greater_is_better"] else "false",
        "rows": f"{report['rows']} ({report['split']}: {report['split_source']})",
        "left out": f"{report['without_label']} without a label that the model knows"
        if report["without_label"]
        else None,
        "with the part": ", ".join(f"{n} {count}" for n, count in report["modalities"].items()),
        "intervals": f"{intervals['level']:.0%} bootstrap, {intervals['resamples']} resamples of"
        f" {drawn}",
    }
    return [{"what": name, "is": value} for name, value in facts.items() if value is not None]


def point_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a grade, as numbers; the clean score first."""
    first = {"corruption": CLEAN, "modality": "", "severity": 0.0, **report["clean"]}
    return [first] + [
        {
            "corruption": curve["corruption"],
            "modality": curve["modality"],
            **{name: point[name] for name in ("severity", "score", "low", "high")},
        }
        for curve in report["curves"]
        for point in curve["points"]
    ]


def shown_point_rows(report: Mapping[str, Any]) -> list[Row]:
    """The same as they are shown."""
    return [
        {
            name: shown(value) if name in ("score", "low", "high") else value
            for name, value in row.items()
        }
        for row in point_rows(report)
    ]


def area_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a curve: the area under it, and what is lost."""
    return [
        {
            "corruption": curve["corruption"],
            "modality": curve["modality"],
            "area": shown(curve["area"]),
            "relative area": shown(curve["relative_area"]),
            "drop": shown(curve["drop"], "+"),
            "last drop": last_drop(curve),
        }
        for curve in report["curves"]
    ]


def last_drop(curve: Mapping[str, Any]) -> str:
    """The drop at the last grade and its interval, as in `+0.1200 [+0.0900, +0.1500]`."""
    point = curve["points"][-1]
    if point["drop_low"] is None or point["drop_high"] is None:
        return shown(point["drop"], "+")
    ends = ", ".join(shown(point[name], "+") for name in ("drop_low", "drop_high"))
    return f"{shown(point['drop'], '+')} [{ends}]"


def shown(value: float | None, sign: str = "") -> str:
    """A number with four decimals; a dash where there is none."""
    return "–" if value is None else f"{value:{sign}z.4f}"
