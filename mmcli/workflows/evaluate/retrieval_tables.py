"""The report of a retrieval evaluation as rows of tables, for the terminal and for the page."""

import math
from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]


def fact_rows(report: Mapping[str, Any]) -> list[Row]:
    """What was compared, one row a fact."""
    intervals = report["intervals"]
    groups = intervals["groups"]
    facts = {
        "store": report["store"],
        "aligner": report["aligner"],
        "re-ranked": report["rerank"] and f"best {report['rerank_top']} by {report['rerank']}",
        "space": report["space"] or "unknown",
        "rows": f"{report['rows']} ({report['split']}: {report['split_source']})",
        "relevant": f"by {report['relevant_by']}",
        "ties": report["ties"],
        "intervals": f"{intervals['level']:.0%} bootstrap, {intervals['resamples']} resamples of "
        + (f"groups of {groups}" if groups else "queries"),
    }
    return [{"what": name, "is": value} for name, value in facts.items() if value is not None]


def direction_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a direction: how many were compared, and how many could not be."""
    columns = {
        "queries": "queries",
        "targets": "targets",
        "queries_without_relevant": "nothing relevant",
        "queries_without_vector": "queries lacking",
        "targets_without_vector": "targets lacking",
        "resampled": "drawn",
    }
    return [
        {"direction": name, **{shown: found[key] for key, shown in columns.items()}}
        for name, found in report["directions"].items()
    ]


def measure_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a measure, a column a direction."""
    directions = report["directions"]
    names = next(iter(directions.values()))["measures"]
    return [
        {
            "measure": name,
            **{
                where: with_interval(found["measures"][name], places_of(name))
                for where, found in directions.items()
            },
        }
        for name in names
    ]


def against_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a measure and direction: this, the other, their difference with its interval, p."""
    return _difference_rows(report, "against", "this", "other")


def before_rows(report: Mapping[str, Any]) -> list[Row]:
    """The same for the ranking before it was re-ranked."""
    return _difference_rows(report, "before_reranking", "re-ranked", "before")


def _difference_rows(report: Mapping[str, Any], part: str, this: str, other: str) -> list[Row]:
    return [
        {
            "direction": where,
            "measure": name,
            this: digits(found["measures"][name]["value"], places_of(name)),
            other: digits(entry["other"], places_of(name)),
            "difference": with_interval({**entry, "value": entry["difference"]}, places_of(name)),
            "p": digits(entry["p"]),
        }
        for where, found in report["directions"].items()
        for name, entry in found.get(part, {}).items()
    ]


def slice_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a value of each sliced column and direction, with the measures that say most."""
    return [
        {
            "direction": where,
            "slice": f"{column}={value}",
            "queries": part["queries"],
            **{
                name: with_interval(part["measures"][name], places_of(name))
                for name in part["measures"]
                if name.startswith("hit@") or name in ("mrr", "median_rank")
            },
        }
        for where, found in report["directions"].items()
        for column, values in found.get("slices", {}).items()
        for value, part in values.items()
    ]


def diagnostic_rows(report: Mapping[str, Any]) -> list[Row]:
    """Alignment, uniformity of each side, and the modality gap."""
    found = report["diagnostics"]
    rows = [
        {"diagnostic": name, "value": digits(found[name])}
        for name in ("alignment", "modality_gap")
        if name in found
    ]
    return rows + [
        {"diagnostic": f"uniformity of {name}", "value": digits(value)}
        for name, value in found["uniformity"].items()
    ]


def with_interval(entry: Mapping[str, float], places: int = 4) -> str:
    """A value and its interval, as in `0.4312 [0.4011, 0.4609]`."""
    value = digits(entry["value"], places)
    if math.isnan(entry["low"]):
        return value
    return f"{value} [{digits(entry['low'], places)}, {digits(entry['high'], places)}]"


def digits(value: float, places: int = 4) -> str:
    """A number with as many decimal places; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{places}f}"


def places_of(measure: str) -> int:
    """Decimal places of a measure: ranks have one."""
    return 1 if measure.endswith("_rank") else 4
