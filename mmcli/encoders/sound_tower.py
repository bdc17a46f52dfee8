"""The sound tower of a model that has others beside it: windows in, one vector of the shared space.

A recording is as many windows of one length as it needs; its vector is the mean of theirs. A family
says how samples become windows and how its network is called. Knows no model.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import AudioRecipe, Waveform
from mmcli.encoders.cards import finished
from mmcli.encoders.sound import RECIPE, at_rate
from mmcli.encoders.specs import EncoderOptions
from mmcli.encoders.steady import LEAST_ROWS
from mmcli.encoders.towers import Ran, as_tokens, watched
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch

#: Recordings gathered before they are sorted into batches, and windows in one batch.
_WINDOW, _BUDGET = 32, 32


@dataclass(frozen=True)
class SoundBatch:
    """Windows `(at least LEAST_ROWS, …)` on the device, the rows' one after another; counts: of
    each row. longer: which windows stand for more than they hold."""

    windows: Any
    longer: Any
    counts: list[int]


@dataclass(frozen=True)
class SoundFeatures:
    """Of each window: a unit vector, states and layers `(windows, length, dim)`."""

    pooled: Any
    states: Any
    layers: dict[int, Any]
    counts: list[int]


@dataclass
class SoundTower:
    """cut: samples to windows, each with whether it stands for more than it holds."""

    card: EncoderCard
    network: Any
    cut: Callable[[np.ndarray], list[tuple[Any, bool]]]
    run: Callable[[SoundBatch], Ran]
    layers_of: Callable[[], Sequence[Any]]
    rate_hz: int
    placement: Placement
    trunk_key: Hashable
    options: EncoderOptions
    recipe: AudioRecipe = RECIPE
    window: int | None = _WINDOW
    budget: int = _BUDGET
    exact: bool = False
    """Computed in fp32 whatever the run's precision is."""

    def prepare(self, parts: Sequence[Waveform]) -> list[Prepared]:
        """Windows; a row's length is how many it has."""
        cut = [self.cut(at_rate(part, self.rate_hz)) for part in parts]
        return [Prepared(windows, length=len(windows)) for windows in cut]

    def collate(self, rows: Sequence[Prepared], length: int) -> SoundBatch:
        """A batch of few windows is filled with silence, so that its size changes no bits."""
        torch = load_torch()
        flat = [window for row in rows for window in row.data]
        windows = torch.stack([torch.as_tensor(window) for window, _ in flat])
        missing = max(0, LEAST_ROWS - len(windows))
        windows = torch.cat([windows, windows.new_zeros((missing, *windows.shape[1:]))])
        longer = torch.tensor([longer for _, longer in flat] + [False] * missing)
        dtype, device = getattr(torch, self.placement.dtype), self.placement.device
        counts = [len(row.data) for row in rows]
        return SoundBatch(windows.to(device, dtype), longer.to(device), counts)

    def trunk(self, batch: SoundBatch) -> SoundFeatures:
        with watched(self.layers_of(), self.options.layers) as kept:
            ran = self.run(batch)
        return SoundFeatures(ran.pooled, ran.states, kept, batch.counts)

    def head(
        self, features: SoundFeatures, *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        """Sequence: the states of all windows, one after another."""
        torch = load_torch()
        counts, real = features.counts, sum(features.counts)
        states = as_tokens(features.states if layer is None else features.layers[layer])
        pooled, dim = features.pooled, self.options.dim
        if layer is not None:
            pooled, dim = states.float().mean(dim=1), None
        if self.card.normalized:
            pooled = torch.nn.functional.normalize(pooled.float(), dim=-1)
        means = torch.stack([p.float().mean(dim=0) for p in pooled[:real].split(counts)])
        pooled = finished(means, dim, self.card.normalized)
        if not sequence:
            return Output(pooled)
        return Output(pooled, [s.flatten(0, 1).float() for s in states[:real].split(counts)])
