"""Vectors of a store, mapped into memory: any rows, in any order, without reading the rest.

What the kernel maps is file cache, not memory of this process. Knows nothing about training.
"""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.store.reader import Store
from mmcli.store.records import DTYPES, Array
from mmcli.store.tensors import data_offset

#: Rows looked at in one go where a whole key is walked through.
BLOCK_ROWS = 16_384


class MappedKey:
    """The pooled vectors of one key, `(rows, dim)`, as one read-only map a shard."""

    def __init__(self, store: Store, key: str) -> None:
        entry = store.key(key)
        self.key = key
        self.dim: int = entry["dim"]
        self.rows = store.rows
        self._path = store.path
        self._starts: list[int] = []
        self.shards: list[Array] = []
        dtype = np.dtype(DTYPES[entry["dtype"]]).newbyteorder("<")
        for shard in store.shards:
            if shard.rows == 0:
                continue
            path = store.tensor_file(
                shard, key
            ).path  # whose shape and type are those of the manifest
            offset = data_offset(path, "embeddings")
            shape = (shard.rows, self.dim)
            self.shards.append(np.memmap(path, dtype, "r", offset=offset, shape=shape))
            self._starts.append(shard.start)

    def take(self, rows: Array) -> Array:
        """float32 `(len(rows), dim)`, the rows in the order given."""
        wanted = np.asarray(rows, np.int64)
        if len(self.shards) == 1:
            return np.take(self.shards[0], wanted, axis=0).astype(np.float32, copy=False)
        found = np.empty((len(wanted), self.dim), np.float32)
        shard_of = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(shard_of):
            here = np.nonzero(shard_of == number)[0]
            found[here] = self.shards[number][wanted[here] - self._starts[number]]
        return found

    def raw(self, rows: Array) -> Array:
        """`(len(rows), dim)` in the type of the file, the rows in the order given: equal bits."""
        wanted = np.asarray(rows, np.int64)
        dtype = self.shards[0].dtype if self.shards else np.dtype(np.float32)
        found = np.empty((len(wanted), self.dim), dtype)
        shard_of = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(shard_of):
            here = np.nonzero(shard_of == number)[0]
            found[here] = self.shards[number][wanted[here] - self._starts[number]]
        return found.astype(dtype.newbyteorder("="), copy=False)

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[tuple[int, Array]]:
        """First row and vectors `(at most size, dim)`, in order; a block never spans shards."""
        for start, shard in zip(self._starts, self.shards, strict=True):
            for at in range(0, len(shard), size):
                yield start + at, shard[at : at + size]

    def check_finite(self, ids: Any) -> None:
        """Raise BadInput that names the first row that holds NaN or an infinity.

        ids: called with a row number, gives the id that the message names.
        """
        for start, block in self.blocks():
            with np.errstate(invalid="ignore", over="ignore"):
                sums = block.sum(axis=1, dtype=np.float32)
            for at in np.nonzero(~np.isfinite(sums))[0]:
                if not np.isfinite(block[at]).all():
                    raise BadInput(
                        f"`{self._path}`: `{self.key}` of item `{ids(start + int(at))}`"
                        f" (row {start + int(at)}) holds NaN or an infinity",
                        "extract the item again, or leave it out",
                    )

    def release(self) -> None:
        """Tell the kernel that the pages read so far will not be needed soon."""
        for shard in self.shards:
            mapped = getattr(shard, "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)
