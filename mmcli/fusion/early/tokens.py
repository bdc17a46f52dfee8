"""Early fusion of tokens: every modality's tokens are one stream that attends to itself.

    h^0 = [c; E_1 x_1 + k_1 + pos; …; E_M x_M + k_M + pos],  h^l = Block_l(h^(l-1)),
    z = norm(h^L_c),  y = V gelu(W z + b) + d

c is a learned class token, k_m a learned vector that names the modality; pos is added to sequences
only. Tokens of absent parts and padding are never attended to. Source: Li et al. 2019 (VisualBERT),
arXiv 1908.03557; without its pre-training.
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
    positions,
)


class Tokens(nn.Module):
    """Attention among all tokens; the state of the class token is the fused embedding."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        width = blueprint.width
        self.embed = TokenEmbedding(blueprint)
        self.encoder = ClassEncoder(blueprint)
        self.head = Perceptron(width, width, blueprint.n_outputs, blueprint.dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        streams = self.embed(x, present, valid).values()
        tokens = torch.cat([tokens for tokens, _ in streams], dim=1)
        real = torch.cat([real for _, real in streams], dim=1)
        vector = self.encoder(tokens, real)
        _, output = self.head(vector)
        return Fused(vector, output, no_penalty(output))


def example() -> list[str]:
    """Two tokens of an image and one of a text, weighed alike, through one layer."""
    shape = {"image": (3,), "text": (3,)}
    model = Tokens(Blueprint(shape, 1, width=3, layers=1, heads=1, sequences=frozenset(["image"])))
    blank(model)
    with torch.no_grad():
        attention, head = model.encoder.blocks[0].attention, model.head
        for linear in (*model.embed.project.maps, attention.value, attention.output):
            linear.weight.copy_(torch.eye(3))
        head.hidden.weight[0, 0] = head.output.weight[0, 0] = 1.0
        image = torch.tensor([3.0, 0.0, 0.0]) - positions(2, 3)
        x = {"image": image[None], "text": torch.tensor([[0.0, 0.0, 3.0]])}
        valid = {"image": torch.tensor([[True, True]])}
        both = model(x, torch.tensor([[True, True]]), valid)
        alone = model(x, torch.tensor([[True, False]]), valid)
    numbers = [", ".join(f"{v:.3f}" for v in f.vector[0].tolist()) for f in (both, alone)]
    return [
        "two image tokens [3, 0, 0] (place added), a text token [0, 0, 3], class token [0, 0, 0];",
        "queries and keys are 0, so all tokens weigh the same; their values are the normed tokens:",
        "h_c = (0 + 2 norm([3, 0, 0]) + norm([0, 0, 3])) / 4 = [0.530, -0.530, 0.000]",
        f"fused = norm(h_c) = [{numbers[0]}],  y = gelu(fused_1) = {both.output.item():.3f}",
        f"text absent: fused = [{numbers[1]}],  y = {alone.output.item():.3f}",
    ]
