"""MISA: what the modalities share and what each has of its own, kept apart, then fused.

    u_m = LayerNorm(W_m x_m + w_m)
    c_m = sigmoid(C u_m + c),  p_m = sigmoid(P_m u_m + q_m)      shared and private states
    [c'_1 … c'_M p'_1 … p'_M] = a Transformer layer on [c_1 … c_M p_1 … p_M]
    y   = perceptron of all 2M side by side, which are the fused vector

Absent modalities have no tokens, and zeros in the fused vector. Three terms are added to the loss,
alpha similarity + beta difference + gamma reconstruction. The weights are options; 1, 0.3 and 1
are those of the authors' program:

- similarity: the mean over pairs of modalities of the central moment discrepancy of c_i and c_j,
  |E c_i - E c_j| + sum_k=2…5 |E (c_i - E c_i)^k - E (c_j - E c_j)^k|, as states lie in [0, 1];
- difference: the sum over (c_m, p_m) and over pairs (p_i, p_j) of |A^T B|^2_F / n^2, A and B the n
  rows of states with zero mean, each row of length 1. The paper does not divide; here the size of
  a batch does not matter, and a term is at most 1;
- reconstruction: the mean over modalities of |D (c_m + p_m) + d - u_m|^2 / width.

Every mean is over the rows that have the modality, or both of a pair. At width 128 the terms of two
modalities of noise start at 0.4, 0.1 and 1.4 and fall as they train; a first cross-entropy of two
classes is 0.7. Unlike all else they depend on the batch as a whole. Knows nothing about labels.

Source: Hazarika, Zimmermann and Poria 2020, arXiv 2005.03545, sec. 3.3 to 3.5; the discrepancy is
of Zellinger et al. 2017, arXiv 1702.08811.
"""

from collections.abc import Mapping
from itertools import combinations
from math import log

import torch
from torch import Tensor, nn

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import (
    Block,
    Perceptron,
    Projections,
    fitting_heads,
    masked,
    pooled_parts,
    wide,
)

#: The highest moment compared, as in the paper.
_MOMENTS = 5


class Misa(nn.Module):
    """Shared and private states through one Transformer layer, `(batch, 2 M width)`, to an output.

    Options: `alpha` (1), `beta` (0.3), `gamma` (1), the weights of the three terms of the penalty.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        width, many = blueprint.width, len(self.names)
        self.states = Projections(blueprint)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.names)
        self.shared = nn.Linear(width, width)
        self.private = nn.ModuleList(nn.Linear(width, width) for _ in self.names)
        self.decoder = nn.Linear(width, width)
        self.block = Block(width, fitting_heads(width, blueprint.heads), blueprint.dropout)
        self.head = Perceptron(2 * many * width, width, blueprint.n_outputs, blueprint.dropout)
        options = blueprint.options
        self.alpha = float(options.get("alpha", 1.0))
        self.beta = float(options.get("beta", 0.3))
        self.gamma = float(options.get("gamma", 1.0))

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        states = self.states(pooled_parts(self.names, x, present, valid), present)
        # wide: a layer norm of bfloat16 has no gradient under vmap on a CPU
        inputs = [
            norm(wide(states[name])) for name, norm in zip(self.names, self.norms, strict=True)
        ]
        shared = [torch.sigmoid(self.shared(state)) for state in inputs]
        private = [
            torch.sigmoid(encode(state)) for encode, state in zip(self.private, inputs, strict=True)
        ]
        tokens = wide(torch.stack([*shared, *private], 1))
        real = torch.cat([present, present], 1)
        mixed = self.block(tokens, real)
        vector = torch.where(real[..., None], mixed, torch.zeros_like(mixed)).flatten(1)
        output = self.head(vector)[1]
        decoded = [self.decoder(c + p) for c, p in zip(shared, private, strict=True)]
        penalty = (
            self.alpha * similarity(shared, present)
            + self.beta * difference(shared, private, present)
            + self.gamma * reconstruction(inputs, decoded, present)
        )
        return Fused(vector, output, penalty)


def similarity(shared: list[Tensor], present: Tensor) -> Tensor:
    """The mean central moment discrepancy of pairs of modalities, over rows that have both."""
    found = []
    for i, j in combinations(range(len(shared)), 2):
        there = present[:, i] & present[:, j]
        first, second = wide(shared[i]), wide(shared[j])
        means = [_mean(first, there), _mean(second, there)]
        terms = [torch.linalg.vector_norm(means[0] - means[1])]
        first, second = first - means[0], second - means[1]
        for k in range(2, _MOMENTS + 1):
            gap = _mean(first**k, there) - _mean(second**k, there)
            terms.append(torch.linalg.vector_norm(gap))
        found.append(torch.stack(terms).sum())
    return torch.stack(found).mean() if found else wide(shared[0]).new_zeros(())


def difference(shared: list[Tensor], private: list[Tensor], present: Tensor) -> Tensor:
    """How far states that should say different things say the same, 0 to 1 a pair, summed."""
    found = []
    for m, (common, own) in enumerate(zip(shared, private, strict=True)):
        found.append(_correlation(common, own, present[:, m]))
    for i, j in combinations(range(len(private)), 2):
        found.append(_correlation(private[i], private[j], present[:, i] & present[:, j]))
    return torch.stack(found).sum()


def reconstruction(inputs: list[Tensor], decoded: list[Tensor], present: Tensor) -> Tensor:
    """The mean squared error of the decoder, over modalities and the rows that have them."""
    found = []
    for m, (given, made) in enumerate(zip(inputs, decoded, strict=True)):
        found.append(_mean((wide(made) - wide(given)) ** 2, present[:, m]).mean())
    return torch.stack(found).mean()


def _mean(values: Tensor, there: Tensor) -> Tensor:
    """The mean `(width,)` of the rows that are there, zeros when none is."""
    return masked(values, there).sum(0) / there.sum().clamp(min=1)


def _correlation(first: Tensor, second: Tensor, there: Tensor) -> Tensor:
    """|A^T B|^2_F / n^2 of the rows that are there, with zero mean and length 1."""
    sides = []
    for states in (wide(first), wide(second)):
        centred = masked(states - _mean(states, there), there)
        # a row at the mean has no direction: below this length it is not stretched to 1
        sides.append(centred / torch.linalg.vector_norm(centred, dim=1, keepdim=True).clamp(1e-3))
    product = wide(sides[0].T @ sides[1])
    return (product**2).sum() / (there.sum().clamp(min=1) ** 2)


def example() -> list[str]:
    """The penalty of two rows with given weights: an image of +1 and -1, a text of 1 and 1."""
    model = Misa(Blueprint({"image": (1,), "text": (1,)}, n_outputs=1, width=2, heads=1)).eval()
    apart = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    with torch.no_grad():
        for linear in [*model.states.maps, model.shared, *model.private, model.decoder]:
            linear.weight.copy_(log(3) * torch.eye(2) if linear.in_features == 2 else apart[:, :1])
            linear.bias.zero_()
        model.decoder.weight.copy_(apart / 2)
        x = {"image": torch.tensor([[1.0], [-1.0]]), "text": torch.tensor([[1.0], [1.0]])}
        both = model(x, torch.tensor([[True, True], [True, True]])).penalty.item()
        alone = model(x, torch.tensor([[True, False], [True, False]])).penalty.item()
    return [
        "image u = [1, -1] and [-1, 1], c = p = [0.75, 0.25] and [0.25, 0.75]",
        "text u = [1, -1] twice, c = p = [0.75, 0.25] twice; D (c + p) = u / 2",
        "similarity = 0.3536 + 0.0884 + 0 + 0.0055 + 0 = 0.4475 of moments 1 to 5",
        "difference = 1 + 0 + 0 (image, text, private), reconstruction = (0.25 + 0.25) / 2",
        f"both present:  1 * 0.4475 + 0.3 * 1 + 1 * 0.25 = {both:.4f}",
        f"text absent:   1 * 0 + 0.3 * 1 + 1 * 0.125 = {alone:.4f}",
    ]
