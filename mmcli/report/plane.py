"""A square plane with labelled axes, into which other charts put their marks."""

import math
from dataclasses import dataclass

from mmcli.report.page import text

#: Of the whole picture, and of the margins around the square.
SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = 440, 56, 14, 26, 40


@dataclass(frozen=True)
class Plane:
    """Both axes run from low to high. marks go through `x` and `y` to their place."""

    low: float
    high: float
    step: float

    def x(self, value: float) -> float:
        """How far from the left."""
        return _LEFT + self._share(value) * (SIZE - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """How far from the top."""
        return SIZE - _BOTTOM - self._share(value) * (SIZE - _TOP - _BOTTOM)

    def axes(self, x_label: str, y_label: str) -> str:
        """Lines, numbers and names of both axes, and the diagonal."""
        low, high, step = self.low, self.high, self.step
        parts = []
        for i in range(round((high - low) / step) + 1):
            value = low + i * step
            shown = f"{value:.4g}" if abs(value) > step / 1000 else "0"
            x, y = self.x(value), self.y(value)
            parts.append(
                f'<path d="M{_LEFT} {y:.1f}H{SIZE - _RIGHT}M{x:.1f} {_TOP}V{SIZE - _BOTTOM}"'
                ' stroke="var(--line)"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>'
                f'<text x="{x:.1f}" y="{SIZE - _BOTTOM + 16}" text-anchor="middle">{shown}</text>'
            )
        parts.append(
            f'<path d="M{self.x(low):.1f} {self.y(low):.1f}L{self.x(high):.1f} {self.y(high):.1f}"'
            ' stroke="var(--dim)" stroke-dasharray="5 4"/>'
            f'<text x="{SIZE - _RIGHT}" y="{SIZE - 6}" text-anchor="end">{text(x_label)}</text>'
            f'<text x="4" y="14">{text(y_label)}</text>'
        )
        return "".join(parts)

    def _share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def plane_over(low: float, high: float) -> Plane:
    """A plane that shows these numbers, from one round number to another."""
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return Plane(math.floor(low / step) * step, math.ceil(high / step) * step, step)


def drawing(parts: str, label: str, below: int = 0) -> str:
    """The whole picture; below: more room under the plane."""
    return (
        f'<svg viewBox="0 0 {SIZE} {SIZE + below}" role="img" aria-label="{text(label)}"'
        f' style="max-width:{SIZE}px">{parts}</svg>\n'
    )
