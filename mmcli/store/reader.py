"""Reads a store, by mmcli or by any other program that keeps to the format, in bounded memory.

Checks every file it hands out against the manifest. Knows nothing about encoders; opens only
Parquet and safetensors files, so nothing is ever unpickled.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.store.hashes import check_files
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
        """The names of the items' columns."""
        if not self.shards:
            return []
        return list(self._parquet(self.shards[0]).schema_arrow.names)

    def parquet_schema(self, shard: StoreShard) -> pa.Schema:
        """The columns and types of a shard's items file."""
        return self._parquet(shard).schema_arrow

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
        try:
            return pa.concat_tables(tables)
        except pa.ArrowInvalid:
            return pa.concat_tables(tables, promote_options="permissive")

    def iter_items(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """First row and items, a shard at a time."""
        for shard in self.shards:
            file = self._parquet(shard)
            for name in columns or ():
                if name not in file.schema_arrow.names:
                    raise BadInput(
                        f"`{self.path}` has no column `{name}`",
                        suggestion(name, file.schema_arrow.names),
                    )
            yield shard.start, read_rows(file, file_path(self.path, shard.items), columns)

    def shard_items(self, number: int) -> pa.Table:
        """Every column of one shard's items."""
        shard = self.shards[number]
        return read_rows(self._parquet(shard), file_path(self.path, shard.items))

    def ids(self) -> list[str]:
        """The id of every row."""
        found: list[str] = self.items(["id"]).column("id").to_pylist()
        return found

    def failures(self) -> pa.Table:
        """One row a part that failed: id, key, source, error, message."""
        name = self.manifest.get("failures", "failures.parquet")
        path = file_path(self.path, name)
        if not path.exists():
            return FAILURE_SCHEMA.empty_table()
        return read_rows(open_parquet(path), path)

    def has(self, key: str) -> Array:
        """bool `(rows,)`: which rows have that embedding; where nobody wrote it, the non-zero."""
        column = f"has_{self.key(key)['slug']}"
        found = np.zeros(self.rows, bool)
        for shard in self.shards:
            stop = shard.start + shard.rows
            file = self._parquet(shard)
            if column in file.schema_arrow.names:
                values = file.read([column]).column(column).to_pylist()
                found[shard.start : stop] = [bool(value) for value in values]
            else:
                vectors = self.tensors(shard, key).read("embeddings")
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
            file = self.tensors(shard, key)
            for at in range(0, shard.rows, batch):
                vectors = file.read("embeddings", at, min(at + batch, shard.rows))
                yield shard.start + at, vectors.astype(np.float32, copy=False)

    def sequence(self, key: str, row: int) -> Array:
        """The tokens, patches or frames of one row, float32 `(length, dim)`."""
        self._needs_sequence(key)
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of {self.rows}")
        shard = self.shards[bisect_right([s.start for s in self.shards], row) - 1]
        file = self.tensors(shard, key)
        at = row - shard.start
        start, stop = (int(v) for v in file.read("offsets", at, at + 2))
        return file.read("values", start, stop).astype(np.float32, copy=False)

    def iter_sequences(self, key: str) -> Iterator[tuple[int, Array, Array]]:
        """First row, values `(total, dim)` and offsets `(rows + 1,)`, a shard at a time."""
        self._needs_sequence(key)
        for shard in self.shards:
            file = self.tensors(shard, key)
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
                self.tensors(shard, key)

    def _parquet(self, shard: StoreShard) -> pq.ParquetFile:
        path = file_path(self.path, shard.items)
        file = open_parquet(path)
        if file.metadata.num_rows != shard.rows:
            raise BadInput(
                f"`{path}` has {file.metadata.num_rows} rows, "
                f"`{self.path / MANIFEST}` says {shard.rows}",
                _AGAIN,
            )
        if "id" not in file.schema_arrow.names:
            raise BadInput(f"`{path}` has no column `id`", "every item has one, as a string")
        return file

    def tensors(self, shard: StoreShard, key: str) -> TensorFile:
        """The file of a shard's key. Raises BadInput when its header does not fit the manifest."""
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
