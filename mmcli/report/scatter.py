"""Points over two axes of the same scale, with the line on which both are equal."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.report.page import figure
from mmcli.report.plane import drawing, plane_over

MOST_POINTS = 2000


def predicted_figure(truth: NDArray[Any], predicted: NDArray[Any]) -> str:
    """Predicted values over true ones in a frame; of many, some that are spread evenly."""
    rows = np.arange(len(truth))
    if len(rows) > MOST_POINTS:
        rows = np.linspace(0, len(truth) - 1, MOST_POINTS).astype(np.int64)
    of = "" if len(rows) == len(truth) else f" of {len(truth)}"
    chart = scatter_chart(truth[rows].tolist(), predicted[rows].tolist(), "true", "predicted")
    return figure(chart, f"{len(rows)}{of} rows")


def scatter_chart(x: Sequence[float], y: Sequence[float], x_label: str, y_label: str) -> str:
    """A point a pair; points that are not finite are left out."""
    points = [
        (float(a), float(b))
        for a, b in zip(x, y, strict=True)
        if math.isfinite(a) and math.isfinite(b)
    ]
    if not points:
        return '<p class="note">nothing to draw</p>\n'
    values = [value for point in points for value in point]
    plane = plane_over(min(values), max(values))
    marks = "".join(
        f'<circle cx="{plane.x(a):.1f}" cy="{plane.y(b):.1f}" r="2.5" fill="var(--bar)"'
        ' opacity="0.45"/>'
        for a, b in points
    )
    return drawing(plane.axes(x_label, y_label) + marks, f"{y_label} over {x_label}")
