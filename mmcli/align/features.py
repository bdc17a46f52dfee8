"""What a method trains on: mapped embeddings of several modalities, which rows have them, splits.

Rows are read where they lie in the store's files. Knows nothing about towers or losses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.engine.standard_scale import standard_scale
from mmcli.store.mapped import MappedKey
from mmcli.store.reader import Store

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
#: Rows that statistics (mean, deviation) are taken from: enough for four digits.
SAMPLE_ROWS = 65_536


@dataclass(frozen=True)
class Part:
    """One modality: its keys, where their vectors lie, and which rows have them all.

    spaces: the space of each key, "" where nobody said.
    """

    name: str
    keys: tuple[str, ...]
    maps: Mapping[str, MappedKey]
    present: NDArray[np.bool_]
    spaces: Mapping[str, str]

    def take(self, rows: Rows, keys: Sequence[str] = ()) -> dict[str, Vectors]:
        """float32 `(len(rows), dim)` a key."""
        return {key: self.maps[key].take(rows) for key in keys or self.keys}

    def dim(self, key: str) -> int:
        """The width of a key."""
        return self.maps[key].dim


@dataclass(frozen=True)
class Features:
    """All that is known to a method: it reads `train` and `val` rows, never others.

    groups: `(rows,)`; rows of one number are positives of each other. blocks: `(rows,)`; rows of
    one number never part when rows are divided again. unpaired: further rows, of the same or of a
    second store, a modality each, whose partners are not known (dual learning). store: where the
    sequences of the parts can be read.
    """

    parts: Mapping[str, Part]
    train: Rows
    val: Rows
    groups: Rows
    blocks: Rows
    unpaired: Mapping[str, tuple[tuple[Part, Rows], ...]] | None = None
    store: Store | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities to be aligned, the one that queries speak first."""
        return tuple(self.parts)

    def rows_with(self, rows: Rows, *modalities: str) -> Rows:
        """Those of the rows that have all of these modalities."""
        kept = np.ones(len(rows), bool)
        for name in modalities:
            kept &= self.parts[name].present[rows]
        return rows[kept]

    def pairs(self) -> list[tuple[str, str]]:
        """Every pair of modalities, in order."""
        names = self.modalities
        return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]

    def check_pairs(self) -> None:
        """Raise BadInput when two modalities never meet in a train row, or nearly never."""
        for a, b in self.pairs():
            both = len(self.rows_with(self.train, a, b))
            if both == 0:
                raise BadInput(
                    f"no train row has both {a} and {b}",
                    f"rows with {a}: {int(self.parts[a].present.sum())}, "
                    f"with {b}: {int(self.parts[b].present.sum())}; "
                    "extract both from one source",
                )
            if both == 1:
                raise BadInput(f"only one train row has both {a} and {b}", "give more pairs")

    def shared_key(self, name: str) -> str | None:
        """The key of a modality whose space every other modality has a key in, if there is one."""
        others = [part for other, part in self.parts.items() if other != name]
        for key in self.parts[name].keys:
            space = self.parts[name].spaces[key]
            if space and all(space in part.spaces.values() for part in others):
                return key
        return None


def statistics(
    part: Part, keys: Sequence[str], rows: Rows, prepare: Any, seed: int
) -> tuple[Vectors, Vectors]:
    """Mean and scale `(dim,)` of the prepared keys side by side, from a sample of the rows.

    prepare: from vectors by key to a matrix.
    """
    if len(rows) > SAMPLE_ROWS:
        chosen = np.random.default_rng(seed).choice(len(rows), SAMPLE_ROWS, replace=False)
        rows = rows[np.sort(chosen)]
    return standard_scale(prepare(part.take(rows, keys)))


def inner_folds(features: Features, k: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Pairs of (fitted, held out) rows of train and val together, whole blocks held out at a time.

    What is chosen by them is chosen without a look at any other row.
    """
    rows = np.union1d(features.train, features.val)
    blocks, block_of = np.unique(features.blocks[rows], return_inverse=True)
    k = max(2, min(k, len(blocks)))
    order = np.random.default_rng(seed).permutation(len(blocks))
    fold_of = np.empty(len(blocks), np.int64)
    fold_of[order] = np.arange(len(blocks)) % k
    held = fold_of[block_of]
    return [(rows[held != fold], rows[held == fold]) for fold in range(k)]


def subset(rows: Rows, most: int, seed: int) -> Rows:
    """At most so many of the rows, drawn at random, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
