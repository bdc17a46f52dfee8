"""How far predictions lie from the truth: a histogram of their differences.

Knows numbers; nothing about models.
"""

import math
from collections.abc import Sequence

from mmcli.report.page import number
from mmcli.report.scale import scale_over

_WIDTH, _HEIGHT, _SIDE, _TOP, _BOTTOM = 640, 220, 40, 24, 34
#: Bars between two ticks of the axis, with few rows and with many.
_FEW_BARS, _MANY_BARS, _MANY_ROWS = 2, 5, 100


def residual_histogram(residuals: Sequence[float]) -> str:
    """Bars over predicted minus true, a line where they are equal and one at the mean.

    What is not finite is left out.
    """
    found = [float(value) for value in residuals if math.isfinite(value)]
    if not found:
        return '<p class="note">nothing to draw</p>\n'
    axis = scale_over(min(0.0, *found), max(0.0, *found))
    bars = _MANY_BARS if len(found) >= _MANY_ROWS else _FEW_BARS
    width = axis.step / bars
    counts = [0] * round((axis.high - axis.low) / width)
    for value in found:
        counts[min(len(counts) - 1, int((value - axis.low) / width))] += 1
    most = max(counts)
    floor = _HEIGHT - _BOTTOM

    def place(value: float) -> float:
        return _SIDE + axis.share(value) * (_WIDTH - 2 * _SIDE)

    parts = []
    for i, count in enumerate(counts):
        left, right = place(axis.low + i * width), place(axis.low + (i + 1) * width)
        height = (floor - _TOP) * count / most
        parts.append(
            f'<rect x="{left + 0.5:.1f}" y="{floor - height:.1f}" width="{right - left - 1:.1f}"'
            f' height="{height:.1f}" fill="var(--bar)" opacity="0.75"/>'
        )
    parts.append(f'<path d="M{_SIDE} {floor}H{_WIDTH - _SIDE}" stroke="var(--line)"/>')
    for tick in axis.ticks():
        parts.append(
            f'<text x="{place(tick):.1f}" y="{floor + 16}" text-anchor="middle">'
            f"{axis.shown(tick)}</text>"
        )
    mean = sum(found) / len(found)
    for value, colour, dash in ((0.0, "var(--dim)", "5 4"), (mean, "var(--c1)", "none")):
        parts.append(
            f'<path d="M{place(value):.1f} {_TOP - 6}V{floor}" stroke="{colour}"'
            f' stroke-width="1.5" stroke-dasharray="{dash}"/>'
        )
    parts.append(
        f'<text x="4" y="12">rows, at most {most} a bar</text>'
        f'<text x="{_WIDTH - 4}" y="12" text-anchor="end">'
        f'<tspan fill="var(--c1)">■ </tspan>mean {number(mean)}</text>'
        f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 4}" text-anchor="end">predicted minus true</text>'
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="histogram of residuals">'
        f"{''.join(parts)}</svg>\n"
    )
