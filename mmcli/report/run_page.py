"""What the page of any training has: its curves over epochs, and a table of what was set.

Knows nothing about a method: which curves and which settings there are is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmcli.report.charts import Series, line_chart
from mmcli.report.page import figure, section, table


def epoch_chart(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], what: str, label: str, caption: str = ""
) -> str:
    """One curve a run, of `what` its records tell over `epoch`; a record without it is no point."""
    curves = []
    for name, records in runs.items():
        points = [record for record in records if record.get(what) is not None]
        curves.append(Series(name, [p["epoch"] for p in points], [p[what] for p in points]))
    return figure(line_chart(curves, "epoch", label), caption or label)


def settings_section(rows: Iterable[Sequence[Any]]) -> str:
    """The last section of a page: names and values."""
    return section("Settings", [table(["setting", "value"], rows)])


def counts_line(counts: Mapping[str, Any]) -> str:
    """`train 80, val 10, test 10`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())
