"""The files of each layout that a store can be exported to, written block by block.

npy and clip-retrieval are folders of matrices beside Parquet; parquet and jsonl one file, with the
vectors as a column. A row without a part has zeros in a matrix, null in a table.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmcli.core.errors import BadInput
from mmcli.store.atomic import atomic_file
from mmcli.store.records import DTYPES, Array
from mmcli.store.rows import Block, StoreRows
from mmcli.store.slugs import slug_of
from mmcli.workflows.store.export_layout import npy_names, parquet_metadata, vector_column
from mmcli.workflows.store.output import with_has
from mmcli.workflows.store.paths import rerooted

#: Rows in a part, as clip-retrieval cuts them itself.
CLIP_ROWS = 1_000_000
_CLIP = {"image": ("img_emb", "image", "image_path"), "text": ("text_emb", "text", "caption")}


@dataclass(frozen=True)
class Exported:
    """What is exported: rows, what the manifest says of each key, and how they are cut."""

    reader: StoreRows
    entries: Mapping[str, Mapping[str, Any]]
    source_root: str | None
    cuts: list[tuple[int, int]]
    sequence: bool
    done: Callable[[int], None]

    @property
    def rows(self) -> int:
        return self.reader.store.rows

    def entry(self, key: str) -> dict[str, Any]:
        """What is written down of a key; without sequences where these are left out."""
        entry = dict(self.entries[key])
        return entry if self.sequence else {**entry, "sequence": False}

    def dtype(self, key: str) -> np.dtype[Any]:
        """As numpy calls it."""
        return np.dtype(DTYPES[self.entries[key]["dtype"]])

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """First row and rows, in order."""
        for start, stop in self.cuts:
            yield start, self.reader.take(np.arange(start, stop, dtype=np.int64))
            self.done(stop)


def write_npy(exported: Exported, folder: Path) -> None:
    """`<slug>.npy` a key, and `ids.parquet` of ids, columns and `has_<slug>`."""
    matrices = {
        key: _matrix(folder / npy_names(slug_of(key))[0], exported, key, exported.rows)
        for key in exported.entries
    }
    sequences = _sequence_files(exported, folder) if exported.sequence else {}
    with _ParquetRows(folder / "ids.parquet") as items:
        for start, block in exported.blocks():
            for key, matrix in matrices.items():
                matrix[start : start + block.items.num_rows] = block.arrays[key].embeddings
            for key, (values, offsets) in sequences.items():
                arrays = block.arrays[key]
                assert arrays.values is not None and arrays.offsets is not None
                at = int(offsets[start])
                values[at : at + len(arrays.values)] = arrays.values
                offsets[start : start + len(arrays.offsets)] = at + arrays.offsets
            items.write(with_has(block, exported.entries))


def write_clip_retrieval(exported: Exported, folder: Path) -> None:
    """`img_emb/img_emb_0.npy`, `text_emb/…` and `metadata/metadata_0.parquet`, as it writes them.

    Paths of pictures become absolute, and are called `image_path`; texts are called `caption`.
    """
    parts = [
        (start, min(start + CLIP_ROWS, exported.rows))
        for start in range(0, exported.rows or 1, CLIP_ROWS)
    ]
    digits = len(str(len(parts) - 1))
    places = {key: _CLIP[key.partition(":")[0]] for key in exported.entries}
    for name in ("metadata", *(place[0] for place in places.values())):
        (folder / name).mkdir()
    for number, (start, stop) in enumerate(parts):
        tail = f"{number:0{digits}d}"
        matrices = {
            key: _matrix(folder / place / f"{place}_{tail}.npy", exported, key, stop - start)
            for key, (place, _, _) in places.items()
        }
        with _ParquetRows(folder / "metadata" / f"metadata_{tail}.parquet") as items:
            for low, high in _within(exported.cuts, start, stop):
                block = exported.reader.take(np.arange(low, high, dtype=np.int64))
                for key, matrix in matrices.items():
                    matrix[low - start : high - start] = block.arrays[key].embeddings
                table = rerooted(with_has(block, exported.entries), exported.source_root)
                items.write(_clip_names(table))
                exported.done(high)


def write_parquet(exported: Exported, path: Path) -> None:
    """One file: the items, and a fixed-size list `<slug>_embedding` a key."""
    _refuse_taken_names(exported)
    columns = {
        key: {"column": vector_column(slug_of(key)), "entry": exported.entry(key)}
        for key in exported.entries
    }
    metadata = parquet_metadata(columns, exported.source_root)
    with atomic_file(path) as temporary, _ParquetRows(temporary, metadata, True) as items:
        for _, block in exported.blocks():
            table = block.items
            for key in exported.entries:
                vectors = _lists(block.arrays[key].embeddings, block.has[key])
                table = table.append_column(columns[key]["column"], vectors)
            items.write(table)


def write_jsonl(exported: Exported, path: Path) -> None:
    """One object a line: the items, and an array `<slug>_embedding` a key, null where absent.

    A number has the fewest digits that give its bits again. Raises BadInput for NaN.
    """
    _refuse_taken_names(exported)
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for start, block in exported.blocks():
            vectors = {
                vector_column(slug_of(key)): _json_arrays(exported, key, block, start)
                for key in exported.entries
            }
            rows = block.items.to_pylist()
            for number, row in enumerate(rows):
                head = json.dumps(row, ensure_ascii=False, default=str, allow_nan=True)
                tail = "".join(f', "{name}": {texts[number]}' for name, texts in vectors.items())
                out.write(f"{_strict(head, row)[:-1]}{tail}}}\n")


WRITERS: dict[str, Callable[[Exported, Path], None]] = {
    "npy": write_npy,
    "parquet": write_parquet,
    "jsonl": write_jsonl,
    "clip-retrieval": write_clip_retrieval,
}


class _ParquetRows:
    """A Parquet file that grows by tables of one schema; an empty one is written too."""

    def __init__(
        self, path: Path, metadata: Mapping[bytes, bytes] | None = None, vectors: bool = False
    ) -> None:
        self._path = path
        self._metadata = metadata
        self._vectors = vectors
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "_ParquetRows":
        return self

    def write(self, table: pa.Table) -> None:
        """Append rows, as one row group."""
        table = table.replace_schema_metadata(self._metadata).combine_chunks()
        if self._writer is None:
            plain = [f.name for f in table.schema if not pa.types.is_nested(f.type)]
            self._writer = pq.ParquetWriter(
                self._path, table.schema, compression="zstd", use_dictionary=plain
            )
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _matrix(path: Path, exported: Exported, key: str, rows: int) -> Array:
    shape = (rows, int(exported.entries[key]["dim"]))
    if not rows:  # which cannot be mapped
        np.save(path, np.zeros(shape, exported.dtype(key)))
        return np.zeros(shape, exported.dtype(key))
    return _mapped(path, exported.dtype(key), shape)


def _mapped(path: Path, dtype: Any, shape: tuple[int, ...]) -> Array:
    """A file that is written through a map. Its place on the disk is taken at once: a map that
    finds the disk full ends the process, an error here can be told."""
    mapped = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with open(path, "r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    return mapped


def _sequence_files(exported: Exported, folder: Path) -> dict[str, tuple[Array, Array]]:
    """Mapped values and offsets of each key that has sequences."""
    found = {}
    for key, entry in exported.entries.items():
        if not entry["sequence"]:
            continue
        total, dim = exported.reader.sequence_shape(key)
        _, values, offsets = npy_names(slug_of(key))
        shapes = (
            (values, exported.dtype(key), (total, dim)),
            (offsets, np.int64, (exported.rows + 1,)),
        )
        made = []
        for name, dtype, shape in shapes:
            if 0 in shape:
                np.save(folder / name, np.zeros(shape, dtype))
                made.append(np.zeros(shape, dtype))
            else:
                made.append(_mapped(folder / name, dtype, shape))
        found[key] = (made[0], made[1])
    return found


def _within(cuts: list[tuple[int, int]], start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The cuts, cut again at the borders of a part."""
    for low, high in cuts:
        low, high = max(low, start), min(high, stop)
        if low < high or start == stop:
            yield low, max(low, high)


def _clip_names(table: pa.Table) -> pa.Table:
    """Our names of columns as clip-retrieval calls them, where it does not have them already."""
    names = table.column_names
    renamed = {ours: theirs for _, ours, theirs in _CLIP.values() if theirs not in names}
    return table.rename_columns([renamed.get(name, name) for name in names])


def _refuse_taken_names(exported: Exported) -> None:
    for key in exported.entries:
        name = vector_column(slug_of(key))
        if name in exported.reader.schema.names:
            raise BadInput(
                f"`{exported.reader.store.path}` has a column `{name}`, which the vectors of"
                f" `{key}` need",
                "export it `--to npy`",
            )


def _lists(vectors: Array, has: Array) -> pa.Array:
    """A fixed-size list a row, null where there is no vector."""
    width = vectors.shape[1]
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, width, mask=pa.array(~np.asarray(has, bool)))


def _json_arrays(exported: Exported, key: str, block: Block, start: int) -> list[str]:
    vectors, has = block.arrays[key].embeddings, np.asarray(block.has[key], bool)
    bad = np.flatnonzero(has & ~np.isfinite(vectors).all(axis=1))
    if len(bad):
        row = int(bad[0])
        raise BadInput(
            f"`{exported.reader.store.path}`: `{key}` of item `{block.items.column('id')[row]}`"
            f" (row {start + row}) holds NaN or an infinity, which JSON does not have",
            "leave the row out, or export it `--to npy`",
        )
    flat = pa.array(vectors.astype(np.float32, copy=False).reshape(-1)).cast(pa.string())
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, flat), ", ").to_pylist()
    return [f"[{text}]" if there else "null" for text, there in zip(joined, has, strict=True)]


def _strict(text: str, row: Mapping[str, Any]) -> str:
    """The row as JSON has it: a number that JSON lacks is null."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    cleaned = {
        name: None if isinstance(v, float) and not np.isfinite(v) else v for name, v in row.items()
    }
    return json.dumps(cleaned, ensure_ascii=False, default=str)
