"""Early fusion by concatenation: the standardised vectors side by side, into one model.

    h = gelu(W [x_1; …; x_M; p] + b),  y = V h + c        (concat)
    y = V [x_1; …; x_M; p] + c                            (concat-linear)

x_m is zero and p_m is 0 where a modality is absent, else p_m is 1. Source: Baltrusaitis, Ahuja and
Morency 2017, arXiv 1705.09406, sec. 6.1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import Perceptron, masked, no_penalty, token_mean
from mmcli.fusion.shared_linear import SharedLinear


class Concat(nn.Module):
    """A perceptron on all vectors and presence flags; its hidden state is the fused embedding."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        dim = joined_dim(blueprint)
        self.perceptron = Perceptron(dim, blueprint.width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        hidden, output = self.perceptron(joined(self.names, x, present, valid))
        return Fused(hidden, output, no_penalty(output))


class ConcatLinear(nn.Module):
    """A linear map of all vectors and presence flags, which are the fused embedding themselves."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        self.linear = SharedLinear(joined_dim(blueprint), blueprint.n_outputs)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        vector = joined(self.names, x, present, valid)
        output = self.linear(vector)
        return Fused(vector, output, no_penalty(output))


def joined_dim(blueprint: Blueprint) -> int:
    """The width of what `joined` gives."""
    return sum(blueprint.dim(m) for m in blueprint.modalities) + len(blueprint.modalities)


def joined(
    names: tuple[str, ...],
    x: Mapping[str, Tensor],
    present: Tensor,
    valid: Mapping[str, Tensor] | None,
) -> Tensor:
    """`(batch, sum of dims + modalities)`: vectors, or means of tokens, then presence flags."""
    parts = []
    for i, name in enumerate(names):
        values = masked(x[name], present[:, i])
        if values.dim() == 3:
            there = present[:, i : i + 1].expand(values.shape[:2])
            real = there if valid is None or name not in valid else valid[name] & there
            values = token_mean(values, real)
        parts.append(values)
    return torch.cat([*parts, present.to(parts[0].dtype)], dim=1)


def example() -> list[str]:
    """Two modalities of widths 2 and 1 through `concat-linear` with given weights."""
    model = ConcatLinear(Blueprint({"image": (2,), "text": (1,)}, n_outputs=1))
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[1.0, 2.0, -1.0, 0.5, 0.0]]))
        model.linear.bias.copy_(torch.tensor([0.25]))
        x = {"image": torch.tensor([[1.0, 0.5]]), "text": torch.tensor([[2.0]])}
        both = model(x, torch.tensor([[True, True]])).output.item()
        alone = model(x, torch.tensor([[True, False]])).output.item()
    return [
        "image = [1, 0.5], text = [2], V = [1, 2, -1, 0.5, 0], c = 0.25",
        f"both present:  [1, 0.5, 2, 1, 1] V + c = {both:g}",
        f"text absent:   [1, 0.5, 0, 1, 0] V + c = {alone:g}",
    ]
