"""The towers of `tower.py` as torch modules: to be trained, and to go into an ONNX graph.

`TorchTower(tower)` computes what `tower.apply` does, to rounding; `finished()` gives the numpy
tower back with the trained values. Knows nothing about losses or data.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mmcli.align.tower import TINY, Branch, Tower
from mmcli.engine.torch_stack import load_torch

torch = load_torch()


def unit(x: Any) -> Any:
    """Rows of unit length, in fp32 whatever came in; a row of zeros stays one."""
    x = x.float()
    # bounded below before the root, whose gradient at zero is infinite
    return x / x.square().sum(-1, keepdim=True).clamp_min(TINY**2).sqrt()


class TorchTower(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A tower with parameters.

    trained: numbers of the branches whose arrays learn; the others are buffers. dropout: on what
    goes into each layer of a trained branch.
    """

    def __init__(
        self, tower: Tower, trained: frozenset[int] = frozenset(), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.tower = tower
        self.trained = trained
        self.dropout = torch.nn.Dropout(dropout)
        for name, array in tower.arrays.items():
            value = torch.from_numpy(np.array(array, np.float32))
            number, _, parameter = name.partition(".")
            if int(number) in trained and parameter not in ("mean", "scale"):
                self.register_parameter(_safe(name), torch.nn.Parameter(value))
            else:
                self.register_buffer(_safe(name), value)

    def forward(self, inputs: Mapping[str, Any], prepared: bool = False) -> Any:
        """`(rows, dim)` of `(rows, key dim)` a key; unit length in fp32 where the tower says so.

        prepared: square roots and unit lengths have been taken already.
        """
        sums: dict[int, Any] = {}
        for number, branch in enumerate(self.tower.branches):
            x = self._input(branch, inputs, prepared)
            if branch.standardized and not self._folds(branch):
                x = (x - self._array(number, "mean")) / self._array(number, "scale")
            y = self._body(number, branch, x)
            if branch.unit_output:
                y = unit(y)
            if branch.weight != 1.0:
                y = y * branch.weight
            sums[branch.group] = y if branch.group not in sums else sums[branch.group] + y
        groups = list(sums.values())
        total = groups[0]
        if len(groups) > 1:
            total = sum(unit(y) for y in groups[1:]) + unit(groups[0])
        return unit(total) if self.tower.normalized else total

    def _input(self, branch: Branch, inputs: Mapping[str, Any], prepared: bool) -> Any:
        parts = []
        for key in branch.keys:
            x = inputs[key]
            for step in () if prepared else branch.prepare:
                x = x.sign() * x.abs().sqrt() if step == "sqrt" else unit(x)
            parts.append(x)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _body(self, number: int, branch: Branch, x: Any) -> Any:
        if branch.body == "identity":
            return x
        if branch.body == "kernel":
            x, z = x.double(), self._array(number, "landmarks").double()
            square = x.square().sum(1)[:, None] + z.square().sum(1)[None] - 2 * (x @ z.T)
            kernel = torch.exp(-branch.gamma * square.clamp_min(0))
            mapped = kernel @ self._array(number, "weight0").double()
            return (mapped + self._array(number, "bias0")).float()
        for layer in range(branch.layers):
            if layer:
                x = torch.nn.functional.gelu(x)
            if number in self.trained:
                x = self.dropout(x)
            weight = self._array(number, f"weight{layer}")
            bias = self._array(number, f"bias{layer}")
            if layer == 0 and branch.standardized and self._folds(branch):
                weight = weight / self._array(number, "scale")[:, None]
                bias = bias - self._array(number, "mean") @ weight
            x = torch.nn.functional.linear(x, weight.T, bias)
        return x

    def _folds(self, branch: Branch) -> bool:
        """Whether standardising is done to the first weights instead of to every row.

        Not while inputs are dropped (what is left out must be the mean), nor outside autocast,
        where it saves nothing that a rounding more would be worth.
        """
        drops = self.training and self.dropout.p > 0
        return branch.layers > 0 and not drops and torch.is_autocast_enabled(self._device())

    def _array(self, number: int, name: str) -> Any:
        return getattr(self, _safe(f"{number}.{name}"))

    def _device(self) -> str:
        first = next(iter(self.state_dict().values()), None)
        return "cpu" if first is None else str(first.device.type)

    def finished(self) -> Tower:
        """The numpy tower with the values that this one has now."""
        arrays = {n: getattr(self, _safe(n)).detach().cpu().numpy() for n in self.tower.arrays}
        return replace(
            self.tower, arrays={n: np.array(a, np.float32, order="C") for n, a in arrays.items()}
        )


def _safe(name: str) -> str:
    """torch takes no dots in the name of a parameter."""
    return "branch" + name.replace(".", "_")
