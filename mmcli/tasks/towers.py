"""Encoders as modules that learn, and the fusion on top: the network that is tuned end to end.

A key whose tower does not learn is read from the store's features, once extracted; the others are
computed anew from prepared parts. Either way what the fusion reads is standardised alike, by the
statistics of the frozen features. Knows nothing about files, labels or epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmcli.core.types import Encoder, Prepared
from mmcli.engine.batching import padded_length
from mmcli.fusion.blueprint import Fused
from mmcli.fusion.inputs import LONGEST, Inputs, Rows
from mmcli.tuning.mixing import Mixture

Parts = Mapping[str, Mapping[int, Prepared]]


@dataclass(frozen=True)
class Source:
    """Where one key's vectors come from. layer: an inner layer of its encoder, None for its own
    output; tower: the name of the tower that computes it, "" for the store."""

    key: str
    tower: str
    layer: int | None


class Tower(nn.Module):
    """An encoder's network, called as the extraction pipeline calls it, but with gradients.

    exact: it is computed in fp32 whatever the run's precision is. Normalisation layers with running
    statistics keep those of pre-training: batches of tuning are small.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.network: nn.Module = encoder.network  # type: ignore[attr-defined]
        self.encoder = [encoder]  # in a list, so that nothing of it is registered twice
        self.exact = bool(getattr(encoder, "exact", False))

    def train(self, mode: bool = True) -> "Tower":
        super().train(mode)
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(
        self, rows: Sequence[Prepared], layers: Sequence[int | None], sequence: bool
    ) -> dict[int | None, Any]:
        """For each wanted layer (None: the output) what its head gives of the rows, in order."""
        with self.precision():
            features = self.features(rows)
            return {
                layer: self.encoder[0].head(
                    features, sequence=sequence and layer is None, layer=layer
                )
                for layer in layers
            }

    def precision(self) -> Any:
        """The run's autocast, or none where the tower is exact."""
        device = next(self.network.parameters()).device.type
        return torch.autocast(device, enabled=torch.is_autocast_enabled(device) and not self.exact)

    def features(self, rows: Sequence[Prepared]) -> Any:
        """What the encoder's trunk gives of a batch, padded to the longest of its rows."""
        encoder = self.encoder[0]
        longest = max(rows, key=lambda row: row.length)
        return encoder.trunk(encoder.collate(rows, padded_length([longest])))


class TowersAndFusion(nn.Module):
    """Towers that learn, standardisation, fusion.

    sources: for each modality, the keys that stand side by side in the view. view: what the fusion
    reads; tokens are those of a modality's first source.
    """

    def __init__(
        self,
        towers: Mapping[str, Tower],
        fusion: nn.Module,
        inputs: Inputs,
        sources: Mapping[str, Sequence[Source]],
        view: str,
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({name.replace(".", "/"): t for name, t in towers.items()})
        self.fusion = fusion
        self.inputs = inputs
        self.sources = {m: list(found) for m, found in sources.items()}
        self.view = view
        self._moments: dict[str, tuple[Tensor, Tensor]] = {}

    def forward(
        self, parts: Parts, rows: Rows, present: Tensor, mix: Mixture | None = None
    ) -> Fused:
        """Fuse these rows. present: `(rows, modalities)`, what is taken as there of each.

        mix: who is blended with whom before anything is fused, None for nobody.
        """
        x, valid = self.read(parts, rows, present)
        if mix is not None:
            x, real = mix.vectors(x, valid or None)
            valid = real or {}
        return self.fusion(x, present, valid or None)

    def read(
        self, parts: Parts, rows: Rows, present: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Standardised vectors `(rows, dim)` or tokens `(rows, longest, dim)` of each modality,
        zeros where absent, and which tokens are real."""
        computed = {name: self._run(name, parts, rows) for name in self._names()}
        x: dict[str, Tensor] = {}
        valid: dict[str, Tensor] = {}
        for place, (name, modality) in enumerate(self.inputs.modalities.items()):
            here = present[:, place]
            found = modality.view(self.view)
            sources = self.sources.get(name, [])
            if not any(source.tower for source in sources):
                self._stored(name, rows, here, x, valid)
            elif found.sequences is not None:
                tokens = computed[sources[0].tower][None]
                x[name], valid[name] = self._tokens(name, tokens, rows, here)
            else:
                x[name] = self._pooled(name, sources, computed, rows, here)
        return x, valid

    def _names(self) -> list[str]:
        named = (source.tower for found in self.sources.values() for source in found)
        return [name for name in dict.fromkeys(named) if name]

    def _run(self, name: str, parts: Parts, rows: Rows) -> dict[int | None, dict[int, Any]]:
        """For each wanted layer, by position in the batch: `(pooled, tokens or None)`."""
        places = [i for i, row in enumerate(rows.tolist()) if row in parts[name]]
        wanted = [s for found in self.sources.values() for s in found if s.tower == name]
        layers = list(dict.fromkeys(s.layer for s in wanted))
        if not places:
            return {layer: {} for layer in layers}
        tower = self.towers[name.replace(".", "/")]
        outputs = tower([parts[name][int(rows[i])] for i in places], layers, self.view == "tokens")
        found: dict[int | None, dict[int, Any]] = {}
        for layer, output in outputs.items():
            tokens = output.sequence or [None] * len(places)
            found[layer] = {place: (output.pooled[i], tokens[i]) for i, place in enumerate(places)}
        return found

    def _stored(
        self, name: str, rows: Rows, here: Tensor, x: dict[str, Tensor], valid: dict[str, Tensor]
    ) -> None:
        modality = self.inputs.modalities[name]
        found = modality.view(self.view)
        there = here.cpu().numpy()
        if found.sequences is not None:
            x[name], valid[name] = (t.to(here.device) for t in found.tokens(rows, there))
        else:
            x[name] = found.take(rows, there).to(here.device) * here[:, None]

    def _pooled(
        self, name: str, sources: Sequence[Source], computed: Any, rows: Rows, here: Tensor
    ) -> Tensor:
        view = self.inputs.modalities[name].view(self.view)
        columns = []
        for place, source in enumerate(sources):
            if not source.tower:
                columns.append(torch.from_numpy(view.maps[place].take(rows)).to(here.device))
                continue
            held = computed[source.tower][source.layer]
            empty = here.new_zeros(view.dims[place], dtype=torch.float32)
            columns.append(
                torch.stack([held[i][0].float() if i in held else empty for i in range(len(rows))])
            )
        mean, scale = self._of(name, here.device)
        values = (torch.cat(columns, dim=1) - mean) / scale
        return torch.where(here[:, None], values, torch.zeros((), device=here.device))

    def _tokens(self, name: str, held: Any, rows: Rows, here: Tensor) -> tuple[Tensor, Tensor]:
        view = self.inputs.modalities[name].view(self.view)
        mean, scale = self._of(name, here.device)
        there = here.tolist()
        dim = len(mean)
        found = [
            (short(held[i][1].float(), view.grid) - mean) / scale
            if there[i] and i in held and len(held[i][1])
            else mean.new_zeros((1, dim))
            for i in range(len(rows))
        ]
        padded = nn.utils.rnn.pad_sequence(found, batch_first=True)
        lengths = torch.tensor([len(one) for one in found], device=here.device)
        return padded, torch.arange(padded.shape[1], device=here.device) < lengths[:, None]

    def _of(self, name: str, device: Any) -> tuple[Tensor, Tensor]:
        if name not in self._moments:
            view = self.inputs.modalities[name].view(self.view)
            self._moments[name] = (
                torch.from_numpy(np.asarray(view.mean)).to(device),
                torch.from_numpy(np.asarray(view.scale)).to(device),
            )
        return self._moments[name]


def short(tokens: Tensor, grid: bool, most: int = LONGEST) -> Tensor:
    """At most so many tokens `(length, dim)`, as `engine/sequences.shortened` has it."""
    if len(tokens) <= most:
        return tokens
    side = isqrt(len(tokens))
    if not grid or side * side != len(tokens) or side < 2:
        return _means(tokens, most)
    kept = isqrt(most)
    down = _means(tokens.reshape(side, -1), kept).reshape(kept, side, -1)
    across = _means(down.transpose(0, 1).reshape(side, -1), kept).reshape(kept, kept, -1)
    return across.transpose(0, 1).reshape(kept * kept, -1)


def _means(values: Tensor, count: int) -> Tensor:
    """Means over runs of rows, as equal as can be."""
    edges = np.linspace(0, len(values), count + 1).round().astype(np.int64)
    return torch.stack([values[a:b].mean(0) for a, b in pairwise(edges.tolist())])
