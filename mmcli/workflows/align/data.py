"""From a store and the words of a command line to what an alignment method trains on.

Decides keys, rows, positives and pairs; refuses what cannot be trained on. Prints nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmcli.align.features import Features, Part, Rows
from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import MODALITIES
from mmcli.data.groups import group_codes
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.store.bindings import binding, compare_binding
from mmcli.store.mapped import MappedKey
from mmcli.store.reader import Store
from mmcli.workflows.queries.plans import modality_of_key


@dataclass(frozen=True)
class DataConfig:
    """Which rows and keys to train on.

    between: modalities, the first of a pair asks and the second answers. keys: only these keys of
    the store. positive_by: rows of one value are positives of each other. paired: the share of the
    pairs that is known; the other rows keep their parts, not their partners. unpaired: another
    store of the same encoders whose partners are not looked at.
    """

    between: tuple[str, ...]
    keys: tuple[str, ...] = ()
    positive_by: str | None = None
    paired: float = 1.0
    unpaired: str | None = None
    splits: SplitOptions = field(default_factory=SplitOptions)


@dataclass(frozen=True)
class AlignData:
    """Features, the rows kept for testing, and what is written down of them."""

    features: Features
    test: Rows
    split_source: str
    bindings: Mapping[str, Mapping[str, Any]]


def load_data(store: Store, config: DataConfig, *, sequence: bool = False) -> AlignData:
    """Raises BadInput, UsageError or SpaceMismatch for what cannot be trained on, before it is."""
    if not 0 < config.paired <= 1:
        raise UsageError(f"`--paired {config.paired}` is not a share", "more than 0, at most 1")
    chosen = choose_keys(store, config.between, config.keys, sequence=sequence)
    parts = {name: load_part(store, name, keys) for name, keys in chosen.items()}
    splits = config.splits
    if splits.group_by is None and config.positive_by is not None:
        splits = SplitOptions(**{**vars(splits), "group_by": config.positive_by})
    groups = _codes(store, config.positive_by)
    blocks = _codes(store, splits.group_by) if splits.group_by else groups
    found = split_rows(store, splits, train=True)
    train, val = (found.rows(name).astype(np.int64) for name in ("train", "val"))
    train, left = _keep_pairs(train, blocks, config.paired, splits.seed)
    loose: dict[str, list[tuple[Part, Rows]]] = {name: [] for name in parts}
    for name, part in parts.items():
        if len(left):
            loose[name].append((part, left[part.present[left]]))
    if config.unpaired is not None:
        for name, part in _second_store(config.unpaired, store, chosen).items():
            loose[name].append((part, np.flatnonzero(part.present).astype(np.int64)))
    features = Features(
        parts, train, val, groups, blocks, {n: tuple(found) for n, found in loose.items()}, store
    )
    features.check_pairs()
    bindings = {key: binding(store.keys[key]) for keys in chosen.values() for key in keys}
    return AlignData(features, found.rows("test").astype(np.int64), found.source, bindings)


def choose_keys(
    store: Store, between: Sequence[str], keys: Sequence[str], *, sequence: bool = False
) -> dict[str, tuple[str, ...]]:
    """The keys of each modality: those asked for, else all that are no inner layer.

    sequence: only the first of a modality that holds sequences.
    """
    if len(set(between)) < 2 or len(set(between)) != len(between):
        raise UsageError(
            f"`--between {','.join(between)}`", "name two or more modalities, as in text,image"
        )
    for key in keys:
        store.key(key)
    found: dict[str, tuple[str, ...]] = {}
    for name in between:
        if name not in MODALITIES:
            raise UsageError(
                f"`--between`: `{name}` is not a modality", suggestion(name, MODALITIES)
            )
        here = [k for k, entry in store.keys.items() if modality_of_key(k, entry) == name]
        if not here:
            known = {modality_of_key(k, entry) for k, entry in store.keys.items()}
            raise BadInput(
                f"`{store.path}` has no {name} embeddings", "it has " + ", ".join(sorted(known))
            )
        wanted = [k for k in here if k in keys] if keys else _outer(store, here)
        if keys and not wanted:
            raise UsageError(f"`--keys` names no key of {name}", suggestion(name, here))
        if sequence:
            wanted = [k for k in wanted if store.keys[k]["sequence"]][:1]
            if not wanted:
                raise BadInput(
                    f"no {name} key of `{store.path}` has sequences",
                    "extract it with `--sequence`",
                )
        found[name] = tuple(wanted)
    return found


def load_part(store: Store, name: str, keys: tuple[str, ...]) -> Part:
    """One modality of a store, mapped and checked for numbers that are none."""
    present = np.logical_and.reduce([store.has(key).astype(bool) for key in keys])
    if not present.any():
        raise BadInput(f"no item of `{store.path}` has {name}", "see its failures.parquet")
    maps = {key: MappedKey(store, key) for key in keys}
    for mapped in maps.values():
        mapped.check_finite(lambda row: store.ids()[row])
    spaces = {key: str(store.keys[key]["space"]) for key in keys}
    return Part(name, keys, maps, present, spaces)


def _outer(store: Store, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if store.keys[key].get("layer") is None] or list(keys)


def _codes(store: Store, column: str | None) -> Rows:
    """A number for each row, the same for rows of one value; rows without one stand alone."""
    if column is not None and column not in store.columns:
        raise BadInput(
            f"`{store.path}` has no column `{column}`", suggestion(column, store.columns)
        )
    return group_codes(store, column)


def _keep_pairs(train: Rows, blocks: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """The train rows whose partners are known, and the others; whole blocks at a time."""
    if share == 1:
        return train, np.zeros(0, np.int64)
    known = np.unique(blocks[train])
    kept = max(2, round(share * len(known)))
    chosen = np.random.default_rng(seed).permutation(known)[:kept]
    inside = np.isin(blocks[train], chosen)
    return train[inside], train[~inside]


def _second_store(
    path: str, first: Store, chosen: Mapping[str, tuple[str, ...]]
) -> dict[str, Part]:
    """The modalities of the store of unpaired rows that are there, made by the same encoders."""
    store = Store.open(path)
    found = {}
    for name, keys in chosen.items():
        if not all(key in store.keys for key in keys):
            continue
        for key in keys:
            compare_binding(binding(first.keys[key]), store.keys[key], key, first.path, store)
        found[name] = load_part(store, name, keys)
    if not found:
        wanted = ", ".join(key for keys in chosen.values() for key in keys)
        raise BadInput(f"`{path}` has none of the keys {wanted}", "extract it the same way")
    return found
