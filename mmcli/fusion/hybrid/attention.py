"""Hybrid fusion by attention among modalities: one token a modality, however long its sequence.

    t_m = E_m mean(x_m) + k_m,  [z; …] = Blocks([c; t_1; …; t_M]),  y = V gelu(W norm(z) + b) + d

c is a learned class token, k_m a learned vector that names the modality; absent modalities are
never attended to. Source: Vaswani et al. 2017, arXiv 1706.03762, and Devlin et al. 2019,
arXiv 1810.04805 for the class token; here the tokens are modalities.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import (
    ClassEncoder,
    Perceptron,
    TokenEmbedding,
    blank,
    no_penalty,
    pooled_parts,
)


class ModalityAttention(nn.Module):
    """Attention among one token a modality; the class token's state is the fused embedding."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        width = blueprint.width
        self.names = blueprint.modalities
        self.embed = TokenEmbedding(blueprint)
        self.encoder = ClassEncoder(blueprint)
        self.head = Perceptron(width, width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        streams = self.embed(pooled_parts(self.names, x, present, valid), present, None)
        tokens = torch.cat([streams[m][0] for m in self.names], dim=1)
        vector = self.encoder(tokens, present)
        _, output = self.head(vector)
        return Fused(vector, output, no_penalty(output))


def example() -> list[str]:
    """Two modalities of width 3, weighed alike, through one layer."""
    shape = {"image": (3,), "text": (3,)}
    model = ModalityAttention(Blueprint(shape, 1, width=3, layers=1, heads=1))
    blank(model)
    with torch.no_grad():
        attention, head = model.encoder.blocks[0].attention, model.head
        for linear in (*model.embed.project.maps, attention.value, attention.output):
            linear.weight.copy_(torch.eye(3))
        head.hidden.weight[0, 0] = head.output.weight[0, 0] = 1.0
        x = {"image": torch.tensor([[3.0, 0.0, 0.0]]), "text": torch.tensor([[0.0, 3.0, 0.0]])}
        both = model(x, torch.tensor([[True, True]]))
        alone = model(x, torch.tensor([[True, False]]))
    numbers = [", ".join(f"{v:.3f}" for v in f.vector[0].tolist()) for f in (both, alone)]
    return [
        "image = [3, 0, 0], text = [0, 3, 0], class token 0, queries and keys 0: all weigh alike",
        "h_c = (0 + norm(image) + norm(text)) / 3 = [0.236, 0.236, -0.471]",
        f"fused = norm(h_c) = [{numbers[0]}],  y = gelu(fused_1) = {both.output.item():.3f}",
        "text absent: h_c = (0 + norm(image)) / 2 = [0.707, -0.354, -0.354]",
        f"fused = norm(h_c) = [{numbers[1]}],  y = gelu(fused_1) = {alone.output.item():.3f}",
    ]
