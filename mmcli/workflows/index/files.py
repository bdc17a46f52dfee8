"""Files of an index written anew: added rows, and several files folded into one.

Knows FAISS files, items and keywords; which rows, and when, is decided elsewhere. Prints nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.index.build import inverted_lists, ready
from mmcli.index.changing import IndexChange
from mmcli.index.filtering import Mask
from mmcli.index.folding import fold, fold_to_file
from mmcli.index.items import ItemWriter
from mmcli.index.library import faiss
from mmcli.index.search import read_index
from mmcli.index.segments import empty_addition
from mmcli.store.atomic import atomic_file
from mmcli.store.reader import Store
from mmcli.workflows.index.changes import columns_of, fitted, modality_column
from mmcli.workflows.index.rows import IndexPart
from mmcli.workflows.store.paths import rerooted


def write_rows(change: IndexChange, store: Store, parts: Sequence[IndexPart]) -> dict[str, Any]:
    """Files of added rows; their entry in the manifest."""
    manifest = change.manifest
    built = open_trained(change.path, manifest)
    addition = empty_addition(built)
    for part in parts:
        for block in part.blocks(store):
            if len(block):
                addition.add(ready(block, manifest["metric"]))
    entry = write_addition(change, addition)
    schema = pq.read_schema(change.path / manifest["items"])
    write_items(change, schema, _tables(store, parts, schema, manifest), entry)
    return entry


def open_trained(folder: Path, manifest: Mapping[str, Any]) -> Any:
    """The built index for what it was trained to, its lists left on the disk where they can be."""
    path = str(folder / manifest["index"])
    try:
        return faiss.read_index(path, faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
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
    store: Store, parts: Sequence[IndexPart], schema: pa.Schema, manifest: Mapping[str, Any]
) -> list[pa.Table]:
    """The items of the parts, fitted to the index's columns; paths of another root are absolute."""
    names = [n for n in store.columns if n in schema.names]
    label = modality_column(schema.names, manifest.get("modalities") or {})
    root = None if store.source_root == manifest.get("source_root") else store.source_root
    names = [name for name in names if name != label]
    found = []
    for part in parts:
        for start, table in store.iter_items(names):
            table = table.filter(pa.array(part.rows[start : start + len(table)]))
            if not len(table):
                continue
            if label:
                table = table.append_column(label, pa.array([part.name] * len(table)))
            found.append(fitted(rerooted(table, root), schema, str(store.path)))
    return found


def _fold_vectors(
    folder: Path,
    manifest: Mapping[str, Any],
    first: Mapping[str, Any],
    more: Sequence[Mapping[str, Any]],
    keep: Mask,
    stem: str,
    path: Path,
) -> None:
    """Write the vectors of some segments as one, list by list where lists are on disk."""
    mapped = bool(manifest.get("on_disk"))

    def read(part: Mapping[str, Any]) -> Any:
        name = folder / part["index"]
        return read_index(name, manifest["dim"], part["rows"], on_disk=mapped)

    if mapped:
        fold_to_file(lambda: read(first), [read(part) for part in more], keep, path)
        return
    trained = open_trained(folder, manifest) if stem == "added" else None
    index = fold(lambda: read(first), [read(part) for part in more], keep, trained)
    if trained is not None:
        forget_quantiser(index)
    faiss.write_index(index, str(path))


def fold_files(
    change: IndexChange,
    manifest: Mapping[str, Any],
    first: Mapping[str, Any],
    more: Sequence[Mapping[str, Any]],
    keep: Mask,
    stem: str,
) -> dict[str, Any]:
    """Write the kept rows of some segments as one; the entry of that."""
    entry: dict[str, Any] = {
        "index": change.name(f"index-{stem}", ".faiss"),
        "rows": int(keep.sum()),
    }
    with atomic_file(change.path / entry["index"]) as path:
        _fold_vectors(change.path, manifest, first, more, keep, stem, Path(path))
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
