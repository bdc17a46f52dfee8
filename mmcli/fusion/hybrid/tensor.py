"""Tensor fusion: all products of one unit of each modality, of some of them, and of none.

    h_m = relu(W_m x_m + b_m)
    z   = [h_1; 1] ⊗ … ⊗ [h_M; 1], flattened, the last modality running fastest

One layer stands where the paper has subnetworks of three. An absent h_m is zeros, so only its 1 is
left. The fused vector is z, of (d + 1)^M numbers; d is the largest that keeps them within 8192, and
no larger than the width asked for. A perceptron gives the output. Knows nothing about labels.

Source: Zadeh, Chen, Poria, Cambria and Morency 2017, arXiv 1707.07250, sec. 4.2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmcli.core.errors import UsageError
from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import Perceptron, Projections, no_penalty, pooled_parts

#: How many numbers the tensor may hold: the first layer behind it has that many columns.
_MOST = 8192
#: With units of width 1 already 4096 products; more modalities are for `hybrid:low-rank`.
_MOST_MODALITIES = 12


class TensorFusion(nn.Module):
    """The flattened outer product, `(batch, (d + 1)^M)`, and a perceptron on it."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        inner = inner_width(len(self.names), blueprint.width)
        dim = (inner + 1) ** len(self.names)
        self.states = Projections(blueprint, inner)
        self.head = Perceptron(dim, blueprint.width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        states = self.states(pooled_parts(self.names, x, present, valid), present)
        parts = [_with_one(torch.relu(states[name])) for name in self.names]
        vector = parts[0]
        for part in parts[1:]:
            vector = (vector[:, :, None] * part[:, None, :]).flatten(1)
        output = self.head(vector)[1]
        return Fused(vector, output, no_penalty(output))


def inner_width(modalities: int, width: int) -> int:
    """The width of a modality's state: at least 1, at most `width`.

    Raises UsageError when even width 1 makes too large a tensor.
    """
    if modalities > _MOST_MODALITIES:
        raise UsageError(
            f"`hybrid:tensor` fuses at most {_MOST_MODALITIES} modalities, not {modalities}",
            "use `hybrid:low-rank`, which does not build the tensor",
        )
    found = 1
    while found < width and (found + 2) ** modalities <= _MOST:
        found += 1
    return found


def _with_one(states: Tensor) -> Tensor:
    return torch.cat([states, torch.ones_like(states[:, :1])], 1)


def example() -> list[str]:
    """Two modalities of width 1, kept as they are, and the tensor of four numbers."""
    model = TensorFusion(Blueprint({"image": (1,), "text": (1,)}, n_outputs=1, width=1))
    with torch.no_grad():
        for linear in model.states.maps:
            linear.weight.fill_(1.0)
            linear.bias.zero_()
        x = {"image": torch.tensor([[2.0]]), "text": torch.tensor([[3.0]])}
        both = model(x, torch.tensor([[True, True]])).vector[0].tolist()
        alone = model(x, torch.tensor([[True, False]])).vector[0].tolist()
    return [
        "image = 2, text = 3, W_image = W_text = 1",
        f"both present:  [2, 1] ⊗ [3, 1] = {_listed(both)}: both, image, text, none",
        f"text absent:   [2, 1] ⊗ [0, 1] = {_listed(alone)}",
    ]


def _listed(values: list[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
