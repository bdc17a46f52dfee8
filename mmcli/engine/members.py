"""Several models that train in one pass: which slices of the tensors belong to which of them.

The members of a stacked tensor lie along its first axis. They share batches and steps, nothing
else: each has its own gradient norm, its own best epoch and its own patience. Knows nothing about
what they model.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Members:
    """count: how many there are. first: the number of the first member in each tensor, by name.

    A tensor that is not named belongs to member 0 as a whole: that is one model by itself.
    """

    def __init__(self, count: int = 1, first: Mapping[str, int] | None = None) -> None:
        self.count = count
        self.first = dict(first or {})

    def clip(self, parameters: Iterable[tuple[str, Any]], most: float) -> None:
        """Scale the gradients of each member so that their norm is at most `most`."""
        held = [(name, p.grad) for name, p in parameters if p.grad is not None]
        if not held:
            return
        squares = held[0][1].new_zeros(self.count)
        for name, grad in held:
            at = self.first[name]
            squares[at : at + len(grad)] += grad.square().flatten(1).sum(1)
        scale = (most / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for name, grad in held:
            at = self.first[name]
            grad.mul_(scale[at : at + len(grad)].reshape(-1, *[1] * (grad.dim() - 1)))

    def keep(
        self, best: dict[str, Any], state: Mapping[str, Any], better: NDArray[np.bool_]
    ) -> None:
        """Copy the tensors of the members that are better now into `best`, in place."""
        for name, value in state.items():
            at = self.first.get(name)
            if at is None:
                if better[0]:
                    best[name] = value.detach().clone()
                continue
            for member in np.flatnonzero(better[at : at + len(value)]):
                best[name][member] = value[member].detach()
