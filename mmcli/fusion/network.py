"""A fusion as one network that is trained, saved, loaded and applied: what a method's name builds.

Late fusion is a network too: one expert a modality, and a combiner of what they say. Knows nothing
about training.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmcli.core.registry import load_attribute
from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.experts import Experts
from mmcli.fusion.layers import no_penalty
from mmcli.fusion.registry import METHODS, FusionSpec

CONCAT = "early:concat"


class Late(nn.Module):
    """Experts and a combiner. The fused vector is the combined output.

    joint: a network on all modalities that is one more expert, or None.
    """

    def __init__(self, experts: nn.Module, combiner: nn.Module, joint: nn.Module | None) -> None:
        super().__init__()
        self.experts, self.combiner, self.joint = experts, combiner, joint

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        outputs = self.experts(x, present, valid)
        there = present
        if self.joint is not None:
            outputs, there = with_joint(
                outputs, self.joint(x, present, valid).output.float(), present
            )
        output = self.combiner(outputs, there)
        return Fused(output, output, no_penalty(output))


def with_joint(outputs: Tensor, joint: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Experts' outputs `(batch, M + 1, n_outputs)` and presence with one more, of everything."""
    return (
        torch.cat([outputs, joint[:, None]], dim=1),
        torch.cat([present, present.any(1, keepdim=True)], dim=1),
    )


def combiner_for(spec: FusionSpec, n_experts: int, n_outputs: int, kind: str) -> Any:
    """A combiner of late fusion, not fitted yet."""
    return load_attribute(spec.build)(n_experts, n_outputs, kind)


def build_network(spec: FusionSpec, blueprint: Blueprint, kind: str) -> nn.Module:
    """The network of a method; its weights are random, or for `load_state_dict` to set."""
    if not spec.experts:
        network: nn.Module = load_attribute(spec.build)(blueprint)
        return network
    joint = load_attribute(METHODS.get(CONCAT).build)(blueprint) if spec.ensemble else None
    experts = len(blueprint.modalities) + (1 if spec.ensemble else 0)
    combiner = combiner_for(spec, experts, blueprint.n_outputs, kind)
    return Late(Experts(blueprint), combiner, joint)
