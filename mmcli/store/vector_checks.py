"""Whether the vectors of a store are what its manifest says: numbers, and of length one.

Reads every array once, a block at a time. Knows nothing about hashes.
"""

from collections.abc import Iterator

import numpy as np

from mmcli.store.reader import BATCH_ROWS, Store
from mmcli.store.records import Array
from mmcli.store.tensors import TensorFile

#: How far a unit vector's length may be from one: it may come from a model that ran in bf16, whose
#: numbers have 8 bits, and be kept as F16.
_TOLERANCE = 1e-2


def vector_problems(store: Store) -> Iterator[tuple[str, str]]:
    """File and what is wrong with its vectors: of each kind of fault the first in the file.

    A vector of zeros, as that of an absent part, is in order.
    """
    for shard in store.shards:
        for key, name in shard.keys.items():
            entry, file = store.keys[key], store.tensor_file(shard, key)
            broken = crooked = False
            for start, block in _blocks(file, "embeddings", shard.rows):
                squares = np.einsum("ij,ij->i", block, block)
                bad = _broken(block, squares)
                if len(bad) and not broken:
                    broken = True
                    yield name, f"row {start + bad[0]}: the vector holds NaN or an infinity"
                lengths = np.sqrt(np.where(np.isfinite(squares), squares, 0))
                off = np.flatnonzero((lengths > 0) & (np.abs(lengths - 1) > _TOLERANCE))
                if len(off) and entry["normalized"] and not crooked:
                    crooked = True
                    yield (
                        name,
                        f"row {start + off[0]}: a vector of length {lengths[off[0]]:.4g}, but the"
                        f" manifest says that those of `{key}` have length one",
                    )
            if entry["sequence"]:
                total = file.shape("values")[0]
                for start, block in _blocks(file, "values", total):
                    bad = _broken(block, np.einsum("ij,ij->i", block, block))
                    if len(bad):
                        yield name, f"`values`, row {start + bad[0]}: holds NaN or an infinity"
                        break


def parts_not_said(store: Store) -> Iterator[tuple[str, str]]:
    """Items file and key of which no `has_` column says which rows have it."""
    for shard, names in zip(store.shards, store.shard_columns, strict=True):
        for entry in store.keys.values():
            column = f"has_{entry['slug']}"
            if column not in names:
                yield shard.items, f"has no column `{column}`: a vector of zeros is taken as absent"


def _blocks(file: TensorFile, name: str, rows: int) -> Iterator[tuple[int, Array]]:
    for start in range(0, rows, BATCH_ROWS):
        block = file.read(name, start, min(start + BATCH_ROWS, rows))
        yield start, block.astype(np.float32, copy=False)


def _broken(block: Array, squares: Array) -> Array:
    """The rows with a number that is none. A square may be too large without one."""
    odd = np.flatnonzero(~np.isfinite(squares))
    return odd[~np.isfinite(block[odd]).all(axis=1)]
