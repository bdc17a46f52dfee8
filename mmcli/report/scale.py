"""The scale of an axis: from one round number to another, and where its ticks stand."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Lowest and highest value of an axis, and the step from tick to tick."""

    low: float
    high: float
    step: float

    def share(self, value: float) -> float:
        """How far along the axis a value is, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Both ends and what lies between."""
        n_steps = round((self.high - self.low) / self.step)
        return [self.low + i * self.step for i in range(n_steps + 1)]

    def shown(self, tick: float) -> str:
        """A tick in four digits; what rounding left of a zero is one."""
        return f"{tick:.4g}" if abs(tick) > self.step / 1000 else "0"


def scale_over(low: float, high: float) -> Scale:
    """The scale that shows values from low to high, with steps of 1, 2 or 5 and some zeros."""
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return Scale(math.floor(low / step) * step, math.ceil(high / step) * step, step)
