"""Hybrid fusion at several levels: at each, what one modality knows reaches all the others.

    s_m^0 = A_m x_m^1 + a_m
    s_m^l = s_m^(l-1) + f_m^l([norm(s_m^(l-1)); P_m^l x_m^l; u_m^l])
    u_m^l = mean of s_j^(l-1) over the other present modalities j
    v = gelu(W [norm(s_1^L); …; norm(s_M^L)] + b),  y = V v + d

x_m^l is level l of modality m (its keys side by side are the levels, e.g. layers of its encoder);
who has fewer repeats the last, and of tokens the mean is the only level. f is a perceptron with a
GELU. L is the largest number of levels, at least 2. Absent modalities are zeros.

Source: Joze et al. 2020 (MMTM), arXiv 1911.08670, who exchange at several layers of unimodal
networks. Different here: the encoders are done, so nothing flows back into them, and a residual
message is added where theirs gates channels by a joint squeeze.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.layers import Perceptron, blank, masked, no_penalty, pooled_parts
from mmcli.fusion.shared_linear import SharedLinear

T = TypeVar("T")


class MultiLevel(nn.Module):
    """States that exchange messages level by level; the head's hidden state is the fused vector."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        width, dropout = blueprint.width, blueprint.dropout
        self.names = blueprint.modalities
        self.levels = [_level_widths(blueprint, m) for m in self.names]
        self.depth = max(2, *map(len, self.levels))
        self.starts = nn.ModuleList(SharedLinear(dims[0], width) for dims in self.levels)
        self.inputs = nn.ModuleList(
            nn.ModuleList(SharedLinear(_at(dims, level), width) for dims in self.levels)
            for level in range(self.depth)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.LayerNorm(width) for _ in self.names) for _ in range(self.depth + 1)
        )
        self.steps = nn.ModuleList(
            nn.ModuleList(Perceptron(3 * width, width, width, dropout) for _ in self.names)
            for _ in range(self.depth)
        )
        self.head = Perceptron(width * len(self.names), width, blueprint.n_outputs, dropout)

    def forward(
        self,
        x: Mapping[str, Tensor],
        present: Tensor,
        valid: Mapping[str, Tensor] | None = None,
    ) -> Fused:
        parts = pooled_parts(self.names, x, present, valid)
        split = [parts[m].split(dims, dim=1) for m, dims in zip(self.names, self.levels)]
        states = self._there([f(own[0]) for f, own in zip(self.starts, split)], present)
        for level in range(self.depth):
            normed = [norm(s) for norm, s in zip(self.norms[level], states)]
            read = [f(_at(own, level)) for f, own in zip(self.inputs[level], split)]
            heard = _messages(states, present)
            steps = [
                step(torch.cat(parts, dim=1))[1]
                for step, *parts in zip(self.steps[level], normed, read, heard)
            ]
            states = self._there([s + step for s, step in zip(states, steps)], present)
        ends = self._there([norm(s) for norm, s in zip(self.norms[-1], states)], present)
        hidden, output = self.head(torch.cat(ends, dim=1))
        return Fused(hidden, output, no_penalty(output))

    @staticmethod
    def _there(states: list[Tensor], present: Tensor) -> list[Tensor]:
        """Zeros for what is absent."""
        return [masked(state, present[:, i]) for i, state in enumerate(states)]


def _level_widths(blueprint: Blueprint, modality: str) -> tuple[int, ...]:
    if modality in blueprint.sequences:
        return (blueprint.dim(modality),)
    return tuple(blueprint.key_dims[modality])


def _at(levels: Sequence[T], level: int) -> T:
    """What stands at a level, or at the last."""
    return levels[min(level, len(levels) - 1)]


def _messages(states: list[Tensor], present: Tensor) -> list[Tensor]:
    """For each modality the mean of the other present ones' states, zeros when there are none."""
    found = []
    for m, own in enumerate(states):
        others = [s for j, s in enumerate(states) if j != m]
        total = sum(others, torch.zeros_like(own))
        count = present.sum(1) - present[:, m].long()
        found.append(total / count.clamp(min=1)[:, None])
    return found


def example() -> list[str]:
    """An image of two levels and a text of one, width 3: one message, then one level."""
    model = MultiLevel(Blueprint({"image": (3, 3), "text": (3,)}, 1, width=3))
    blank(model)
    with torch.no_grad():
        maps = [model.starts[0], model.starts[1], model.inputs[1][0]]
        message, level = model.steps[0][0], model.steps[1][0]
        for linear in (*maps, message.output, level.output):
            linear.weight.copy_(torch.eye(3))
        message.hidden.weight[:, 6:] = torch.eye(3)
        level.hidden.weight[:, 3:6] = torch.eye(3)
        model.head.hidden.weight[0, 1] = model.head.output.weight[0, 0] = 1.0
        image = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0, -1.0]])
        x = {"image": image, "text": torch.tensor([[0.0, 2.0, 0.0]])}
        both = model(x, torch.tensor([[True, True]])).output.item()
        alone = model(x, torch.tensor([[True, False]])).output.item()
    return [
        "image = [1, 0, 0] and [0, 0, -1], text = [0, 2, 0]; f^1: gelu(message), f^2: gelu(level)",
        "s_1^1 = [1, 0, 0] + gelu([0, 2, 0]) = [1, 1.954, 0]",
        "s_1^2 = s_1^1 + gelu([0, 0, -1]) = [1, 1.954, -0.159]",
        f"y = gelu(second number of norm(s_1^2) = [0.079, 1.183, -1.262]) = {both:.3f}",
        f"text absent: no message, norm([1, 0, -0.159]) = [1.403, -0.547, -0.856], y = {alone:.3f}",
    ]
