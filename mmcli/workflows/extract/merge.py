"""A shard of a store with some rows embedded anew and some gone, as it is written again.

Knows the arrays, items and failures of one shard; nothing of how rows were chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.core.errors import BadInput
from mmcli.engine.shards import ShardResult
from mmcli.store.parquet import in_schema, open_parquet, read_rows
from mmcli.store.records import Failure, KeyArrays, ShardRecord
from mmcli.store.tensors import TensorFile
from mmcli.store.updates import read_sources
from mmcli.store.writer import StoreWriter


@dataclass(frozen=True)
class OldShard:
    """A shard as it lies in the store. keys: the store's entries."""

    root: Path
    record: ShardRecord
    keys: Mapping[str, Mapping[str, Any]]

    def items(self) -> pa.Table:
        """Its items."""
        path = self.root / self.record.items
        return read_rows(open_parquet(path), path)

    def arrays(self, key: str) -> KeyArrays:
        """The embeddings of a key."""
        file = TensorFile(self.root / self.record.keys[key])
        if not self.keys[key].get("sequence"):
            return KeyArrays(file.read("embeddings"))
        return KeyArrays(file.read("embeddings"), file.read("values"), file.read("offsets"))

    def failures(self) -> list[Failure]:
        """What of it could not be embedded."""
        if self.record.failures is None:
            return []
        path = self.root / self.record.failures
        table = read_rows(open_parquet(path), path)
        rows = table.slice(self.record.failures_start, self.record.failures_rows)
        return [Failure(**row) for row in rows.to_pylist()]


def merged(
    writer: StoreWriter,
    old: OldShard,
    gone: Sequence[int],
    changed: Sequence[int] = (),
    result: ShardResult | None = None,
    told: pa.Table | None = None,
    made_of: str = "",
) -> ShardRecord | None:
    """Write a shard without the rows `gone`, those `changed` taken in order from `result`.

    told: what the changed rows were made from. made_of: as of `StoreWriter.write_shard`. None when
    no row is left.
    """
    items = old.items()
    n = len(items)
    order = np.arange(n)
    order[list(changed)] = n + np.arange(len(changed))
    order = np.delete(order, list(gone))
    if not len(order):
        return None
    ids = set(items.column("id").take(pa.array(np.delete(np.arange(n), list(gone)))).to_pylist())
    renewed = set(items.column("id").take(pa.array(list(changed), pa.int64())).to_pylist())
    sources = read_sources(old.root, old.record)
    failures = [f for f in old.failures() if f.id in ids and f.id not in renewed]
    notes = dict(old.record.notes)
    if result is not None and told is not None:
        fresh = fitted_items(result.items, old.root / old.record.items)
        items = pa.concat_tables([items, fresh])
        sources = pa.concat_tables([sources, told])
        failures += result.failures
        for name, count in result.notes.items():
            notes[name] = notes.get(name, 0) + count
    items = items.take(pa.array(order)).combine_chunks()
    arrays = {
        key: _joined(old.arrays(key), result.arrays[key] if result else None, order)
        for key in old.keys
    }
    return writer.write_shard(
        old.record.index,
        old.record.start,
        items,
        arrays,
        _in_order(failures, items),
        _counts(items, failures),
        notes,
        sources.take(pa.array(order)).combine_chunks(),
        made_of,
    )


def fitted_items(items: pa.Table, like: Path) -> pa.Table:
    """New items in the columns of a store's.

    Raises BadInput when the source has a column that the store lacks, or of another type.
    """
    schema = pq.read_schema(like)
    hint = "`--update` keeps the columns: extract it again with `--force`"
    for name in items.column_names:
        if name not in schema.names:
            raise BadInput(f"the source has a column `{name}` that the store lacks", hint)

    def refused(field: pa.Field, found: pa.DataType) -> BadInput:
        return BadInput(f"column `{field.name}` was {field.type} and is {found} now", hint)

    return in_schema(items, schema, refused)


def _joined(old: KeyArrays, new: KeyArrays | None, order: Any) -> KeyArrays:
    """Rows of both, one after the other, in an order."""
    parts = [old] if new is None else [old, new]
    vectors = np.concatenate([part.embeddings for part in parts])[order]
    if old.values is None:
        return KeyArrays(vectors)
    rows: list[Any] = []
    for part in parts:
        assert part.values is not None and part.offsets is not None
        bounds = zip(part.offsets[:-1], part.offsets[1:], strict=True)
        rows += [part.values[start:stop] for start, stop in bounds]
    chosen = [rows[number] for number in order]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in chosen])]).astype(np.int64)
    return KeyArrays(vectors, np.concatenate([old.values[:0], *chosen]), offsets)


def _in_order(failures: Sequence[Failure], items: pa.Table) -> list[Failure]:
    place = {item: number for number, item in enumerate(items.column("id").to_pylist())}
    return sorted(failures, key=lambda failure: place[failure.id])


def _counts(items: pa.Table, failures: Sequence[Failure]) -> tuple[int, int, int]:
    """ok, partial, failed: an item without a failure is ok, one with nothing else failed."""
    failed = {failure.id for failure in failures}
    columns = [items.column(n).to_pylist() for n in items.column_names if n.startswith("has_")]
    some = [any(values) for values in zip(*columns, strict=True)]
    ids = items.column("id").to_pylist()
    bad = sum(item in failed and not has for item, has in zip(ids, some, strict=True))
    ok = sum(item not in failed for item in ids)
    return ok, len(ids) - ok - bad, bad
