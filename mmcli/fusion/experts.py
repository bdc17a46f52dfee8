"""One model for each modality by itself: the baselines, and what late fusion combines.

An expert is the perceptron of `early:concat` on one modality alone, so that what fusing gains is
not the gain of a larger model.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmcli.fusion.blueprint import Blueprint
from mmcli.fusion.layers import Perceptron, masked


class Experts(nn.Module):
    """Gives outputs `(batch, modalities, n_outputs)`; of absent parts they mean nothing."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.names = blueprint.modalities
        self.each = nn.ModuleList(
            Perceptron(blueprint.dim(m), blueprint.width, blueprint.n_outputs, blueprint.dropout)
            for m in self.names
        )

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        found = []
        for i, (name, expert) in enumerate(zip(self.names, self.each, strict=True)):
            _, output = expert(masked(x[name], present[:, i]))
            found.append(output.float())
        return torch.stack(found, dim=1)
