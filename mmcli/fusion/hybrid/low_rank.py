"""Low-rank fusion: the tensor of all products, met by a weight tensor that is a sum of few factors.

    y_m = relu(P_m x_m + p_m)
    h   = sum_r w_r * prod_m (W_m^r [y_m; 1]) + b,   r = 1 … rank

The factors are multiplied unit by unit, so the tensor itself is never built. An absent y_m is
zeros: its [0; 1] leaves the last column of W_m^r. The fused vector is h. In the paper h may be the
prediction itself; here a perceptron gives the output. Knows nothing about labels.

Source: Liu, Shen, Lakshminarasimhan, Liang, Zadeh and Morency 2018, arXiv 1806.00064, sec. 3.3.
"""

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor, nn

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import Perceptron, Projections, no_penalty, pooled_parts


class LowRank(nn.Module):
    """The weighted sum over ranks of products over modalities, `(batch, width)`."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        width, rank = blueprint.width, blueprint.rank
        self.states = Projections(blueprint)
        # The last column starts at 1: an absent modality then changes nothing in the product, and
        # h starts as a sum of terms of one, two … modalities. b starts where it makes the constant
        # among them 0.
        drawn = torch.randn(len(self.names), rank, width, width) / width**0.5
        constant = torch.ones(len(self.names), rank, width, 1)
        self.factors = nn.Parameter(torch.cat([drawn, constant], 3))
        self.rank_weights = nn.Parameter(torch.full((rank,), rank**-0.5))
        self.bias = nn.Parameter(torch.full((width,), -(rank**0.5)))
        self.head = Perceptron(width, width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        states = self.states(pooled_parts(self.names, x, present, valid), present)
        found = [torch.relu(states[name]) for name in self.names]
        found = [torch.cat([state, torch.ones_like(state[:, :1])], 1) for state in found]
        # factors (modality, rank, width, width + 1) meet [y_m; 1] (modality, batch, width + 1)
        factored = torch.einsum("mbi,mroi->mbro", torch.stack(found), self.factors)
        # not `prod`, whose gradient looks for zeros and so does not work under vmap
        products = reduce(torch.mul, factored.unbind(0))
        vector = torch.einsum("r,bro->bo", self.rank_weights, products) + self.bias
        output = self.head(vector)[1]
        return Fused(vector, output, no_penalty(output))


def example() -> list[str]:
    """Two modalities of width 1 and two ranks with given factors, and h of width 1."""
    model = LowRank(Blueprint({"image": (1,), "text": (1,)}, n_outputs=1, width=1, rank=2))
    with torch.no_grad():
        for linear in model.states.maps:
            linear.weight.fill_(1.0)
            linear.bias.zero_()
        given = torch.tensor([[[1.0, 0.5], [0.0, 1.0]], [[1.0, 0.0], [-1.0, 2.0]]])
        model.factors.copy_(given[:, :, None, :])
        model.rank_weights.copy_(torch.tensor([0.2, 1.0]))
        model.bias.fill_(0.25)
        x = {"image": torch.tensor([[2.0]]), "text": torch.tensor([[3.0]])}
        both = model(x, torch.tensor([[True, True]])).vector.item()
        alone = model(x, torch.tensor([[True, False]])).vector.item()
    return [
        "image = 2, text = 3, P = 1, w = [0.2, 1], b = 0.25",
        "rank 1: W_image = [1, 0.5], W_text = [1, 0]; rank 2: W_image = [0, 1], W_text = [-1, 2]",
        f"both present:  0.2 * (2.5 * 3) + 1 * (1 * -1) + 0.25 = {both:g}",
        f"text absent:   0.2 * (2.5 * 0) + 1 * (1 * 2) + 0.25 = {alone:g}",
    ]
