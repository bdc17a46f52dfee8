"""`store concat`: the rows of several stores one after another, as a store. Prints nothing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.ids import UniqueIds
from mmcli.store.reader import Store
from mmcli.store.records import KeyArrays
from mmcli.store.rows import Block, StoreRows
from mmcli.workflows.store.keys import chosen_keys, common_entry, refuse_mixing
from mmcli.workflows.store.output import (
    Making,
    Output,
    Progress,
    cut_blocks,
    kept_entry,
    manifest_sha256,
    write_store,
)
from mmcli.workflows.store.paths import rerooted

#: Columns whose values are ids, which `--prefix` stands before.
_ID_COLUMNS = ("id", "parent_id")


@dataclass(frozen=True)
class ConcatConfig:
    """What `mmcli store concat` can be told. prefixes: one a store, put before its ids, or none."""

    stores: tuple[str, ...]
    output: Output
    keys: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    verify: str = "once"


@dataclass(frozen=True)
class _Part:
    """One of the stores: its rows, where they begin in the new store, what its ids begin with."""

    rows: StoreRows
    start: int
    prefix: str

    @property
    def store(self) -> Store:
        return self.rows.store


def concat_stores(
    config: ConcatConfig, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Write all rows into one store and report what it holds.

    Raises SpaceMismatch, naming both, when a key's vectors are of different spaces; BadInput when
    keys or column types do not fit each other or an id is there twice.
    """
    if len(config.stores) < 2:
        raise UsageError("one store is nothing to concatenate", "name two or more")
    if config.prefixes and len(config.prefixes) != len(config.stores):
        raise UsageError(
            f"`--prefix` has {len(config.prefixes)} values for {len(config.stores)} stores",
            "one a store, as in a/,b/; one may be empty: ,new/",
        )
    config.output.check(config.stores)
    stores = [Store.open(path, config.verify) for path in config.stores]
    keys = _keys(config, stores)
    parts, start = [], 0
    counts: dict[str, int] = {}
    for number, store in enumerate(stores):
        prefix = config.prefixes[number] if config.prefixes else ""
        parts.append(_Part(StoreRows(store, {key: key for key in keys}), start, prefix))
        start += store.rows
        counts[config.stores[number]] = counts.get(config.stores[number], 0) + store.rows
    schema = _schema(parts)
    _refuse_repeated(parts)
    entries = {key: common_entry([s.keys[key] for s in stores]) for key in keys}
    report: dict[str, Any] = {
        "store": config.output.path,
        "rows": start,
        "stores": counts,
        "keys": keys,
        "columns": schema.names,
        "warnings": [
            f"key `{key}` names no space; its vectors are taken to be of one"
            for key in keys
            if not entries[key]["space"]
        ],
    }
    if config.output.dry_run:
        return {"dry_run": True, **report}
    roots = {store.source_root for store in stores}
    shas = [manifest_sha256(store) for store in stores]
    making = Making(
        keys={key: kept_entry(entry, key) for key, entry in entries.items()},
        source={
            "spec": " ".join(config.stores),
            "kind": "store",
            "source_root": stores[0].source_root if len(roots) == 1 else None,
            "stores": [
                {"spec": path, "rows": store.rows, "manifest_sha256": sha}
                for path, store, sha in zip(config.stores, stores, shas, strict=True)
            ],
        },
        options={
            "verb": "store concat",
            "keys": keys,
            "prefixes": list(config.prefixes),
            "shard_size": config.output.shard_size,
        },
        fingerprint=hashlib.sha256("".join(shas).encode()).hexdigest(),
    )

    def read(begin: int, end: int) -> Block:
        found = [_take(part, begin, end, schema, len(roots) > 1) for part in parts]
        return _joined([block for block in found if block is not None] or [_empty(parts, schema)])

    cost = np.concatenate([part.rows.row_bytes() for part in parts])
    blocks = cut_blocks(cost, config.output.shard_size)
    return report | write_store(config.output, making, blocks, read, progress)


def _keys(config: ConcatConfig, stores: Sequence[Store]) -> list[str]:
    first = stores[0]
    keys = chosen_keys(first, config.keys)
    for store in stores[1:]:
        theirs = chosen_keys(store, config.keys)
        for key in [*keys, *theirs]:
            one, other = (store, first) if key not in store.keys else (first, store)
            if key not in one.keys:
                raise BadInput(
                    f"`{one.path}` has no key `{key}`, `{other.path}` has",
                    "`--keys` names those that all have",
                )
        for key in keys:
            refuse_mixing(first, store, key)
    if not keys:
        raise BadInput(f"`{first.path}` has no keys", "extract something into it first")
    return keys


def _schema(parts: Sequence[_Part]) -> pa.Schema:
    """The columns of all stores, each in a type that holds its values in every store."""
    first, schema = parts[0], parts[0].rows.schema
    for part in parts[1:]:
        for field in part.rows.schema:
            try:
                schema = pa.unify_schemas(
                    [schema, pa.schema([field])], promote_options="permissive"
                )
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                raise BadInput(
                    f"column `{field.name}` is {schema.field(field.name).type} in"
                    f" `{first.store.path}`, {field.type} in `{part.store.path}`",
                    "make it of one type in both sources",
                ) from None
    _refuse_rounding(parts, schema)
    for name in _ID_COLUMNS if any(part.prefix for part in parts) else ():
        at = schema.get_field_index(name)
        if at >= 0:
            schema = schema.set(at, pa.field(name, pa.string()))
    return schema


def _refuse_rounding(parts: Sequence[_Part], schema: pa.Schema) -> None:
    """Raise BadInput for an integer that the floats of another store's column would round."""
    for part in parts:
        for field in part.rows.schema:
            both = schema.field(field.name).type
            if not (pa.types.is_integer(field.type) and pa.types.is_floating(both)):
                continue
            try:
                part.store.items([field.name]).column(field.name).cast(both)
            except pa.ArrowInvalid:
                raise BadInput(
                    f"column `{field.name}` of `{part.store.path}` holds integers that are no"
                    f" {both}, which another store has there",
                    "make it of one type in both sources",
                ) from None


def _refuse_repeated(parts: Sequence[_Part]) -> None:
    def where(line: int) -> str:
        part = next(p for p in reversed(parts) if line >= p.start and p.store.rows)
        return f"`{part.store.path}`, row {line - part.start}"

    ids = UniqueIds()
    for step in (ids.scan, None):
        for part in parts:
            for start, table in part.store.iter_items(["id"]):
                values = [part.prefix + i for i in table.column("id").to_pylist()]
                if step is not None:
                    step(values)
                    continue
                begin = part.start + start
                try:
                    ids.check(values, range(begin, begin + len(values)), where)
                except BadInput as error:
                    raise BadInput(
                        error.message, "`--prefix a/,b/` makes the ids of the stores differ"
                    ) from None


def _take(part: _Part, begin: int, end: int, schema: pa.Schema, absolute: bool) -> Block | None:
    """What of rows `begin` to `end` of the new store lies in this one."""
    low = max(begin - part.start, 0)
    high = min(end - part.start, part.store.rows)
    if low >= high:
        return None
    block = part.rows.take(np.arange(low, high, dtype=np.int64))
    table = rerooted(block.items, part.store.source_root) if absolute else block.items
    for name in _ID_COLUMNS if part.prefix else ():
        at = table.schema.get_field_index(name)
        if at >= 0:
            values = [v and part.prefix + str(v) for v in table.column(name).to_pylist()]
            table = table.set_column(at, name, pa.array(values, pa.string()))
    failures = [replace(f, id=part.prefix + f.id) for f in block.failures]
    return replace(block, items=_as(table, schema), failures=failures)


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _empty(parts: Sequence[_Part], schema: pa.Schema) -> Block:
    block = parts[0].rows.take(np.zeros(0, np.int64))
    return replace(block, items=schema.empty_table())


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    keys = blocks[0].arrays
    return Block(
        pa.concat_tables([block.items for block in blocks]),
        {key: np.concatenate([block.has[key] for block in blocks]) for key in keys},
        {key: _stacked([block.arrays[key] for block in blocks], key) for key in keys},
        [failure for block in blocks for failure in block.failures],
    )


def _stacked(arrays: Sequence[KeyArrays], key: str) -> KeyArrays:
    embeddings = np.concatenate([one.embeddings for one in arrays])
    values = [one.values for one in arrays if one.values is not None]
    if not values:
        return KeyArrays(embeddings)
    widths = {v.shape[1] for v in values if len(v)}
    if len(widths) > 1:
        raise BadInput(
            f"the sequences of key `{key}` are {' and '.join(map(str, sorted(widths)))} wide",
            "extract both with the same encoder",
        )
    width = next(iter(widths), values[0].shape[1])
    filled = [v if len(v) else np.zeros((0, width), v.dtype) for v in values]
    lengths = [np.diff(one.offsets) for one in arrays if one.offsets is not None]
    offsets = np.cumsum([0, *np.concatenate(lengths)], dtype=np.int64)
    return KeyArrays(embeddings, np.concatenate(filled), offsets)
