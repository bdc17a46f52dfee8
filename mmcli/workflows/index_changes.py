"""What every change to a finished index does: files of added rows, tombstones, folding, the report.

Knows the files and entries of a manifest; nothing of how rows were chosen. Prints nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.index.build import inverted_lists, ready
from mmcli.index.changing import IndexChange
from mmcli.index.filtering import Mask
from mmcli.index.folding import ADDED_SHARE, MOST_ADDITIONS, REMOVED_SHARE, fold
from mmcli.index.items import ItemWriter
from mmcli.index.layout import generation_of, own_entries
from mmcli.index.living import additions_of, item_files, n_removed, total_rows
from mmcli.index.search import read_index
from mmcli.index.segments import empty_addition
from mmcli.store.atomic import atomic_file
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.store.reader import Store
from mmcli.workflows.index_rows import IndexPart

#: Columns that say which modality a row of an index is of, where it has several.
LABELS = ("modality", "indexed_modality")


def ids_of(files: Sequence[Path]) -> pa.ChunkedArray:
    """The id of every row, those taken out among them."""
    columns = [columns_of(file, ["id"])["id"].cast(pa.string()) for file in files]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())


def columns_of(file: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a Parquet file; `pq.read_table` would import pandas, 0.2 s."""
    return read_rows(open_parquet(file), file, columns)


def write_rows(
    change: IndexChange, store: Store, parts: Sequence[IndexPart]
) -> tuple[dict[str, Any], list[str]]:
    """Files of added rows; their entry in the manifest, and the store's columns left out."""
    manifest = change.manifest
    built = open_trained(change.path, manifest)
    addition = empty_addition(built)
    for part in parts:
        for block in part.blocks(store):
            if len(block):
                addition.add(ready(block, manifest["metric"]))
    entry = write_addition(change, addition)
    schema = pq.read_schema(change.path / manifest["items"])
    tables, left = _tables(store, parts, schema)
    write_items(change, schema, tables, entry)
    return entry, left


def open_trained(folder: Path, manifest: Mapping[str, Any]) -> Any:
    """The built index for what it was trained to, its lists left on the disk where they can be."""
    path = str(folder / manifest["index"])
    try:
        return faiss.read_index(path, faiss.IO_FLAG_MMAP)
    except RuntimeError:
        return read_index(Path(path), manifest["dim"], manifest["rows"])


def write_addition(change: IndexChange, addition: Any) -> dict[str, Any]:
    """The file of an addition, without the coarse quantiser, which the built index has."""
    forget_quantiser(addition)
    name = change.name("index", ".faiss")
    with atomic_file(change.path / name) as path:
        faiss.write_index(addition, str(path))
    return {"index": name, "rows": int(addition.ntotal)}


def forget_quantiser(addition: Any) -> None:
    """Empty the coarse quantiser of inverted lists, if it has some."""
    lists = inverted_lists(addition)
    if lists is not None:
        lists.quantizer.reset()


def write_items(change: IndexChange, schema: pa.Schema, tables: Any, entry: dict[str, Any]) -> None:
    """The items of added rows, in the columns of the index; noted in `entry`."""
    entry["items"] = change.name("items", ".parquet")
    with atomic_file(change.path / entry["items"]) as path:
        items = ItemWriter(Path(path), schema)
        for table in tables:
            items.add(table)
        items.close()
    keywords = change.manifest.get("keywords")
    if keywords:
        from mmcli.index.keyword import write_keywords

        entry["keywords"] = change.name("keywords")
        table = columns_of(change.path / entry["items"], keywords["columns"])
        write_keywords(change.path / entry["keywords"], table)


def _tables(
    store: Store, parts: Sequence[IndexPart], schema: pa.Schema
) -> tuple[list[pa.Table], list[str]]:
    """The items of the parts, fitted to the index's columns."""
    names = [n for n in store.columns if n in schema.names]
    label = next((n for n in LABELS if n in schema.names and n not in store.columns), None)
    left = [n for n in store.columns if n not in schema.names and not n.startswith("has_")]
    found = []
    for part in parts:
        for start, table in store.iter_items(names):
            table = table.filter(pa.array(part.rows[start : start + len(table)]))
            if not len(table):
                continue
            if label:
                table = table.append_column(label, pa.array([part.name] * len(table)))
            found.append(fitted(table, schema, str(store.path)))
    return found, left


def fitted(table: pa.Table, schema: pa.Schema, whose: str) -> pa.Table:
    """The same rows in the columns of `schema`, null where there is none of that name.

    Raises BadInput when a value cannot be of the column's type.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        try:
            columns.append(table[field.name].cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise BadInput(
                f"column `{field.name}` of `{whose}` is {table[field.name].type}, that of the"
                f" index {field.type}",
                "give the column the same type, or build the index again",
            ) from error
    return pa.table(columns, schema=schema)


def tombstones(change: IndexChange, keep: Mask) -> dict[str, Any]:
    """Write which rows are taken out, where there are any; the manifest's entry."""
    removed = np.flatnonzero(~keep).astype(np.int64)
    if not len(removed):
        return {"tombstones": []}
    name = change.name("removed", ".npy")
    with atomic_file(change.path / name) as path, open(path, "wb") as file:
        np.save(file, removed, allow_pickle=False)
    return {"tombstones": {"file": name, "rows": len(removed)}}


def settle(
    change: IndexChange,
    manifest: dict[str, Any],
    keep: Mask,
    compact: bool | None,
    message: Callable[[str], None],
) -> dict[str, Any]:
    """Commit, the files folded together first where that is asked for or due."""
    if compact and manifest.get("on_disk"):
        raise UsageError(
            f"`{change.path}` has its lists on disk, which cannot be folded",
            "leave `--compact` out, or build it again: `retrieve index … --force`",
        )
    due = _is_due(manifest, keep) and not manifest.get("on_disk")
    if compact or (due and compact is None):
        message(
            f"folding {total_rows(manifest)} rows, {int((~keep).sum())} of them taken out, into one"
        )
        manifest = _fold_all(change, manifest, keep)
    elif len(additions_of(manifest)) > MOST_ADDITIONS and compact is None:
        message(f"folding {len(additions_of(manifest))} additions into one")
        manifest, keep = _fold_additions(change, manifest, keep)
    _count_modalities(change.path, manifest, keep)
    written = {
        e.name for e in own_entries(change.path) if generation_of(e.name) == change.generation
    }
    return change.commit(manifest, drop=(_tops(change.manifest) | written) - _tops(manifest))


def _is_due(manifest: Mapping[str, Any], keep: Mask) -> bool:
    added = total_rows(manifest) - manifest["rows"]
    return bool(
        (~keep).sum() > REMOVED_SHARE * len(keep)
        or added > max(ADDED_SHARE * manifest["rows"], 1000)
    )


def _fold_all(change: IndexChange, manifest: dict[str, Any], keep: Mask) -> dict[str, Any]:
    """One file of vectors and one of items again, of what is left."""
    if not keep.any():
        raise BadInput(f"`{change.path}` would be empty", "delete it, or leave `--compact` out")
    more = additions_of(manifest)
    entry = _folded(change, manifest, manifest, more, keep, "built")
    folded = {k: v for k, v in manifest.items() if k != "additions"}
    folded |= {"index": entry["index"], "items": entry["items"], "rows": entry["rows"]}
    if manifest.get("keywords"):
        folded["keywords"] = {**manifest["keywords"], "folder": entry["keywords"]}
    return folded | {"tombstones": []}


def _fold_additions(
    change: IndexChange, manifest: dict[str, Any], keep: Mask
) -> tuple[dict[str, Any], Mask]:
    """The additions as one; rows of the built index stay where they are."""
    rows = manifest["rows"]
    first, *more = additions_of(manifest)
    inside = keep[rows:]
    if not inside.any():
        kept: list[dict[str, Any]] = []
    else:
        kept = [_folded(change, manifest, first, more, inside, "added")]
    keep = np.concatenate([keep[:rows], np.ones(int(inside.sum()), bool)])
    return {**manifest, "additions": kept, **tombstones(change, keep)}, keep


def _folded(
    change: IndexChange,
    manifest: Mapping[str, Any],
    first: Mapping[str, Any],
    more: Sequence[Mapping[str, Any]],
    keep: Mask,
    stem: str,
) -> dict[str, Any]:
    """Write the kept rows of some segments as one; the entry of that."""
    dim = manifest["dim"]
    trained = open_trained(change.path, manifest) if stem == "added" else None
    index = fold(
        lambda: read_index(change.path / first["index"], dim, first["rows"]),
        [read_index(change.path / part["index"], dim, part["rows"]) for part in more],
        keep,
        trained,
    )
    if trained is not None:
        forget_quantiser(index)
    entry = {"index": change.name(f"index-{stem}", ".faiss"), "rows": int(index.ntotal)}
    with atomic_file(change.path / entry["index"]) as path:
        faiss.write_index(index, str(path))
    files = [change.path / part["items"] for part in (first, *more)]
    schema = pq.read_schema(files[0])
    entry["items"] = change.name(f"items-{stem}", ".parquet")
    with atomic_file(change.path / entry["items"]) as path:
        items, start = ItemWriter(Path(path), schema), 0
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(65_536):
                table = pa.Table.from_batches([batch])
                items.add(table.filter(pa.array(keep[start : start + len(table)])))
                start += len(table)
        items.close()
    if manifest.get("keywords"):
        from mmcli.index.keyword import write_keywords

        entry["keywords"] = change.name(f"keywords-{stem}")
        columns = manifest["keywords"]["columns"]
        table = columns_of(change.path / entry["items"], columns)
        write_keywords(change.path / entry["keywords"], table)
    return entry


def _tops(manifest: Mapping[str, Any]) -> set[str]:
    """The names in the directory that this part of a manifest stands for."""
    names = {manifest["index"], manifest["items"]}
    for part in additions_of(manifest):
        names |= {part["index"], part["items"], str(part.get("keywords"))}
    for entry, key in ((manifest.get("tombstones"), "file"), (manifest.get("keywords"), "folder")):
        if isinstance(entry, Mapping):
            names.add(entry[key])
    return names


def _count_modalities(folder: Path, manifest: dict[str, Any], keep: NDArray[np.bool_]) -> None:
    """How many rows of each modality are left."""
    names = list(manifest.get("modalities") or {})
    if len(names) == 1:
        manifest["modalities"] = {names[0]: int(keep.sum())}
    elif names:
        files = item_files(folder, manifest)
        label = next(n for n in LABELS if n in pq.read_schema(files[0]).names)
        tables = [columns_of(file, [label]) for file in files]
        if sum(map(len, tables)) == len(keep):
            left = pa.concat_tables(tables).filter(pa.array(keep))
        else:  # folded: what was taken out is not there any more
            left = pa.concat_tables(tables)
        counts = left[label].value_counts().to_pylist()
        found = {entry["values"]: entry["counts"] for entry in counts}
        manifest["modalities"] = {name: int(found.get(name, 0)) for name in names}


def report_of(path: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What an index holds after a change."""
    return {
        "index": path,
        "rows": total_rows(manifest) - n_removed(manifest),
        "additions": len(additions_of(manifest)),
        "tombstones": n_removed(manifest),
        "bytes": sum(int(record["bytes"]) for record in manifest.get("files", {}).values()),
    }
