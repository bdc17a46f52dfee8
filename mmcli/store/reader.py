"""Reads a store, by mmcli or by any other program that keeps to the format, in bounded memory.

Checks every file it hands out against the manifest. Knows nothing about encoders; opens only
Parquet and safetensors files, so nothing is ever unpickled.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.store.hashes import check_files
from mmcli.store.item_columns import (
    ID_HINT,
    common_schema,
    fitted_table,
    id_problems,
    plain_schema,
    plain_table,
    repeated_id,
)
from mmcli.store.layout import StoreShard, key_entries, shards_of
from mmcli.store.manifest import MANIFEST, file_path, read_manifest
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.store.records import DTYPES, FAILURE_SCHEMA, Array
from mmcli.store.slugs import slug_of
from mmcli.store.survey import KIND
from mmcli.store.tensors import TensorFile

__all__ = ["Store", "StoreShard", "slug_of"]

#: Rows read at a time unless the caller says otherwise: 16 MB of 512-d vectors.
BATCH_ROWS = 8192
_AGAIN = "correct the manifest, or make the store again"


@dataclass(frozen=True)
class Store:
    """A finished store that is open for reading.

    keys: what the manifest says of each embedding, with `slug`, `dim`, `dtype`, `normalized`,
    `space` and `sequence` always there. shards: its files, in the order of their rows.
    """

    path: Path
    manifest: dict[str, Any]
    rows: int
    keys: dict[str, dict[str, Any]]
    shards: tuple[StoreShard, ...]

    @classmethod
    def open(cls, path: str | Path, verify: str = "once") -> "Store":
        """Open a store and check its files.

        verify: `once` per version of a file, `full`, or `none`. Raises BadInput when it is
        missing, unfinished, damaged, of another kind, or newer than this mmcli.
        """
        path = Path(path)
        manifest = read_manifest(path, KIND)
        keys = key_entries(path, manifest)
        shards = shards_of(path, manifest, keys)
        if "files" in manifest:
            needed = {n for s in shards for n in (s.items, *s.keys.values())}
            check_files(path, manifest, sorted(needed | set(manifest["files"])), verify)
        elif "mmcli" in (manifest.get("versions") or {}):
            raise BadInput(f"`{path / MANIFEST}` has no `files`", "make the store again")
        return cls(path, manifest, sum(s.rows for s in shards), keys, shards)

    @property
    def source_root(self) -> str | None:
        """The directory that paths in the items' columns are relative to."""
        source = self.manifest.get("source")
        nested = source.get("source_root") if isinstance(source, dict) else None
        root = self.manifest.get("source_root") or nested
        return str(root) if root else None

    @property
    def columns(self) -> list[str]:
        """The names of the items' columns, of whichever shard has them."""
        names = (name for schema in self._schemas for name in schema.names)
        return list(dict.fromkeys(names))

    @property
    def shard_columns(self) -> list[list[str]]:
        """The names of the columns of each shard."""
        return [schema.names for schema in self._schemas]

    @cached_property
    def schema(self) -> pa.Schema:
        """The items' columns in plain types that hold the values of every shard.

        Raises BadInput, naming both shards, where there is no such type.
        """
        if not self.shards:
            return pa.schema([("id", pa.string())])
        return common_schema(self._items_files, self._schemas)

    @cached_property
    def _schemas(self) -> list[pa.Schema]:
        return [plain_schema(self._parquet(shard).schema_arrow) for shard in self.shards]

    @property
    def _items_files(self) -> list[Path]:
        return [file_path(self.path, shard.items) for shard in self.shards]

    def key(self, key: str) -> dict[str, Any]:
        """What the manifest says of a key. Raises BadInput when there is none of that name."""
        if key not in self.keys:
            raise BadInput(f"`{self.path}` has no key `{key}`", suggestion(key, self.keys))
        return self.keys[key]

    def iter_shards(self) -> Iterator[tuple[int, int, Path, dict[str, Path]]]:
        """First row, rows, items file and the file of each key, a shard at a time."""
        for shard in self.shards:
            files = {key: file_path(self.path, name) for key, name in shard.keys.items()}
            yield shard.start, shard.rows, file_path(self.path, shard.items), files

    # -- items -----------------------------------------------------------------------------

    def items(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Columns of every item, in the store's order; all columns when none are named."""
        tables = [table for _, table in self.iter_items(columns)]
        if not tables:
            names = ["id"] if columns is None else list(columns)
            return pa.table({name: pa.array([], pa.string()) for name in names})
        return pa.concat_tables(tables)

    def iter_items(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """First row and items, a shard at a time, all in the types of `schema`.

        Raises BadInput for a column that is not there, and for an id that is no text in NFC.
        """
        schema = self._schema_of(columns)
        for number, shard in enumerate(self.shards):
            yield shard.start, self._items(number, schema)

    def shard_items(self, number: int) -> pa.Table:
        """Every column of one shard's items, those that only another shard has as nulls."""
        return self._items(number, self.schema)

    def id_column(self) -> pa.ChunkedArray:
        """The id of every row, for whoever finds rows by it.

        Raises BadInput, naming the items file and the row, for one that is no text, null, not in
        NFC, or there twice.
        """
        found = self.items(["id"]).column("id")
        twice = repeated_id(found)
        if twice is not None:
            raise BadInput(f"{self._where(twice[1])}: {self._repeated(found, *twice)}", ID_HINT)
        return found

    def ids(self) -> list[str]:
        """The id of every row, as `id_column` has them."""
        found: list[str] = self.id_column().to_pylist()
        return found

    def id_problems(self) -> Iterator[tuple[str, str]]:
        """Items file and what is wrong with ids in it: of each kind of fault the first."""
        schema, sound = pa.schema([("id", pa.string())]), True
        for number, shard in enumerate(self.shards):
            for row, problem in id_problems(self._plain(number, schema).column("id")):
                yield shard.items, f"row {row}: {problem}"
                sound = False
        ids = self.items(["id"]).column("id") if sound else ()
        twice = repeated_id(ids) if len(ids) else None
        if twice is not None:
            shard = self._shard_of(twice[1])
            yield shard.items, f"row {twice[1] - shard.start}: {self._repeated(ids, *twice)}"

    def _schema_of(self, columns: Sequence[str] | None) -> pa.Schema:
        if columns is None:
            return self.schema
        known = self.columns if self.shards else columns
        for name in columns:
            if name not in known:
                raise BadInput(f"`{self.path}` has no column `{name}`", suggestion(name, known))
        kept = [pa.schema([s.field(n) for n in columns if n in s.names]) for s in self._schemas]
        common = common_schema(self._items_files, kept)
        return pa.schema([common.field(name) for name in columns]) if self.shards else common

    def _items(self, number: int, schema: pa.Schema) -> pa.Table:
        table = self._plain(number, schema)
        path = file_path(self.path, self.shards[number].items)
        if "id" in table.column_names:
            for row, problem in id_problems(table.column("id")):
                raise BadInput(f"`{path}`, row {row}: {problem}", ID_HINT)
        return fitted_table(table, schema, path)

    def _plain(self, number: int, schema: pa.Schema) -> pa.Table:
        """Those columns of a shard's items that it has, in plain types of its own."""
        shard = self.shards[number]
        names = [name for name in schema.names if name in self._schemas[number].names]
        path = file_path(self.path, shard.items)
        return plain_table(read_rows(self._parquet(shard), path, names))

    def _shard_of(self, row: int) -> StoreShard:
        return self.shards[bisect_right([s.start for s in self.shards], row) - 1]

    def _where(self, row: int) -> str:
        shard = self._shard_of(row)
        return f"`{file_path(self.path, shard.items)}`, row {row - shard.start}"

    def _repeated(self, ids: pa.ChunkedArray, first: int, row: int) -> str:
        return f"the id `{ids[row]}` is that of {self._where(first)} too"

    def failures(self) -> pa.Table:
        """One row a part that failed: id, key, source, error, message."""
        name = self.manifest.get("failures", "failures.parquet")
        path = file_path(self.path, name)
        if not path.exists():
            return FAILURE_SCHEMA.empty_table()
        return plain_table(read_rows(open_parquet(path), path))

    def has(self, key: str) -> Array:
        """bool `(rows,)`: which rows have that embedding; where nobody wrote it, the non-zero."""
        column = f"has_{self.key(key)['slug']}"
        found = np.zeros(self.rows, bool)
        for shard in self.shards:
            stop = shard.start + shard.rows
            file = self._parquet(shard)
            if column in file.schema_arrow.names:
                path = file_path(self.path, shard.items)
                values = read_rows(file, path, [column]).column(column).to_pylist()
                found[shard.start : stop] = [bool(value) for value in values]
            else:
                vectors = self.tensor_file(shard, key).read("embeddings")
                found[shard.start : stop] = vectors.any(axis=1)
        return found

    # -- vectors ---------------------------------------------------------------------------

    def load(self, key: str) -> Array:
        """Every vector of a key, float32 `(rows, dim)`."""
        found = np.empty((self.rows, self.key(key)["dim"]), np.float32)
        for start, vectors in self.iter(key):
            found[start : start + len(vectors)] = vectors
        return found

    def iter(self, key: str, batch: int = BATCH_ROWS) -> Iterator[tuple[int, Array]]:
        """First row and vectors, float32 `(at most batch, dim)`; a batch never spans two shards."""
        self.key(key)
        for shard in self.shards:
            file = self.tensor_file(shard, key)
            for at in range(0, shard.rows, batch):
                vectors = file.read("embeddings", at, min(at + batch, shard.rows))
                yield shard.start + at, vectors.astype(np.float32, copy=False)

    def sequence(self, key: str, row: int) -> Array:
        """The tokens, patches or frames of one row, float32 `(length, dim)`."""
        self._needs_sequence(key)
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of {self.rows}")
        shard = self._shard_of(row)
        file = self.tensor_file(shard, key)
        at = row - shard.start
        start, stop = (int(v) for v in file.read("offsets", at, at + 2))
        return file.read("values", start, stop).astype(np.float32, copy=False)

    def iter_sequences(self, key: str) -> Iterator[tuple[int, Array, Array]]:
        """First row, values `(total, dim)` and offsets `(rows + 1,)`, a shard at a time."""
        self._needs_sequence(key)
        for shard in self.shards:
            file = self.tensor_file(shard, key)
            yield shard.start, file.read("values"), file.read("offsets")

    def _needs_sequence(self, key: str) -> None:
        if not self.key(key)["sequence"]:
            raise BadInput(
                f"key `{key}` of `{self.path}` has no sequences", "extract it with `--sequence`"
            )

    def check_structure(self) -> None:
        """Open every file and compare rows, width and type with the manifest, reading no values.

        Raises BadInput at the first that does not fit.
        """
        for shard in self.shards:
            self._parquet(shard)
            for key in self.keys:
                self.tensor_file(shard, key)

    def _parquet(self, shard: StoreShard) -> pq.ParquetFile:
        path = file_path(self.path, shard.items)
        file = open_parquet(path)
        if file.metadata.num_rows != shard.rows:
            raise BadInput(
                f"`{path}` has {file.metadata.num_rows} rows, "
                f"`{self.path / MANIFEST}` says {shard.rows}",
                _AGAIN,
            )
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BadInput(f"`{path}` has two columns `{twice}`", "give each a name of its own")
        if "id" not in names:
            raise BadInput(f"`{path}` has no column `id`", "every item has one, as a string")
        return file

    def tensor_file(self, shard: StoreShard, key: str) -> TensorFile:
        """The file of a key in a shard. Raises BadInput when it does not fit the manifest."""
        entry = self.keys[key]
        file = TensorFile(file_path(self.path, shard.keys[key]))
        shape, dtype = file.shape("embeddings"), file.dtype("embeddings")
        if dtype not in DTYPES:
            raise BadInput(
                f"`{file.path}`: `embeddings` is {dtype}; a store holds F32 or F16",
                "save it as F32 or F16",
            )
        wanted = (shard.rows, entry["dim"])
        if shape != wanted or dtype != entry["dtype"]:
            raise BadInput(
                f"`{file.path}` holds {dtype} {list(shape)}, "
                f"`{self.path / MANIFEST}` says {entry['dtype']} {list(wanted)}",
                _AGAIN,
            )
        if entry["sequence"]:
            self._check_sequence(file, shard.rows)
        return file

    def _check_sequence(self, file: TensorFile, rows: int) -> None:
        if file.dtype("values") not in DTYPES or len(file.shape("values")) != 2:
            raise BadInput(f"`{file.path}`: `values` is not a matrix of F32 or F16", _AGAIN)
        if file.dtype("offsets") != "I64" or file.shape("offsets") != (rows + 1,):
            raise BadInput(f"`{file.path}`: `offsets` is not I64 [{rows + 1}]", _AGAIN)
        if int(file.read("offsets", rows, rows + 1)[0]) != file.shape("values")[0]:
            raise BadInput(f"`{file.path}`: `offsets` does not end where `values` does", _AGAIN)
