"""Hybrid fusion by cross-modal attention: each modality's tokens look at every other modality's.

    z_st^0 = e_t,  z_st^l = Block_st^l(queries z_st^(l-1), keys and values e_s),  s other than t
    z_t = mean of norm(Block_t([z_1t; …; z_Mt])),  v = gelu(W [z_1; …; z_M] + b),  y = V v + d

e_m are the projected tokens with place and modality added. A stream whose source is absent keeps
the target's own tokens, an absent target is zeros; a modality alone has self-attention only.
Source: Tsai et al. 2019 (MulT), arXiv 1906.00295; its convolutions along time are not here, and
tokens are averaged where it takes the last.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import (
    Block,
    Perceptron,
    TokenEmbedding,
    blank,
    fitting_heads,
    no_penalty,
    token_mean,
)


class CrossModal(nn.Module):
    """A stack of cross-attention an ordered pair; the head's hidden state is the fused vector."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        width, heads, dropout = blueprint.width, blueprint.heads, blueprint.dropout
        self.names = blueprint.modalities
        count = len(self.names)
        wide = width * max(1, count - 1)
        self.embed = TokenEmbedding(blueprint)
        self.pairs = nn.ModuleList(
            nn.ModuleList(
                Block(width, fitting_heads(width, heads), dropout) for _ in range(blueprint.layers)
            )
            for _ in range(count * (count - 1))
        )
        self.own = nn.ModuleList(
            Block(wide, fitting_heads(wide, heads), dropout) for _ in range(count)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(wide) for _ in range(count))
        self.head = Perceptron(wide * count, width, blueprint.n_outputs, dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        streams = self.embed(x, present, valid)
        pairs = iter(self.pairs)
        means = []
        for target, own, norm in zip(self.names, self.own, self.norms, strict=True):
            tokens, real = streams[target]
            heard = [
                _heard(next(pairs), tokens, *streams[source])
                for source in self.names
                if source != target
            ]
            states = own(torch.cat(heard or [tokens], dim=-1), real)
            means.append(token_mean(norm(states), real))
        hidden, output = self.head(torch.cat(means, dim=-1))
        return Fused(hidden, output, no_penalty(output))


def _heard(blocks: nn.Module, target: Tensor, source: Tensor, real: Tensor) -> Tensor:
    """The target's tokens after attention to the source's, unchanged where the source is absent."""
    states = target
    for block in blocks.children():
        states = block(states, real, source)
    return torch.where(real.any(1)[:, None, None], states, target)


def example() -> list[str]:
    """Two modalities of width 3, one token each: what the image hears of the text."""
    shape = {"image": (3,), "text": (3,)}
    model = CrossModal(Blueprint(shape, 1, width=3, layers=1, heads=1))
    blank(model)
    with torch.no_grad():
        attention = model.pairs[0][0].attention
        for linear in (*model.embed.project.maps, attention.value, attention.output):
            linear.weight.copy_(torch.eye(3))
        model.head.hidden.weight[0, 1] = model.head.output.weight[0, 0] = 1.0
        x = {"image": torch.tensor([[3.0, 0.0, 0.0]]), "text": torch.tensor([[0.0, 3.0, 0.0]])}
        both = model(x, torch.tensor([[True, True]])).output.item()
        alone = model(x, torch.tensor([[True, False]])).output.item()
    return [
        "image e_1 = [3, 0, 0], text e_2 = [0, 3, 0]; the image attends to the text's one token",
        "z_21 = e_1 + norm(e_2) = [3, 0, 0] + [-0.707, 1.414, -0.707] = [2.293, 1.414, -0.707]",
        "z_1 = norm(z_21) = [1.027, 0.329, -1.356]",
        f"y = gelu(z_1's second number) = {both:.3f}",
        f"text absent: z_21 = e_1, z_1 = norm(e_1) = [1.414, -0.707, -0.707], y = {alone:.3f}",
    ]
