"""States of models and optimisers as the arrays and numbers of a checkpoint, and back."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def put_state(arrays: dict[str, Any], prefix: str, values: Mapping[str, Any]) -> None:
    """Add tensors to the arrays of a checkpoint, their names behind a prefix."""
    for name, value in values.items():
        arrays[f"{prefix}/{name}"] = np.array(value.detach().float().cpu().numpy(), order="C")


def get_state(torch: Any, arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The tensors that `put_state` added behind a prefix."""
    start = prefix + "/"
    found = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
    return {name: torch.from_numpy(np.array(array)) for name, array in found.items()}


def finite_or_none(value: float) -> float | None:
    """The value as JSON has it: no infinity."""
    return value if math.isfinite(value) else None


def number_or_low(value: float | None) -> float:
    """What `finite_or_none` was given."""
    return -math.inf if value is None else value
