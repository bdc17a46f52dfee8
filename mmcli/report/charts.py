"""Charts as inline SVG: curves over steps, and values with their intervals.

Colours come from the page's style sheet, so that a chart follows its light and dark forms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmcli.report.page import number, text
from mmcli.report.scale import Scale, scale_over

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 26, 34
_COLOURS = 6


@dataclass(frozen=True)
class Series:
    """One curve. x, y: of the same length; points that are not finite are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Interval:
    """One value and the interval around it, where there is one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def line_chart(series: Sequence[Series], x_label: str = "", y_label: str = "") -> str:
    """Curves over a common pair of axes, with a legend."""
    curves = [(s.name, _finite(s)) for s in series]
    points = [point for _, found in curves for point in found]
    if not points:
        return '<p class="note">nothing to draw</p>\n'
    xs, ys = (scale_over(min(values), max(values)) for values in zip(*points, strict=True))
    parts = [_axes(xs, ys, x_label, y_label)]
    for i, (_, found) in enumerate(curves):
        if not found:
            continue
        place = [(_x(xs, x), _y(ys, y)) for x, y in found]
        colour = f"var(--c{i % _COLOURS})"
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in place)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(place) == 1:
            parts.append(f'<circle cx="{place[0][0]:.1f}" cy="{place[0][1]:.1f}" r="3"/>')
    legend = "".join(
        f'<tspan fill="var(--c{i % _COLOURS})">■ </tspan><tspan>{text(name)}  </tspan>'
        for i, (name, _) in enumerate(curves)
    )
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT + 14}">{legend}</text>')
    return _svg(_WIDTH, _HEIGHT + 22, parts, f"{y_label} over {x_label}")


def interval_chart(intervals: Sequence[Interval], low: float = 0.0, high: float = 1.0) -> str:
    """A bar for each value from `low`, and a whisker from end to end of its interval."""
    line, left, right = 22, 170, 64
    height = line * len(intervals) + 8
    span = (high - low) or 1.0

    def place(value: float) -> float:
        inside = min(max((value - low) / span, 0.0), 1.0)
        return left + inside * (_WIDTH - left - right)

    parts = []
    for i, bar in enumerate(intervals):
        y = 4 + line * i
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{text(bar.name)}</text>')
        if not math.isfinite(bar.value):
            continue
        width = place(bar.value) - left
        parts.append(
            f'<rect x="{left}" y="{y + 3}" width="{width:.1f}" height="{line - 8}"'
            ' fill="var(--bar)" opacity="0.75"/>'
        )
        if bar.low is not None and bar.high is not None:
            middle, a, b = y + line / 2 - 1, place(bar.low), place(bar.high)
            parts.append(
                f'<path d="M{a:.1f} {middle - 4}v8M{a:.1f} {middle}H{b:.1f}M{b:.1f} {middle - 4}v8"'
                ' stroke="var(--ink)" fill="none"/>'
            )
        parts.append(f'<text x="{_WIDTH - right + 8}" y="{y + 14}">{number(bar.value)}</text>')
    return _svg(_WIDTH, height, parts, "values with their intervals")


def _finite(series: Series) -> list[tuple[float, float]]:
    pairs = zip(series.x, series.y, strict=True)
    return [
        (float(x), float(y)) for x, y in pairs if math.isfinite(x) and y == y and abs(y) < math.inf
    ]


def _axes(xs: Scale, ys: Scale, x_label: str, y_label: str) -> str:
    parts = []
    for value in ys.ticks():
        y = _y(ys, value)
        parts.append(
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="var(--line)"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    for value in xs.ticks():
        x, y = _x(xs, value), _HEIGHT - _BOTTOM + 16
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{value:.6g}</text>')
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">{text(x_label)}</text>'
        f'<text x="4" y="12">{text(y_label)}</text>'
    )
    return "".join(parts)


def _x(scale: Scale, value: float) -> float:
    return _LEFT + scale.share(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(scale: Scale, value: float) -> float:
    return _HEIGHT - _BOTTOM - scale.share(value) * (_HEIGHT - _TOP - _BOTTOM)


def _svg(width: int, height: int, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(label)}">'
        f"{''.join(parts)}</svg>\n"
    )
