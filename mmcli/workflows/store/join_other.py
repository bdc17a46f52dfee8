"""What a join adds to a store: some columns of a table, or some keys and columns of a store.

Its rows are spooled, so that any can be fetched; its vectors are mapped. Knows which names are new
and how a row without a partner looks.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.id_lookup import Spool
from mmcli.data.typed_table import TypedTable
from mmcli.store.manifest import inspect_manifest, kind_of
from mmcli.store.reader import Store
from mmcli.store.records import Failure, KeyArrays
from mmcli.store.rows import Block, StoreRows
from mmcli.workflows.store.ids import normal
from mmcli.workflows.store.keys import chosen_keys, refuse_mixing
from mmcli.workflows.store.output import kept_entry, manifest_sha256
from mmcli.workflows.store.paths import rerooted

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Joined:
    """The other side of a join.

    on: its column that rows are found by. columns, keys: our name -> theirs, of what is added.
    root: what its paths are relative to.
    """

    path: str
    sha256: str
    spool: Spool
    on: str
    columns: Mapping[str, str]
    keys: Mapping[str, str]
    root: str | None
    store: Store | None = None
    reader: StoreRows | None = None

    def entries(self) -> dict[str, dict[str, Any]]:
        """What the manifest says of the keys that are added."""
        if self.store is None:
            return {}
        return {new: kept_entry(self.store.keys[old], new) for new, old in self.keys.items()}

    def refuse_ambiguous(self, store: Store, schema: pa.Schema) -> None:
        """Raise BadInput when something that is added has the name of what is there."""
        for new, old in self.keys.items():
            if new in store.keys and self.store is not None:
                refuse_mixing(store, self.store, new, old)
                raise BadInput(
                    f"`{store.path}` and `{self.path}` both have a key `{new}`",
                    f"`--keys` leaves it out, `--map {new}:other={old}` renames it",
                )
        for new, old in self.columns.items():
            if new in schema.names:
                raise BadInput(
                    f"`{store.path}` and `{self.path}` both have a column `{new}`",
                    f"`--columns` leaves it out, `--map other_{new}={old}` renames it",
                )

    def row_bytes(self, partner: Rows) -> Rows:
        """About how many bytes each row takes that is added."""
        if self.reader is None:
            return np.zeros(len(partner), np.int64)
        cost = self.reader.row_bytes()
        if not len(cost):
            return np.zeros(len(partner), np.int64)
        return np.where(partner >= 0, cost[np.maximum(partner, 0)], int(cost.mean()))

    def added_to(self, block: Block, partner: Rows, root: str | None) -> Block:
        """The block with what its partners bring. root: what our paths are relative to."""
        items = block.items
        if self.columns:
            added = self.spool.take(partner, list(self.columns.values()))
            if self.root != root:
                added = rerooted(added, self.root)
            for new, old in self.columns.items():
                items = items.append_column(new, added.column(old))
        if self.reader is None:
            return replace(block, items=items)
        there = np.flatnonzero(partner >= 0)
        rows, back = np.unique(partner[there], return_inverse=True)
        other = self.reader.take(rows, items=False)
        has, arrays = dict(block.has), dict(block.arrays)
        for key in self.keys:
            has[key] = np.zeros(len(partner), bool)
            has[key][there] = other.has[key][back]
            arrays[key] = _spread(other.arrays[key], there, back, len(partner))
        failures = [*block.failures, *self._failures(other, items, partner)]
        return Block(items, has, arrays, failures)

    def _failures(self, other: Block, items: pa.Table, partner: Rows) -> Iterator[Failure]:
        """What failed of our rows' partners, under our ids."""
        if not other.failures:
            return
        ours: dict[str, list[str]] = {}
        theirs = self.spool.take(partner, ["id"]).column("id").to_pylist()
        for mine, their in zip(items.column("id").to_pylist(), theirs, strict=True):
            if their is not None:
                ours.setdefault(their, []).append(mine)
        for failure in other.failures:
            for mine in ours.get(failure.id, ()):
                yield replace(failure, id=mine)


def _spread(arrays: KeyArrays, there: Rows, back: Rows, rows: int) -> KeyArrays:
    """Arrays of distinct rows as those of `rows` rows: row `there[i]` is `back[i]` of them."""
    embeddings = np.zeros((rows, arrays.embeddings.shape[1]), arrays.embeddings.dtype)
    embeddings[there] = arrays.embeddings[back]
    if arrays.values is None or arrays.offsets is None:
        return KeyArrays(embeddings)
    lengths = np.zeros(rows, np.int64)
    lengths[there] = np.diff(arrays.offsets)[back]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    index = np.arange(offsets[-1])
    start_of = np.zeros(rows, np.int64)
    start_of[there] = arrays.offsets[:-1][back]
    index += np.repeat(start_of - offsets[:-1], lengths)
    return KeyArrays(embeddings, arrays.values[index], offsets)


@contextmanager
def open_joined(
    path: str,
    folder: Path,
    on: str,
    columns: Sequence[str],
    keys: Sequence[str],
    mapping: Mapping[str, str],
    verify: str,
) -> Iterator[Joined]:
    """Open a table or a store to join. folder: where its rows are spooled.

    Raises BadInput when it lacks a column or key, UsageError for options that do not fit.
    """
    if Path(path).is_dir():
        kind = kind_of(inspect_manifest(Path(path))[0])
        if kind == "mmcli.predictions":
            raise BadInput(
                f"`{path}` is predictions, not a store",
                f"join its table: `{Path(path) / 'items.parquet'}`",
            )
        store = Store.open(path, verify)
        store.id_column()
        named = _columns_of(path, store.columns, on, columns, mapping) if columns else {}
        wanted = chosen_keys(store, keys) if keys or not columns else []
        renamed = {old: new for new, old in mapping.items()}
        new_keys = {renamed.get(key, key): key for key in wanted}
        _refuse_unknown(mapping, [*named.values(), *wanted], path)
        kept = list(dict.fromkeys(["id", on, *named.values()]))
        schema = StoreRows(store, {}).schema
        _need_column(on, schema.names, path)
        fields = [_searchable(schema.field(name), on, path) for name in kept]
        tables = (table for _, table in store.iter_items(kept))
        with Spool(folder / "joined", pa.schema(fields), tables) as spool:
            reader = StoreRows(store, new_keys)
            root = store.source_root
            sha = manifest_sha256(store)
            yield Joined(path, sha, spool, on, named, new_keys, root, store, reader)
        return
    if keys:
        raise UsageError(f"`--keys`: `{path}` is a table, which has none", "use `--columns`")
    table = TypedTable(path)
    named = _columns_of(path, table.schema.names, on, columns, mapping)
    _refuse_unknown(mapping, list(named.values()), path)
    kept = list(dict.fromkeys([on, *named.values()]))
    schema = pa.schema([_searchable(table.schema.field(name), on, path) for name in kept])
    batches = (_normal(batch, on) for batch in table.batches(kept))
    with Spool(folder / "joined", schema, batches) as spool:
        with open(path, "rb") as stream:
            sha = hashlib.file_digest(stream, "sha256").hexdigest()
        yield Joined(path, sha, spool, on, named, {}, str(Path(path).absolute().parent))


def _columns_of(
    path: str, there: Sequence[str], on: str, wanted: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, str]:
    """Our name -> theirs of the columns to add: those asked for, else all but the id and `on`."""
    _need_column(on, there, path)
    for name in wanted:
        _need_column(name, there, path, "--columns")
    asked = [*wanted] or [n for n in there if n not in (on, "id") or n in mapping.values()]
    renamed = {old: new for new, old in mapping.items()}
    named = {renamed.get(name, name): name for name in dict.fromkeys(asked)}
    for new, old in named.items():
        if new.startswith("has_"):
            raise BadInput(
                f"`{path}`: the column name `{new}` is reserved",
                f"rename it: `--map my_{new}={old}`",
            )
    return named


def _need_column(name: str, there: Sequence[str], path: str, option: str = "--on") -> None:
    if name not in there:
        raise BadInput(f"`{option} {name}`: `{path}` has no such column", suggestion(name, there))


def _refuse_unknown(mapping: Mapping[str, str], added: Sequence[str], path: str) -> None:
    for new, old in mapping.items():
        if old not in added:
            raise BadInput(
                f"`--map {new}={old}`: nothing of that name is taken from `{path}`",
                suggestion(old, added),
            )
    if len(set(mapping.values())) < len(mapping):
        raise UsageError("`--map` names one column twice", "map each once")


def _searchable(field: pa.Field, on: str, path: str) -> pa.Field:
    """The field as it is spooled: what rows are found by is text."""
    if field.name != on:
        return field.remove_metadata()
    kind = field.type
    if pa.types.is_nested(kind) or pa.types.is_floating(kind) or pa.types.is_binary(kind):
        raise BadInput(
            f"`--on {on}`: the column of `{path}` holds {kind}", "name texts or whole numbers"
        )
    return pa.field(on, pa.string())


def _normal(table: pa.Table, on: str) -> pa.Table:
    """The table with what rows are found by as ids are: text in NFC."""
    ids = normal(table.select([on]).rename_columns(["id"])).column("id")
    return table.set_column(table.schema.get_field_index(on), on, ids)
