"""The page of robustness: curves over the grades of each corruption, areas, every score."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcli.report.charts import Series, line_chart
from mmcli.report.page import figure, page, paragraph, rows_table, section
from mmcli.store.atomic import write_bytes
from mmcli.workflows.evaluate.robustness_tables import area_rows, fact_rows, shown_point_rows


def write_page(path: Path, report: Mapping[str, Any]) -> None:
    """Write the page of a report."""
    sections = [
        section("What was measured", [rows_table(fact_rows(report))]),
        section("What is lost", [paragraph(area_note(report), note=True),
                                 rows_table(area_rows(report))]),
        *(section(name[0].upper() + name[1:], _chart(report, name))
          for name in report["corruptions"]),
        section("Every score", [rows_table(shown_point_rows(report))]),
    ]  # fmt: skip
    title = f"Robustness · {Path(report['model']).resolve().name}"
    write_bytes(path, page(title, sections, "mmcli evaluate robustness").encode())


def area_note(report: Mapping[str, Any]) -> str:
    """How the table of areas is to be read."""
    way = "greater is better" if report["greater_is_better"] else "less is better"
    return (
        f"{report['metric']}: {way}. Area: under the curve of the score over the grades, which"
        " stand at equal distances from 0 (clean) to 1 (the last). Relative area: over the clean"
        f" score ({'below' if report['greater_is_better'] else 'above'} 1 is worse). Drop: the mean"
        " one along the curve, and that at the last grade; a positive one is worse, whichever way"
        " the metric goes. Its interval is a paired bootstrap of the same rows."
    )


def _chart(report: Mapping[str, Any], name: str) -> list[str]:
    curves = [curve for curve in report["curves"] if curve["corruption"] == name]
    severities = [point["severity"] for point in curves[0]["points"]]
    nothing = float("nan")
    series = []
    for curve in curves:
        scores = [report["clean"]["score"], *(point["score"] for point in curve["points"])]
        values = [nothing if score is None else score for score in scores]
        series.append(Series(curve["modality"], range(len(values)), values))
    grades = ", ".join(f"{i} = {severity:g}" for i, severity in enumerate(severities, 1))
    summary = report["corruptions"][name]
    chart = line_chart(series, "grade", report["metric"])
    return [figure(chart, f"{summary[0].upper()}{summary[1:]}. Grades: 0 = clean, {grades}.")]
