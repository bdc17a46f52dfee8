"""Bilinear fusion of low rank: two modalities meet in the product of their hidden units.

    t_m = tanh(U_m x_m + u_m)
    f   = P (t_1 ∘ t_2) + b

With more than two present, the mean over the pairs of them stands for t_1 ∘ t_2; with one, its own
t_m; with none, zeros. The fused vector is f; a perceptron gives the output. Knows nothing about
labels.

Source: Kim, On, Lim, Kim, Ha and Zhang 2016, arXiv 1610.04325, eq. 7, which has two modalities.
"""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import Perceptron, Projections, no_penalty, pooled_parts


class Bilinear(nn.Module):
    """A linear map of the mean product of pairs, `(batch, width)`, and a perceptron on it."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        width = blueprint.width
        self.states = Projections(blueprint)
        self.mixing = nn.Linear(width, width)
        self.head = Perceptron(width, width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        states = self.states(pooled_parts(self.names, x, present, valid), present)
        hidden = [torch.tanh(states[name]) for name in self.names]  # zeros where absent
        total = torch.stack(hidden).sum(0)
        many = present.sum(1, keepdim=True)
        products = [first * second for first, second in combinations(hidden, 2)]
        pairs = (many * (many - 1) / 2).clamp(min=1).to(total.dtype)
        met = torch.stack(products).sum(0) / pairs if products else torch.zeros_like(total)
        vector = self.mixing(torch.where(many == 1, total, met))
        output = self.head(vector)[1]
        return Fused(vector, output, no_penalty(output))


def example() -> list[str]:
    """Three modalities of width 1 with given weights, and f of width 1."""
    dims = {"image": (1,), "text": (1,), "speech": (1,)}
    model = Bilinear(Blueprint(dims, n_outputs=1, width=1))
    with torch.no_grad():
        for linear in model.states.maps:
            linear.weight.fill_(1.0)
            linear.bias.zero_()
        model.mixing.weight.fill_(1.0)
        model.mixing.bias.fill_(0.1)
        values = {"image": 1.0, "text": -0.5, "speech": 2.0}
        x = {name: torch.tensor([[value]]) for name, value in values.items()}
        three = model(x, torch.tensor([[True, True, True]])).vector.item()
        two = model(x, torch.tensor([[True, True, False]])).vector.item()
        one = model(x, torch.tensor([[True, False, False]])).vector.item()
    return [
        "image = 1, text = -0.5, speech = 2, U = 1, P = 1, b = 0.1",
        "tanh(1) = 0.7616, tanh(-0.5) = -0.4621, tanh(2) = 0.9640",
        f"all three:       (-0.3519 + 0.7342 - 0.4455) / 3 + 0.1 = {three:.4f}",
        f"image and text:  0.7616 * -0.4621 + 0.1 = {two:.4f}",
        f"image alone:     0.7616 + 0.1 = {one:.4f}",
    ]
