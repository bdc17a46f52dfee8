"""Tokens, patches and frames of a store, mapped into memory: any rows, in any order.

What the kernel maps is file cache, not memory of this process. Knows nothing about models.
"""

from collections.abc import Iterable

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.store.reader import Store
from mmcli.store.records import DTYPES, Array
from mmcli.store.tensors import data_offset


class MappedSequences:
    """The sequences of one key, as one read-only map a shard; offsets are in memory.

    Raises BadInput when the key has none.
    """

    def __init__(self, store: Store, key: str) -> None:
        if not store.key(key)["sequence"]:
            raise BadInput(
                f"key `{key}` of `{store.path}` has no sequences", "extract it with `--sequence`"
            )
        self.key = key
        self.dim = 0
        self._starts: list[int] = []
        self._shards: list[tuple[Array, Array]] = []
        for shard in store.shards:
            if shard.rows == 0:
                continue
            file = store.tensor_file(shard, key)
            shape = file.shape("values")
            dtype = np.dtype(DTYPES[file.dtype("values")]).newbyteorder("<")
            self.dim = int(shape[1])
            values: Array = np.zeros(shape, dtype)
            if shape[0]:  # an empty array cannot be mapped
                offset = data_offset(file.path, "values")
                values = np.memmap(file.path, dtype, "r", offset=offset, shape=shape)
            self._starts.append(shard.start)
            self._shards.append((file.read("offsets"), values))

    def lengths(self) -> Array:
        """int64 `(rows,)`: how many tokens, patches or frames each row has."""
        parts = [np.diff(offsets) for offsets, _ in self._shards]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def raw(self, rows: Array) -> tuple[Array, Array]:
        """Values `(total, dim)` in the type of the file, and offsets `(len(rows) + 1,)`.

        rows: ascending, so that what is read lies in few runs.
        """
        wanted = np.asarray(rows, np.int64)
        shard_of = np.searchsorted(self._starts, wanted, side="right") - 1
        parts, lengths = [], [np.zeros(1, np.int64)]
        for number in np.unique(shard_of):
            offsets, values = self._shards[number]
            at = wanted[shard_of == number] - self._starts[number]
            cuts = np.flatnonzero(np.diff(at) != 1) + 1
            for run in np.split(at, cuts):  # rows that follow one another are one slice
                parts.append(np.array(values[int(offsets[run[0]]) : int(offsets[run[-1] + 1])]))
            lengths.append(offsets[at + 1] - offsets[at])
        dtype = self._shards[0][1].dtype if self._shards else np.dtype(np.float32)
        joined = np.concatenate(parts) if parts else np.zeros((0, self.dim), dtype)
        return joined.astype(dtype.newbyteorder("="), copy=False), np.cumsum(
            np.concatenate(lengths), dtype=np.int64
        )

    def take(self, rows: Iterable[int]) -> list[Array]:
        """float32 `(length, dim)` a row, in the order given; of length 0 where a row has none."""
        found = []
        for row in rows:
            shard = int(np.searchsorted(self._starts, row, side="right")) - 1
            offsets, values = self._shards[shard]
            at = int(row) - self._starts[shard]
            part = values[int(offsets[at]) : int(offsets[at + 1])]
            found.append(np.asarray(part, np.float32))
        return found
