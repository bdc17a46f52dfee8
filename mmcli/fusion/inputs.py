"""What a fusion reads of a store: standardised vectors, tokens or layers of each modality.

A view is one way to read a modality: `pooled` (its keys side by side), `tokens` (the sequence of
its first key that has one) or `levels` (its layers, one after the other); where a store has no
tokens or layers, the view is the pooled one. Statistics are given, so that they can come from the
train rows, or from a model. Knows nothing about labels or networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmcli.engine.sequences import padded, shortened
from mmcli.engine.standard_scale import standard_scale
from mmcli.fusion.blueprint import Blueprint
from mmcli.store.mapped import MappedKey
from mmcli.store.mapped_sequences import MappedSequences

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
#: Rows that statistics are taken from: enough for four digits.
SAMPLE_ROWS = 65_536
#: Rows whose tokens give the statistics of tokens.
SAMPLE_SEQUENCES = 2_000
#: Tokens at most of one part: longer sequences become means over neighbours.
LONGEST = 32
#: Standardised vectors are held in memory up to so many bytes in all, else read where they lie.
HELD_BYTES = 600_000_000


@dataclass
class View:
    """One way to read one modality.

    maps: the keys whose vectors stand side by side; or a matrix `(rows, dim)`; or sequences, which
    are the cells of a square picture where `grid` is true and their number is a square.
    mean, scale: `(dim,)`. held: the standardised vectors of all rows, once `hold` was called.
    """

    dims: tuple[int, ...]
    maps: tuple[MappedKey, ...] = ()
    matrix: Vectors | None = None
    sequences: MappedSequences | None = None
    grid: bool = False
    mean: Vectors = field(default_factory=lambda: np.zeros(0, np.float32))
    scale: Vectors = field(default_factory=lambda: np.zeros(0, np.float32))
    held: Tensor | None = None

    def raw(self, rows: Rows) -> Vectors:
        """float32 `(len(rows), dim)` as the store has them."""
        if self.matrix is not None:
            return self.matrix[rows]
        if not self.maps:  # a modality that this store does not have
            return np.zeros((len(rows), sum(self.dims)), np.float32)
        parts = [mapped.take(rows) for mapped in self.maps]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def learn(self, rows: Rows, seed: int) -> None:
        """Take mean and scale from these rows, all of which have the part."""
        most = SAMPLE_SEQUENCES if self.sequences is not None else SAMPLE_ROWS
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
        if self.sequences is not None:
            tokens = [t for t in self.sequences.take(rows) if len(t)]
            x = np.concatenate(tokens) if tokens else np.zeros((1, sum(self.dims)), np.float32)
        else:
            x = self.raw(rows)
        self.mean, self.scale = standard_scale(x)

    def take(self, rows: Rows, present: NDArray[np.bool_]) -> Tensor:
        """Standardised `(len(rows), dim)`, zeros where absent."""
        if self.held is not None:
            return self.held.index_select(0, torch.from_numpy(rows))
        values = (self.raw(rows) - self.mean) / self.scale
        values[~present] = 0.0
        return torch.from_numpy(values)

    def short(self, tokens: Vectors) -> Vectors:
        """At most `LONGEST` tokens `(length, dim)`, means over neighbours where there are more."""
        return shortened(tokens, self.grid and _square(len(tokens)), LONGEST)

    def tokens(self, rows: Rows, present: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """Standardised `(len(rows), longest, dim)`, zeros behind the end, and which are real."""
        assert self.sequences is not None
        dim = sum(self.dims)
        found = [
            (self.short(t) - self.mean) / self.scale
            if here and len(t)
            else np.zeros((0, dim), np.float32)
            for t, here in zip(self.sequences.take(rows), present, strict=True)
        ]
        values, real = padded(found, dim)
        return torch.from_numpy(values), torch.from_numpy(real)


@dataclass
class Modality:
    """One modality: which rows have it, and its views by name; `pooled` is always there."""

    name: str
    keys: tuple[str, ...]
    present: NDArray[np.bool_]
    views: dict[str, View]

    def view(self, name: str) -> View:
        """The view of that name, else the pooled one."""
        return self.views.get(name) or self.views["pooled"]


class Inputs:
    """All modalities of a store, in the order of the columns of `present`."""

    def __init__(self, modalities: Mapping[str, Modality], tabular: str = "") -> None:
        self.modalities = dict(modalities)
        self.tabular = tabular

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities."""
        return tuple(self.modalities)

    def present(self, rows: Rows) -> NDArray[np.bool_]:
        """Which parts each row has, `(len(rows), modalities)`."""
        return np.stack([m.present[rows] for m in self.modalities.values()], axis=1)

    def learn(self, train: Rows, seed: int) -> None:
        """Statistics of every view from the train rows that have the part."""
        for modality in self.modalities.values():
            rows = train[modality.present[train]]
            for view in modality.views.values():
                if not len(view.mean):
                    view.learn(rows, seed)

    def hold(self, views: set[str], most: int = HELD_BYTES) -> None:
        """Keep the standardised vectors of these views in memory where they fit."""
        chosen = {
            id(v): (m, v)
            for m in self.modalities.values()
            for name in views
            if (v := m.view(name)).sequences is None
        }
        sizes = [len(m.present) * sum(v.dims) * 4 for m, v in chosen.values()]
        if sum(sizes) > most:
            return
        for modality, view in chosen.values():
            rows = np.arange(len(modality.present), dtype=np.int64)
            view.held = view.take(rows, modality.present)

    def blueprint(self, view: str, n_outputs: int, **sizes: Any) -> Blueprint:
        """The sizes that a network on this view is built with."""
        dims, sequences = {}, set()
        for name, modality in self.modalities.items():
            found = modality.view(view)
            dims[name] = found.dims
            if found.sequences is not None:
                sequences.add(name)
        return Blueprint(
            dims, n_outputs, sequences=frozenset(sequences), tabular=self.tabular, **sizes
        )

    def batch(
        self, rows: Rows, view: str, device: str = "cpu"
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Vectors or tokens of each modality, and which tokens are real."""
        x: dict[str, Tensor] = {}
        valid: dict[str, Tensor] = {}
        for name, modality in self.modalities.items():
            found = modality.view(view)
            here = modality.present[rows]
            if found.sequences is not None:
                x[name], valid[name] = (t.to(device) for t in found.tokens(rows, here))
            else:
                x[name] = found.take(rows, here).to(device)
        return x, valid or None

    def statistics(self) -> dict[str, Vectors]:
        """mean and scale of every view, by the names that a model's file has."""
        return {
            f"input/{m.name}/{view}/{kind}": getattr(found, kind)
            for m in self.modalities.values()
            for view, found in m.views.items()
            for kind in ("mean", "scale")
        }

    def restore(self, arrays: Mapping[str, Vectors]) -> None:
        """Take the statistics of a model."""
        for modality in self.modalities.values():
            for name, view in modality.views.items():
                view.mean = arrays[f"input/{modality.name}/{name}/mean"]
                view.scale = arrays[f"input/{modality.name}/{name}/scale"]


def _square(length: int) -> bool:
    return length > 1 and isqrt(length) ** 2 == length
