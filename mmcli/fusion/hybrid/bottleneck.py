"""Hybrid fusion through a bottleneck: modalities speak only through a few shared tokens.

    [h_m^l; u_m] = Block_m^l([h_m^(l-1); u^(l-1)]),  u^l = mean of u_m over present modalities,
    y = V mean_m gelu(W norm(c_m) + b) + d

h_m is a class token c_m and the modality's tokens, u the bottleneck (4 tokens, option
`bottlenecks`). Every layer fuses; there are at least two, since what one layer puts into the
bottleneck is read by the next. The mean over class tokens is taken where the paper takes it, at
the logits, of which y is a linear map: nothing is fused behind the bottleneck's back.
Source: Nagrani et al. 2021 (MBT), arXiv 2107.00135.
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
    with_token,
)


class Bottleneck(nn.Module):
    """Streams and shared tokens; the averaged hidden states of the head are the vector."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        width, heads = blueprint.width, fitting_heads(blueprint.width, blueprint.heads)
        shared = int(blueprint.options.get("bottlenecks", 4))
        count = len(blueprint.modalities)
        self.embed = TokenEmbedding(blueprint)
        self.starts = nn.Parameter(torch.randn(count, width) * 0.02)
        self.bottleneck = nn.Parameter(torch.randn(shared, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(Block(width, heads, blueprint.dropout) for _ in range(count))
            for _ in range(max(2, blueprint.layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = Perceptron(width, width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        streams = list(self.embed(x, present, valid).values())
        weights = _even([real for _, real in streams])
        shared = self.bottleneck.expand(len(present), -1, -1)
        always = [present.new_ones((len(present), n)) for n in (1, shared.shape[1])]
        reals = [torch.cat([always[0], real, always[1]], dim=1) for _, real in streams]
        states = [with_token(self.starts[i], tokens) for i, (tokens, _) in enumerate(streams)]
        for blocks in self.layers:
            both = [
                block(torch.cat([own, shared], dim=1), real)
                for block, own, real in zip(blocks, states, reals, strict=True)
            ]
            lengths = [own.shape[1] for own in states]
            states = [found[:, :n] for found, n in zip(both, lengths, strict=True)]
            ends = [found[:, n:] for found, n in zip(both, lengths, strict=True)]
            shared = (torch.stack(ends, dim=1) * weights[..., None, None]).sum(1)
        classes = torch.stack([own[:, 0] for own in states], dim=1)
        hidden, _ = self.head(self.norm(classes))
        vector = (hidden * weights[..., None]).sum(1)
        output = self.head.output(vector)
        return Fused(vector, output, no_penalty(output))


def _even(reals: list[Tensor]) -> Tensor:
    """Weights `(batch, modalities)` of a mean over those with a real token, else zeros."""
    there = torch.stack([real.any(1) for real in reals], dim=1).float()
    return there / there.sum(1, keepdim=True).clamp(min=1.0)


def example() -> list[str]:
    """Two modalities of width 3 and one bottleneck token: what the image hears of the text."""
    shape = {"image": (3,), "text": (3,)}
    blueprint = Blueprint(shape, 1, width=3, layers=2, heads=1, options={"bottlenecks": 1})
    model = Bottleneck(blueprint)
    blank(model)
    with torch.no_grad():
        attentions = [block.attention for blocks in model.layers for block in blocks]
        reading = [linear for a in attentions for linear in (a.value, a.output)]
        for linear in (*model.embed.project.maps, *reading):
            linear.weight.copy_(torch.eye(3))
        model.head.hidden.weight[0, 0] = model.head.output.weight[0, 0] = 1.0
        x = {"image": torch.tensor([[3.0, 0.0, 0.0]]), "text": torch.tensor([[0.0, 3.0, 0.0]])}
        both = model(x, torch.tensor([[True, True]])).output.item()
        alone = model(x, torch.tensor([[True, False]])).output.item()
    return [
        "image [3, 0, 0], text [0, 3, 0], class and bottleneck tokens 0, all weigh alike, n = norm",
        "layer 1: c_1 = u_1 = n(image) / 3, c_2 = u_2 = n(text) / 3, u = [0.118, 0.118, -0.236]",
        "layer 2: c_1 = n(image) / 3 + (2 n(image) + n(u)) / 3 = [1.650, -0.471, -1.178]",
        "         c_2 = n(text) / 3 + (2 n(text) + n(u)) / 3 = [-0.471, 1.650, -1.178]",
        f"y = mean of gelu(n(c_m)'s first number: 1.373, -0.392) = {both:.3f}",
        f"text absent: u = u_1, n(c_1) = n(image) = [1.414, -0.707, -0.707], y = {alone:.3f}",
    ]
