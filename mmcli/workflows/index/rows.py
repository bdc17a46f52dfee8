"""The rows that go into an index: which keys, which of their rows, and their vectors in blocks.

Vectors come as the store has them, or through an aligner's tower; a few blocks are in memory at a
time. Knows nothing about FAISS or queries.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import PART_COLUMNS
from mmcli.store.reader import Store
from mmcli.workflows.queries.plans import modality_of_key

if TYPE_CHECKING:
    from mmcli.align.aligner import Aligner
    from mmcli.align.tower import Tower

Vectors = NDArray[np.float32]
#: Rows read from the store at a time.
BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class IndexPart:
    """What is indexed under one name: a key of the store, or with an aligner a modality.

    keys: what is read for it. tower: None where the store's vectors are taken as they are. rows:
    `(store rows,)`, those that have a vector worth indexing.
    """

    name: str
    keys: tuple[str, ...]
    tower: "Tower | None"
    rows: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """How many vectors it has."""
        return int(self.rows.sum())

    def blocks(self, store: Store) -> Iterator[Vectors]:
        """float32 `(n, dim)`, the rows worth indexing in the store's order."""
        for start, block in _blocks(store, self.keys, self.tower):
            yield np.asarray(block, dtype=np.float32)[self.rows[start : start + len(block)]]


def choose_keys(
    entries: Mapping[str, Mapping[str, Any]],
    wanted: Sequence[str],
    store: str = "the store",
    metric: str = "cosine",
) -> list[str]:
    """The keys to index: those asked for, else `image`, else the store's first.

    Raises UsageError for a key that is not there, SpaceMismatch when two may not be compared:
    other than by cosine, also when the vectors of one have unit length and the others' have not.
    """
    if not entries:
        raise BadInput(f"`{store}` has no embeddings", "extract something into it first")
    for name in wanted:
        if name not in entries:
            raise UsageError(f"`{store}` has no key `{name}`", suggestion(name, entries))
    if not wanted:
        wanted = next(((m,) for m in PART_COLUMNS if m in entries), (next(iter(entries)),))
    names = list(dict.fromkeys(wanted))
    first = entries[names[0]]
    if len(names) > 1 and not first["space"]:
        raise SpaceMismatch(
            f"`{store}` does not say in which space `{names[0]}` is", "index one key at a time"
        )
    compared = ("space", "dim") if metric == "cosine" else ("space", "dim", "normalized")
    for name in names[1:]:
        for what in compared:
            mine, other = first.get(what), entries[name].get(what)
            if mine != other:
                raise SpaceMismatch(
                    f"key `{names[0]}` has {what} `{mine}`, key `{name}` has `{other}`",
                    "these cannot share an index: make one for each, or train an aligner",
                )
    return names


def choose_modalities(aligner: "Aligner", store: Store, wanted: Sequence[str]) -> list[str]:
    """The modalities to index through an aligner: those asked for, else the first that it can map.

    A key of the store stands for its modality. Raises UsageError for one that the aligner does
    not map, SpaceMismatch when the store's keys were not made as those it was trained on.
    """
    if not wanted:
        order = sorted(aligner.modalities, key=_usual_order)
        have = [m for m in order if set(aligner.keys(m)) <= set(store.keys)]
        wanted = (have or order)[:1]
    names = []
    for name in wanted:
        entry = store.keys.get(name)
        modality = name if entry is None else modality_of_key(name, entry)
        if modality not in aligner.modalities:
            raise UsageError(
                f"`{aligner.path}` does not map `{name}`",
                suggestion(name, list(aligner.modalities)),
            )
        names.append(modality)
    names = list(dict.fromkeys(names))
    for modality in names:
        aligner.check(store, modality)
    return names


def plain_parts(store: Store, names: Sequence[str], metric: str) -> list[IndexPart]:
    """Keys of the store, as they are."""
    return [IndexPart(n, (n,), None, _usable(store, (n,), None, metric)) for n in names]


def aligned_parts(
    store: Store, aligner: "Aligner", names: Sequence[str], metric: str
) -> list[IndexPart]:
    """Modalities through their towers; a row needs every key that the tower reads."""
    towers = aligner.towers()
    return [
        IndexPart(n, towers[n].keys, towers[n], _usable(store, towers[n].keys, towers[n], metric))
        for n in names
    ]


def _usable(
    store: Store, keys: tuple[str, ...], tower: "Tower | None", metric: str
) -> NDArray[np.bool_]:
    """Rows that have every key and a vector which is finite, and for cosine not zero."""
    rows = np.logical_and.reduce([np.asarray(store.has(key), dtype=bool) for key in keys])
    for start, block in _blocks(store, keys, tower):
        part = rows[start : start + len(block)]
        part &= np.isfinite(block).all(axis=1)
        if metric == "cosine":
            part &= block.any(axis=1)
    return np.asarray(rows, dtype=bool)


def _blocks(
    store: Store, keys: tuple[str, ...], tower: "Tower | None"
) -> Iterator[tuple[int, Vectors]]:
    """First row and vectors of every row, usable or not."""
    for parts in zip(*(store.iter(key, BLOCK_ROWS) for key in keys), strict=True):
        start, first = parts[0]
        if tower is None:
            yield start, first
            continue
        given = {key: block for key, (_, block) in zip(keys, parts, strict=True)}
        with np.errstate(all="ignore"):  # a row that is not finite comes out so, and is left out
            yield start, tower.apply(given)


def _usual_order(modality: str) -> int:
    return PART_COLUMNS.index(modality) if modality in PART_COLUMNS else len(PART_COLUMNS)
