"""What a few-shot ladder reads of a store: unit vectors of keys side by side, and of the space of
the classes' names.

Chooses keys; knows nothing about labels, splits or rungs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.store.mapped import MappedKey
from mmcli.store.reader import Store
from mmcli.workflows.queries.plans import modality_of_key, plan_queries

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
#: What is told apart where nobody says: the first of these that the store has.
MODALITIES = ("image", "video", "speech", "text")


def choose_keys(store: Store, only: Sequence[str], keys: Sequence[str]) -> tuple[str, ...]:
    """The keys that are told apart by: those named, else every whole embedding of a modality.

    only: modalities; by default the first of `MODALITIES` that the store has. Raises UsageError
    for one that it does not have, BadInput where it has no embeddings.
    """
    for key in keys:
        store.key(key)
    if keys:
        return tuple(dict.fromkeys(keys))
    of: dict[str, list[str]] = {}
    for key, entry in store.keys.items():
        if entry.get("layer") is None:
            of.setdefault(modality_of_key(key, entry), []).append(key)
    for name in only:
        if name not in of:
            raise UsageError(f"`{store.path}` has no {name}", suggestion(name, of))
    if not of:
        raise BadInput(f"`{store.path}` has no embeddings", "extract it first")
    wanted = only or [next((name for name in MODALITIES if name in of), next(iter(of)))]
    return tuple(key for name in wanted for key in of[name])


def choose_text_key(store: Store, keys: Sequence[str]) -> str | None:
    """A key in a space that a known text encoder shares: of these, else of their modalities."""
    modalities = {modality_of_key(key, store.keys[key]) for key in keys}
    others = [k for k, entry in store.keys.items() if modality_of_key(k, entry) in modalities]
    options = store.manifest.get("options") or {}
    for key in dict.fromkeys([*keys, *others]):
        if "text" in plan_queries(store.keys, [key], options):
            return key
    return None


@dataclass(frozen=True)
class FeatureReader:
    """Vectors of any rows of a store.

    keys: brought to unit length and put side by side; text_key: whose space the names are in.
    """

    store: Store
    keys: tuple[str, ...]
    text_key: str | None
    maps: dict[str, MappedKey]
    present: NDArray[np.bool_]

    @classmethod
    def open(cls, store: Store, keys: tuple[str, ...], text_key: str | None) -> "FeatureReader":
        """present: bool `(rows,)`, whether a row has every key that is read."""
        needed = tuple(dict.fromkeys([*keys, *([text_key] if text_key else [])]))
        present = np.logical_and.reduce([store.has(key).astype(bool) for key in needed])
        maps = {key: MappedKey(store, key) for key in needed}
        return cls(store, keys, text_key, maps, present)

    @property
    def dim(self) -> int:
        """The width of the features."""
        return sum(self.maps[key].dim for key in self.keys)

    @property
    def text_dim(self) -> int:
        """The width of the space of the names, 0 without one."""
        return self.maps[self.text_key].dim if self.text_key else 0

    def take(self, rows: Rows) -> tuple[Vectors, Vectors | None]:
        """Features `(rows, dim)` and vectors `(rows, text_dim)`, each of length 1.

        Every key weighs the same in the features, whatever its width. Raises BadInput, naming the
        row, for a vector that is not finite.
        """
        parts = {key: self._unit(key, rows) for key in self.maps}
        whole = np.concatenate([parts[key] for key in self.keys], axis=1)
        whole /= np.float32(len(self.keys) ** 0.5)
        return whole, parts[self.text_key] if self.text_key else None

    def _unit(self, key: str, rows: Rows) -> Vectors:
        found = self.maps[key].take(rows)
        odd = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(odd):
            row = int(rows[odd[0]])
            raise BadInput(
                f"`{self.store.path}`: key `{key}` of item `{self.store.ids()[row]}` (row {row})"
                " is not finite",
                "extract the item again, or leave it out",
            )
        length = np.linalg.norm(found.astype(np.float64), axis=1, keepdims=True)
        unit: Vectors = (found / np.maximum(length, 1e-12)).astype(np.float32)
        return unit
