"""The report of predictions as rows of tables, for the terminal and for the page."""

from collections.abc import Mapping
from typing import Any

from mmcli.workflows.evaluate.retrieval_tables import Row, digits, with_interval

#: Measures that a table of slices has room for, the first that are there.
_OF_SLICES = 4


def fact_rows(report: Mapping[str, Any]) -> list[Row]:
    """What was scored, one row a fact."""
    intervals = report["intervals"]
    left_out = {
        "without a label": report["without_label"],
        "of no class": report["with_unknown_label"],
        "without a prediction": report["without_prediction"],
    }
    scale = f", sentiment on the scale of {report['scale']}" if report["scale"] else ""
    drawn = f"groups of {intervals['groups']}" if intervals["groups"] else "rows"
    facts = {
        "predictions": report["predictions"],
        "task": f"{report['task']}{scale}",
        "classes": report["classes"],
        "positive": report["positive"],
        "probabilities": "yes" if report["probabilities"] else "no",
        "rows": report["rows"],
        "scored": report["scored"],
        "left out": ", ".join(f"{n} {why}" for why, n in left_out.items() if n) or None,
        "intervals": f"{intervals['level']:.0%} bootstrap, {intervals['resamples']} resamples of"
        f" {intervals['drawn']} {drawn}",
        "fewer resamples": ", ".join(
            f"{name} {n}" for name, n in intervals["fewer_resamples"].items()
        )
        or None,
    }
    return [{"what": name, "is": value} for name, value in facts.items() if value is not None]


def measure_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a measure: value, and the ends of its interval, as numbers."""
    return [{"measure": name, **entry} for name, entry in report["measures"].items()]


def shown_measure_rows(report: Mapping[str, Any]) -> list[Row]:
    """The same as they are shown, and what always saying the largest class would reach."""
    rows = [
        {"measure": row["measure"], **{n: digits(row[n]) for n in ("value", "low", "high")}}
        for row in measure_rows(report)
    ]
    if "majority_accuracy" in report and report["scale"] is None:
        value = digits(report["majority_accuracy"])
        rows.append({"measure": "majority_accuracy", "value": value, "low": "–", "high": "–"})
    return rows


def class_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a class, in their order."""
    limits = report.get("calibration", {}).get("thresholds", {})
    return [
        {
            **entry,
            **{name: digits(entry[name]) for name in ("precision", "recall", "f1")},
            **({"threshold": digits(limits[entry["class"]])} if entry["class"] in limits else {}),
        }
        for entry in report.get("per_class", [])
    ]


def slice_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a value of each sliced column, with the first measures."""
    return [
        {
            "slice": f"{column}={value}",
            "rows": part["rows"],
            **{
                name: with_interval(part["measures"][name])
                for name in list(part["measures"])[:_OF_SLICES]
            },
        }
        for column, values in report.get("slices", {}).items()
        for value, part in values.items()
    ]


def calibration_facts(report: Mapping[str, Any]) -> list[Row]:
    """What was fitted, one row a fact."""
    found = report.get("calibration")
    if found is None:
        return []
    facts = {
        "calibrated on": f"{found['on']} ({found['rows']} rows)",
        "temperature": f"{found['temperature']:.4g}",
        **{
            f"threshold of {label}": digits(limit)
            for label, limit in (
                found["thresholds"] if len(found["thresholds"]) < 9 else {}
            ).items()
        },
    }
    return [{"what": name, "is": value} for name, value in facts.items()]


def calibration_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a measure: before, after, and their difference with its interval."""
    return _difference_rows(report.get("calibration", {}), ("before", "after"))


def against_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row a measure: this, the other, their difference with its interval, p."""
    return _difference_rows(report.get("against", {}), ("this", "other"))


def _difference_rows(compared: Mapping[str, Any], sides: tuple[str, str]) -> list[Row]:
    return [
        {
            "measure": name,
            **{side: digits(entry[side]) for side in sides},
            "difference": with_interval({**entry, "value": entry["difference"]}),
            "p": digits(entry["p"]),
        }
        for name, entry in compared.get("measures", {}).items()
    ]
