"""Gated fusion: a gate a modality, opened by all of them, in front of each one's hidden state.

    h_m = tanh(W_m x_m + a_m)
    z_m = sigmoid(U_m [x_1; …; x_M] + c_m)
    h   = sum_m z_m * h_m

This is the multimodal form of the gated multimodal unit. It is taken for two modalities too, where
the paper also has a bimodal one with gates z and 1 - z. An absent x_m is zeros, and its h_m is
zeros. The fused vector is h; a perceptron gives the output. Knows nothing about labels.

Source: Arevalo, Solorio, Montes-y-Gómez and González 2017, arXiv 1702.01992, sec. 3.1.
"""

from collections.abc import Mapping
from math import log

import torch
from torch import Tensor, nn

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import Perceptron, Projections, no_penalty, pooled_parts
from mmcli.fusion.shared_linear import SharedLinear


class Gated(nn.Module):
    """The sum of gated hidden states, `(batch, width)`, and a perceptron on it."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        width, dim = blueprint.width, sum(blueprint.dim(m) for m in self.names)
        self.states = Projections(blueprint)
        self.gates = nn.ModuleList(SharedLinear(dim, width) for _ in self.names)
        self.head = Perceptron(width, width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        vectors = pooled_parts(self.names, x, present, valid)
        states = self.states(vectors, present)
        everything = torch.cat([vectors[name] for name in self.names], 1)
        gated = [
            torch.sigmoid(gate(everything)) * torch.tanh(states[name])
            for name, gate in zip(self.names, self.gates, strict=True)
        ]
        vector = torch.stack(gated).sum(0)
        output = self.head(vector)[1]
        return Fused(vector, output, no_penalty(output))


def example() -> list[str]:
    """Two modalities of width 1 with given weights, and the fused vector of width 1."""
    model = Gated(Blueprint({"image": (1,), "text": (1,)}, n_outputs=1, width=1))
    with torch.no_grad():
        for linear, weight in zip(model.states.maps, (1.0, 2.0), strict=True):
            linear.weight.fill_(weight)
            linear.bias.zero_()
        for gate, weight in zip(model.gates, (0.0, log(3)), strict=True):
            gate.weight.copy_(torch.tensor([[weight, 0.0]]))
            gate.bias.zero_()
        x = {"image": torch.tensor([[1.0]]), "text": torch.tensor([[-1.0]])}
        both = model(x, torch.tensor([[True, True]])).vector.item()
        alone = model(x, torch.tensor([[True, False]])).vector.item()
    return [
        "image = 1, text = -1, W_image = 1, W_text = 2, U_image = [0, 0], U_text = [ln 3, 0]",
        "h_image = tanh(1) = 0.7616, h_text = tanh(-2) = -0.9640",
        "z_image = sigmoid(0) = 0.5, z_text = sigmoid(ln 3) = 0.75",
        f"both present:  h = 0.5 * 0.7616 + 0.75 * -0.9640 = {both:.4f}",
        f"text absent:   h = 0.5 * 0.7616 = {alone:.4f}",
    ]
