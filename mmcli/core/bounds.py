"""Numbers that a user gives, between bounds: one message for all verbs and tasks."""

from collections.abc import Mapping
from typing import Any

from mmcli.core.errors import UsageError

Bounds = tuple[float, float]

#: What verbs that train in steps have in common, by the name of the parameter.
TRAINING: dict[str, Bounds] = {
    "epochs": (1, 1_000_000),
    "batch": (1, 10_000_000),
    "lr": (1e-9, 100),
    "weight_decay": (0, 1000),
    "warmup": (0, 1),
    "ema": (0, 0.9999),
    "clip": (0, 1e9),
    "patience": (1, 1_000_000),
    "dropout": (0, 0.99),
    "layers": (1, 100),
    "heads": (1, 1024),
    "seeds": (1, 1000),
    "seed": (0, 2**31 - 1),
    "checkpoint": (0, 1e9),
}


def within(told: str, value: Any, bounds: Bounds) -> None:
    """Raise UsageError, which begins with `told`, for a number outside its bounds, as NaN is."""
    low, high = bounds
    if not low <= value <= high:
        raise UsageError(f"`{told}` is out of bounds", f"from {_shown(low)} to {_shown(high)}")


def check_options(values: Mapping[str, Any], bounds: Mapping[str, Bounds]) -> None:
    """`within` for every option that was given, by the names of their parameters."""
    for name, limits in bounds.items():
        value = values.get(name)
        if value is not None:
            within(f"--{name.replace('_', '-')} {value:g}", value, limits)


def parsed(told: str, given: Any, bounds: Bounds) -> float:
    """A number between its bounds, of what was written after `told=`. Raises UsageError."""
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = float("nan")
    within(f"{told}={given}", value, bounds)
    return value


def _shown(bound: float) -> str:
    """Whole numbers as they are written, others short."""
    whole = float(bound).is_integer() and abs(bound) < 1e15
    return str(int(bound)) if whole else f"{bound:g}"
