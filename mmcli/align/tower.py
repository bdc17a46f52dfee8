"""A tower: how the embeddings of one modality become vectors of the aligned space.

A tower is a sum of branches. A branch takes the vectors of some keys side by side, prepares them
(signed square root, unit length, standardisation), sends them through its body and weighs what
comes out; the sum is brought to unit length (each group of branches by itself first, where there
are several). That one form covers a map in closed form, a residual
MLP on a shared space, a kernel map, and a modality that stays as it is.

Plain numpy, so that a store is mapped without torch; `torch_tower.py` computes the same in torch
for training and for ONNX. Knows nothing about stores or methods.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Body = Literal["identity", "linear", "mlp", "kernel"]
#: Rows mapped at a time: a block of 1,280-d rows and its hidden layer stay near the cache.
BLOCK_ROWS = 8192
#: Below this length a vector has no direction.
TINY = 1e-12


@dataclass(frozen=True)
class Branch:
    """One summand of a tower.

    keys: read side by side, in this order. prepare: steps among `sqrt` (signed square root),
    `unit` (of each key by itself). standardized: subtract `mean`, then divide by `scale`, which
    are parameters. body: `identity`; `linear` x·W + b; `mlp` with exact GELU between its layers;
    `kernel` exp(-gamma |x - z|²)·A + b over landmarks z. unit_output: to unit length before it is
    weighed. group: branches of one group are added before that group is brought to unit length.
    """

    keys: tuple[str, ...]
    body: Body
    prepare: tuple[str, ...] = ()
    standardized: bool = False
    unit_output: bool = False
    weight: float = 1.0
    gamma: float = 0.0
    layers: int = 0
    group: int = 0


@dataclass(frozen=True)
class Tower:
    """The branches of one modality and their arrays, named `<branch>.<parameter>`."""

    branches: tuple[Branch, ...]
    dim: int
    normalized: bool = True
    arrays: Mapping[str, Vectors] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that the tower reads, once each."""
        return tuple(dict.fromkeys(key for branch in self.branches for key in branch.keys))

    def apply(self, inputs: Mapping[str, Vectors]) -> Vectors:
        """float32 `(rows, dim)` of float32 `(rows, key dim)` a key."""
        rows = len(next(iter(inputs.values())))
        found = np.empty((rows, self.dim), np.float32)
        for start in range(0, rows, BLOCK_ROWS):
            part = {key: inputs[key][start : start + BLOCK_ROWS] for key in self.keys}
            found[start : start + BLOCK_ROWS] = self._block(part)
        return found

    def _block(self, inputs: Mapping[str, Vectors]) -> Vectors:
        sums: dict[int, Vectors] = {}
        for number, branch in enumerate(self.branches):
            x = branch_input(branch, inputs)
            if branch.standardized:
                x = (x - self._array(number, "mean")) / self._array(number, "scale")
            y = self._body(number, branch, x)
            if branch.unit_output:
                y = unit(y)
            y = np.float32(branch.weight) * y
            sums[branch.group] = y if branch.group not in sums else sums[branch.group] + y
        groups = list(sums.values())
        total = groups[0]
        if len(groups) > 1:
            total = unit(groups[0])
            for y in groups[1:]:
                total = total + unit(y)
        return unit(total) if self.normalized else total

    def _body(self, number: int, branch: Branch, x: Vectors) -> Vectors:
        if branch.body == "identity":
            return x
        if branch.body == "kernel":
            # in double precision: weights of a small penalty are large and cancel
            x64, z = x.astype(np.float64), self._array(number, "landmarks").astype(np.float64)
            square = (x64 * x64).sum(1)[:, None] + (z * z).sum(1)[None] - 2 * (x64 @ z.T)
            kernel = np.exp(-branch.gamma * np.maximum(square, 0))
            mapped = kernel @ self._array(number, "weight0").astype(np.float64)
            return (mapped + self._array(number, "bias0")).astype(np.float32)
        for layer in range(branch.layers):
            if layer:
                x = gelu(x)
            x = x @ self._array(number, f"weight{layer}") + self._array(number, f"bias{layer}")
        return x

    def _array(self, number: int, name: str) -> Vectors:
        return self.arrays[f"{number}.{name}"]

    def to_json(self) -> dict[str, Any]:
        """All but the arrays."""
        return {
            "branches": [asdict(branch) for branch in self.branches],
            "dim": self.dim,
            "normalized": self.normalized,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], arrays: Mapping[str, Vectors]) -> "Tower":
        """The tower that `to_json` described. Raises KeyError or TypeError for anything else."""
        branches = [
            Branch(**{**b, "keys": tuple(b["keys"]), "prepare": tuple(b["prepare"])})
            for b in content["branches"]
        ]
        return cls(tuple(branches), content["dim"], content["normalized"], dict(arrays))


def branch_input(branch: Branch, inputs: Mapping[str, Vectors]) -> Vectors:
    """The prepared vectors of a branch's keys, side by side; standardisation comes after."""
    parts = []
    for key in branch.keys:
        x = np.asarray(inputs[key], np.float32)
        for step in branch.prepare:
            x = np.sign(x) * np.sqrt(np.abs(x)) if step == "sqrt" else unit(x)
        parts.append(x)
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def unit(x: Vectors) -> Vectors:
    """Rows of unit length; a row of zeros stays one."""
    length = np.sqrt((x * x).sum(axis=-1, keepdims=True, dtype=np.float32))
    return np.asarray(x / np.maximum(length, TINY), np.float32)


def gelu(x: Vectors) -> Vectors:
    """x Φ(x), the exact form (Hendrycks & Gimpel 2016, arXiv 1606.08415)."""
    return np.asarray(0.5 * x * (1 + _erf(x * np.float32(0.7071067811865476))), np.float32)


def _erf(x: Vectors) -> Vectors:
    """The error function to 1.5e-7 (Abramowitz & Stegun 1964, formula 7.1.26)."""
    magnitude = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * magnitude)
    series = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(factor)) * t
    return np.asarray(np.sign(x) * (1 - series * np.exp(-magnitude * magnitude)), np.float32)
