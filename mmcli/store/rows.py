"""Any rows of a store, as they are on the disk: items, vectors, sequences and what failed.

Reads what the rows asked for need, so that a store of any size can be copied in parts. Knows
nothing about why some rows are wanted and others not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcli.store.mapped import MappedKey
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from mmcli.store.records import DTYPES, Array, Failure, KeyArrays

#: How much larger a compressed items file is in memory, roughly.
_UNPACKED = 4


@dataclass
class Block:
    """Some rows of a store, or what is to become some rows of one.

    items: without `has_` columns. has: bool `(rows,)` a key.
    """

    items: pa.Table
    has: dict[str, Array] = field(default_factory=dict)
    arrays: dict[str, KeyArrays] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


class StoreRows:
    """Rows of some keys of a store.

    keys: new name of each key -> its name in the store. schema: of the items, without `has_`
    columns. Raises BadInput when a file does not fit the manifest.
    """

    def __init__(self, store: Store, keys: Mapping[str, str]) -> None:
        store.check_structure()
        self.store = store
        self.keys = dict(keys)
        self.schema = pa.schema([f for f in store.schema if not f.name.startswith("has_")])
        self._vectors = {key: MappedKey(store, theirs) for key, theirs in self.keys.items()}
        self._sequences = {
            key: MappedSequences(store, theirs)
            for key, theirs in self.keys.items()
            if store.keys[theirs]["sequence"]
        }
        self._has = {key: store.has(theirs) for key, theirs in self.keys.items()}
        self._failures = _failures_of(store, self.keys)
        self._starts = [shard.start for shard in store.shards]
        self._read: tuple[int, pa.Table] | None = None

    def row_bytes(self) -> Array:
        """int64 `(rows,)`: about how many bytes each row takes in memory."""
        files = self.store.manifest.get("files", {})
        items = sum(files.get(s.items, {}).get("bytes", 0) for s in self.store.shards)
        cost = np.full(self.store.rows, items * _UNPACKED // max(1, self.store.rows), np.int64)
        for theirs in self.keys.values():
            entry = self.store.keys[theirs]
            cost += int(entry["dim"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize
        for key, sequences in self._sequences.items():
            dtype = DTYPES[self.store.keys[self.keys[key]]["dtype"]]
            cost += sequences.lengths() * sequences.dim * np.dtype(dtype).itemsize
        return cost

    def sequence_shape(self, key: str) -> tuple[int, int]:
        """How many tokens, patches or frames all rows have together, and their width."""
        sequences = self._sequences[key]
        return int(sequences.lengths().sum()), sequences.dim

    def has(self, key: str) -> Array:
        """bool `(rows,)`: which rows have that embedding."""
        return self._has[key]

    def take(self, rows: Array, items: bool = True) -> Block:
        """The rows, ascending. items: False leaves out their columns."""
        table = self.items(rows) if items else pa.table({})
        arrays = {}
        for key, vectors in self._vectors.items():
            arrays[key] = KeyArrays(vectors.raw(rows))
            vectors.release()
            if key in self._sequences:
                values, offsets = self._sequences[key].raw(rows)
                arrays[key].values, arrays[key].offsets = values, offsets
        failures = self._failures_among(self.ids(rows, table)) if len(self._failures) else []
        return Block(table, {k: has[rows] for k, has in self._has.items()}, arrays, failures)

    def ids(self, rows: Array, items: pa.Table | None = None) -> pa.ChunkedArray:
        """The ids of these rows."""
        if items is not None and "id" in items.column_names:
            return items.column("id")
        return self.items(rows).column("id")

    def items(self, rows: Array, columns: Sequence[str] | None = None) -> pa.Table:
        """Columns of these rows, ascending, in the types of `schema`."""
        schema = (
            self.schema if columns is None else pa.schema([self.schema.field(c) for c in columns])
        )
        shard_of = np.searchsorted(self._starts, rows, side="right") - 1
        parts = [schema.empty_table()]
        for number in np.unique(shard_of):
            table = self._shard_items(int(number))
            at = rows[shard_of == number] - self._starts[number]
            if len(at) != table.num_rows:
                table = table.take(pa.array(at))
            parts.append(table.select(schema.names))
        return pa.concat_tables(parts).combine_chunks()

    def _shard_items(self, number: int) -> pa.Table:
        """The items of a shard; the one read last is kept, since the next rows may be in it."""
        if self._read is None or self._read[0] != number:
            self._read = None
            self._read = (number, self.store.shard_items(number))
        return self._read[1]

    def _failures_among(self, ids: pa.ChunkedArray) -> list[Failure]:
        mask = pc.is_in(
            self._failures.column("id"), value_set=pa.chunked_array(ids).combine_chunks()
        )
        return [Failure(**row) for row in self._failures.filter(mask).to_pylist()]


def _failures_of(store: Store, keys: Mapping[str, str]) -> pa.Table:
    """Failures of these keys, under their new names; of a modality's other keys where all of it
    failed at once, which is noted under the first of them."""
    table = store.failures()
    new_of = {theirs: new for new, theirs in keys.items()}
    by_modality = {theirs.partition(":")[0]: new for new, theirs in reversed(list(keys.items()))}
    named = [
        new_of.get(key) or by_modality.get(key.partition(":")[0])
        for key in table.column("key").to_pylist()
    ]
    column = pa.array(named, pa.string())
    at = table.schema.get_field_index("key")
    return table.set_column(at, "key", column).filter(pc.is_valid(column))
