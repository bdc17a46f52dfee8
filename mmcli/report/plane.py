"""A square plane with labelled axes, into which other charts put their marks."""

from dataclasses import dataclass

from mmcli.report.page import text
from mmcli.report.scale import Scale, scale_over

#: Of the whole picture, and of the margins around the square.
SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = 440, 56, 14, 26, 40


@dataclass(frozen=True)
class Plane:
    """scale: of both axes. Marks go through `x` and `y` to their place."""

    scale: Scale

    def x(self, value: float) -> float:
        """How far from the left."""
        return _LEFT + self.scale.share(value) * (SIZE - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """How far from the top."""
        return SIZE - _BOTTOM - self.scale.share(value) * (SIZE - _TOP - _BOTTOM)

    def axes(self, x_label: str, y_label: str) -> str:
        """Lines, numbers and names of both axes, and the diagonal."""
        low, high = self.scale.low, self.scale.high
        parts = []
        for value in self.scale.ticks():
            shown, x, y = self.scale.shown(value), self.x(value), self.y(value)
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


def plane_over(low: float, high: float) -> Plane:
    """A plane that shows these numbers, from one round number to another."""
    return Plane(scale_over(low, high))


def drawing(parts: str, label: str, below: int = 0) -> str:
    """The whole picture; below: more room under the plane."""
    return (
        f'<svg viewBox="0 0 {SIZE} {SIZE + below}" role="img" aria-label="{text(label)}"'
        f' style="max-width:{SIZE}px">{parts}</svg>\n'
    )
