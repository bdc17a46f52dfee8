"""A worked example of each alignment method: a few lines of numbers, made by the method's own code.

Whoever reads a line can compute it by hand. The registry names these functions; torch is imported
by those that need it, when they are called. Knows nothing about commands.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray


def linear() -> list[str]:
    """Four points of a plane and the same turned and stretched, through each of the four maps."""
    from mmcli.align.closed_form import cca, kernel_ridge, procrustes, ridge

    x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    y = x @ [[0.0, 2.0], [-2.0, 0.0]]
    (shrunk,) = ridge(x, y, [1.0])
    turned = procrustes(x, y)
    (bent,) = kernel_ridge(x, y, [1.0], 1.0, x)
    ((to_x, to_y),) = cca(x, y, [0.1], 2)
    agreed = to_x(x) @ to_y(y).T
    point = np.array([[3.0, 1.0]])
    return [
        f"x = {_rows(x)}; y = {_rows(y)}: x turned by 90 degrees, times 2",
        "ridge, lambda 1 (times the mean |x|^2 = 1): "
        f"W = (X'X + I)^-1 X'Y = (2 I + I)^-1 X'Y = {_matrix(shrunk.weight)}",
        f"procrustes: X'Y = U S V', W = U V' tr(S) / |X|^2 = {_matrix(turned.weight)}",
        f"[3, 1] goes to {_listed(shrunk(point)[0])} by ridge, {_listed(turned(point)[0])} by "
        f"procrustes; [1, 0] to {_listed(bent(x)[0])} by kernel (lambda 1, gamma {bent.gamma:g})",
        f"cca, lambda 0.1: (A x_1).(B y_1) = {agreed[0, 0]:.4g}, and with y_2 a quarter turn off "
        f"{_number(agreed[0, 1])}",
    ]


def contrastive() -> list[str]:
    """Two pairs of unit vectors: their scores, their shares, both losses."""
    from mmcli.align.losses import info_nce, sigmoid_loss, torch

    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([[0.8, 0.6], [0.0, 1.0]])
    scale, bias = torch.tensor(5.0), torch.tensor(-2.5)
    scores = scale * x @ y.T
    by_row, by_column = (scores.softmax(axis).diagonal().tolist() for axis in (1, 0))
    shares = [f"{share:.4f}" for share in (*by_row, *by_column)]
    swapped = info_nce(x, y.flip(0), scale)
    return [
        f"x = {_rows(x)}; y = {_rows(y)}; row i of one matches row i of the other; s = 5",
        f"s x_i.y_j = {_matrix(scores)}",
        f"softmax at the match: of rows {shares[0]}, {shares[1]}, of columns {shares[2]}, "
        f"{shares[3]}",
        f"infonce = -1/4 (log {' + log '.join(shares)}) = {float(info_nce(x, y, scale)):.4f} nats; "
        f"with y_1 and y_2 swapped {float(swapped):.4f}",
        f"sigmoid, bias -2.5: z (s x.y + bias) = {_matrix(_signed(scores + bias))}, "
        f"-1/2 sum log sigmoid = {float(sigmoid_loss(x, y, scale, bias)):.4f}",
    ]


def dual() -> list[str]:
    """Two given mappings that do not quite undo each other, and each term of their loss."""
    terms = {variant: _dual_terms(variant) for variant in ("moments", "mmd")}
    found = terms["moments"]
    return [
        "a = [1, 0], [0, 1]; b = [0, 1], [-1, 0]: a turned by 90 degrees",
        "f turns by 90 degrees: f(a) = b; g turns by -90, and 36.87 too far: "
        "g(b) = g(f(a)) = [0.8, 0.6], [-0.6, 0.8]",
        f"sup: 2 - cos(f(a), b) - cos(g(b), a) = 2 - 1 - 0.8, and infonce at s = 20 of g(b) "
        f"with a, log(1 + e^-4) / 2 = 0.0091: {found['supervised']:.4f}",
        f"cycle: 2 - cos(g(f(a)), a) - cos(f(g(b)), b) = 2 - 0.8 - 0.8 = {found['cycle']:.4f}",
        "match of g(B) and A by moments: |means|^2 0.2 + |covariances|^2 0.72 = "
        f"{found['match']:.4f}, of f(A) and B nothing (by mmd, which is unbiased and so may fall "
        f"below zero for few rows, {terms['mmd']['match']:.4f})",
        f"loss = sup + 0.3 cycle + 0.3 match = {found['loss']:.4f}",
    ]


def cross_attention() -> list[str]:
    """A token that looks at two of the other side, and at one where the other is padding."""
    from mmcli.align.pair_model import Attention, torch

    attention = Attention(width=2, heads=1, dropout=0.0, cross=True).eval()
    eye = torch.eye(2)
    factor = log(3) / sqrt(8)  # then the two scores lie log 3 apart
    x, other = torch.tensor([[[1.0, -1.0]]]), torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]])
    with torch.no_grad():
        attention.query.weight.copy_(factor * eye)
        attention.key_value.weight.copy_(torch.cat([eye, eye]))
        attention.out.weight.copy_(eye)
        for layer in (attention.query, attention.key_value, attention.out):
            layer.bias.zero_()
        both, weights = attention(x, torch.tensor([[True, True]]), other)
        alone, only = attention(x, torch.tensor([[True, False]]), other)
    return [
        "a token x = [1, -1] of one side looks at y = [1, -1], [-1, 1] of the other",
        f"Q = {factor:.4f} x, K = V = y: Q K^T / sqrt(2) = [{log(3) / 2:.4f}, {-log(3) / 2:.4f}]",
        f"softmax: {_listed(weights[0, 0, 0])}; of V: "
        f"0.75 * [1, -1] + 0.25 * [-1, 1] = {_listed((both - x)[0, 0])}",
        f"added to x: {_listed(both[0, 0])}",
        f"y_2 padding: softmax {_listed(only[0, 0, 0])}, added to x: {_listed(alone[0, 0])}",
    ]


@dataclass(frozen=True)
class _Held:
    """Vectors `(rows, dim)` in memory, read as a store's are."""

    values: NDArray[np.float32]

    @property
    def dim(self) -> int:
        return self.values.shape[1]

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.values[rows]


def _dual_terms(variant: str) -> Mapping[str, float]:
    """The terms of one step of `dual` on two pairs, both mappings given."""
    from mmcli.align.dual import Dual
    from mmcli.align.features import Features, Part
    from mmcli.align.fitting import AlignOptions, FitRun
    from mmcli.align.torch_tower import TorchTower, torch
    from mmcli.align.tower import Branch, Tower

    vectors = {"a": [[1.0, 0.0], [0.0, 1.0]], "b": [[0.0, 1.0], [-1.0, 0.0]]}
    turns = {"a": [[0.0, 1.0], [-1.0, 0.0]], "b": [[0.6, -0.8], [0.8, 0.6]]}
    rows, here = np.arange(2), np.ones(2, bool)
    held: dict[str, Any] = {n: {n: _Held(np.array(x, np.float32))} for n, x in vectors.items()}
    parts = {name: Part(name, (name,), held[name], here, {name: ""}) for name in vectors}
    features = Features(parts, rows, rows[:0], rows, rows)
    method = Dual(features, AlignOptions(variant), FitRun())
    for name, turn in turns.items():
        arrays = {"0.weight0": np.array(turn, np.float32), "0.bias0": np.zeros(2, np.float32)}
        tower = Tower((Branch((name,), "linear", layers=1),), 2, arrays=arrays)
        method.model.towers[name] = TorchTower(tower)
    batch = {name: torch.tensor(x) for name, x in vectors.items()}
    return method.step({"groups": torch.arange(2), **batch}, lambda loss: None)


def _signed(scores: Any) -> Any:
    """Scores of matches as they are, of all others with the other sign."""
    return scores * (2 * np.eye(len(scores), dtype=np.float32) - 1)


def _rows(vectors: Any) -> str:
    return ", ".join(_listed(row) for row in vectors)


def _matrix(values: Any) -> str:
    return f"[{_rows(values)}]"


def _listed(values: Iterable[Any]) -> str:
    return "[" + ", ".join(_number(float(value)) for value in values) + "]"


def _number(value: float) -> str:
    """Four digits behind the point at most, and no negative zero."""
    return f"{round(value, 4) + 0.0:.5g}"
