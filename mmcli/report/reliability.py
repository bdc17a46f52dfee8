"""The reliability diagram: what was stated against how often it came true, and how often stated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmcli.report.page import text
from mmcli.report.plane import Plane, drawing
from mmcli.report.scale import Scale

#: Height of the bars under the diagram that say how many rows each bin has.
_BARS = 60


@dataclass(frozen=True)
class ReliabilityCurve:
    """One curve over the bins. stated, observed: NaN in empty ones; rows: how many each has."""

    name: str
    stated: Sequence[float]
    observed: Sequence[float]
    rows: Sequence[int]


def reliability_chart(curves: Sequence[ReliabilityCurve]) -> str:
    """Curves that lie on the dashed line where probabilities are right; above it they are too low.

    Bars below share one scale: the rows of each bin of each curve, as shares of the largest.
    """
    plane = Plane(Scale(0.0, 1.0, 0.2))
    parts = [plane.axes("stated probability", "share that came true")]
    most = max((n for curve in curves for n in curve.rows), default=0)
    if not most:
        return '<p class="note">nothing to draw</p>\n'
    floor = plane.y(0) + 40 + _BARS
    for i, curve in enumerate(curves):
        colour = f"var(--c{i % 6})"
        found = [
            (plane.x(x), plane.y(y))
            for x, y in zip(curve.stated, curve.observed, strict=True)
            if math.isfinite(x) and math.isfinite(y)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in found)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in found]
        slot = (plane.x(1) - plane.x(0)) / len(curve.rows)
        width = slot / len(curves)
        for j, rows in enumerate(curve.rows):
            height = _BARS * rows / most
            left = plane.x(0) + j * slot + i * width
            parts.append(
                f'<rect x="{left:.1f}" y="{floor - height:.1f}" width="{max(0.5, width - 1):.1f}"'
                f' height="{height:.1f}" fill="{colour}" opacity="0.6"/>'
            )
    parts.append(f'<text x="4" y="{floor - _BARS + 10:.1f}">rows</text>')
    legend = "".join(
        f'<tspan fill="var(--c{i % 6})">■ </tspan><tspan>{text(curve.name)}  </tspan>'
        for i, curve in enumerate(curves)
    )
    parts.append(f'<text x="{plane.x(0):.1f}" y="{floor + 22:.1f}">{legend}</text>')
    return drawing("".join(parts), "reliability diagram", below=_BARS + 30)
