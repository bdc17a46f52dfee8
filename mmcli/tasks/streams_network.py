"""The network that says what happens at each step: dilated convolutions over fused features.

Each modality is projected to a common width. `early` puts the projections side by side and runs
one stack of convolutions over them; `late` runs a stack over each and adds what they say. Source:
dilated residual layers as in MS-TCN (Abu Farha and Gall 2019, arXiv 1903.01945), both senses fused
before or after them as in Tian et al. 2018, arXiv 1803.08842.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: Logits begin here, so that nothing happens at first: a probability of 5 %.
_START = -3.0


@dataclass(frozen=True)
class StreamBlueprint:
    """What a network is built from. dims: width of the vectors of each modality, in their order."""

    dims: tuple[tuple[str, int], ...]
    classes: int
    method: str = "early"
    width: int = 64
    layers: int = 5
    dropout: float = 0.2


@dataclass(frozen=True)
class StreamBatch:
    """Recordings padded to one length.

    values: of each modality `(batch, vectors, dim)`. index: which vector each step sees, -1 for
    none, `(batch, steps)`. mask: steps that are real, `(batch, steps)`. target: the share of each
    step that an event covers, `(batch, steps, classes)`, or None.
    """

    values: Mapping[str, Tensor]
    index: Mapping[str, Tensor]
    mask: Tensor
    target: Tensor | None = None


class StreamNetwork(nn.Module):
    """Logits `(batch, steps, classes)` of a batch; what padding says means nothing."""

    def __init__(self, blueprint: StreamBlueprint) -> None:
        super().__init__()
        self.blueprint = blueprint
        width, names = blueprint.width, [name for name, _ in blueprint.dims]
        self.project = nn.ModuleDict({name: Projection(dim, width) for name, dim in blueprint.dims})
        self.drop = nn.Dropout(blueprint.dropout)
        early = blueprint.method == "early"
        entries = {"fused": (width + 1) * len(names)} if early else dict.fromkeys(names, width)
        self.stacks = nn.ModuleDict(
            {
                name: Stack(inputs, width, blueprint.layers, blueprint.dropout)
                for name, inputs in entries.items()
            }
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, blueprint.classes, bias=False) for name in entries}
        )
        self.bias = nn.Parameter(torch.full((blueprint.classes,), _START))

    def forward(self, batch: StreamBatch) -> Tensor:
        seen = {name: self._on_grid(name, batch) for name, _ in self.blueprint.dims}
        if self.blueprint.method == "early":
            parts = [part for values, there in seen.values() for part in (values, there)]
            return self.bias + self._say("fused", torch.cat(parts, dim=2), batch.mask)
        found = self.bias
        for name, (values, there) in seen.items():
            found = found + there * self._say(name, values, batch.mask)
        return found

    def _on_grid(self, name: str, batch: StreamBatch) -> tuple[Tensor, Tensor]:
        """The projected vectors each step sees `(batch, steps, width)`, and whether any."""
        index = batch.index[name]
        there = ((index >= 0) & batch.mask)[:, :, None].float()
        vectors = self.drop(self.project[name](batch.values[name]))
        places = index.clamp(min=0)[:, :, None].expand(-1, -1, vectors.shape[2])
        return vectors.gather(1, places) * there, there

    def _say(self, name: str, values: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.heads[name](self.stacks[name](values, mask))
        return logits


class Projection(nn.Module):
    """Vectors, standardised by what was measured on train rows, in the common width."""

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.linear = nn.Linear(dim, width)

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.gelu(self.linear((values - self.mean) / self.scale))


class Stack(nn.Module):
    """Residual convolutions of kernel 3 whose reach doubles from layer to layer."""

    def __init__(self, inputs: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.entry = nn.Linear(inputs, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.wide = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=2**k, dilation=2**k) for k in range(layers)
        )
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.drop = nn.Dropout(dropout)
        self.last = nn.LayerNorm(width)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        real = mask[:, :, None].float()
        state = self.entry(values)
        for norm, wide, mix in zip(self.norms, self.wide, self.mix, strict=True):
            clean = norm(state) * real  # beyond the end there is silence, however long the batch
            reached = wide(clean.transpose(1, 2)).transpose(1, 2)
            state = state + self.drop(mix(nn.functional.gelu(reached)))
        return torch.as_tensor(self.last(state))


def build(blueprint: StreamBlueprint, statistics: Mapping[str, tuple[Any, Any]]) -> StreamNetwork:
    """A new network that standardises by these means and deviations, arrays `(dim,)`."""
    network = StreamNetwork(blueprint)
    for name, (mean, scale) in statistics.items():
        network.project[name].mean.copy_(torch.from_numpy(mean))
        network.project[name].scale.copy_(torch.from_numpy(scale))
    return network


def frame_loss(
    logits: Tensor, target: Tensor, mask: Tensor, focal_gamma: float | None = None
) -> Tensor:
    """Binary cross-entropy, the mean over real steps and classes, in nats.

    target: in [0, 1], the share of the step that is covered. focal_gamma: steps that are said right
    count less, by (1 - p) ** gamma. Source: Lin et al. 2017, arXiv 1708.02002.
    """
    each = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if focal_gamma is not None:
        said = logits.sigmoid()
        wrong = (target * (1 - said) + (1 - target) * said).clamp(min=1e-6)
        each = each * wrong**focal_gamma
    real = mask[:, :, None].float()
    return (each * real).sum() / (real.sum() * each.shape[2])
