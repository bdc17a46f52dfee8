"""What every change to a finished index does: tombstones, folding when it is due, the report.

Knows the files and entries of a manifest; nothing of how rows were chosen. Prints nothing.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.index.changing import IndexChange
from mmcli.index.layout import generation_of, own_entries
from mmcli.index.living import additions_of, item_files, n_removed, total_rows
from mmcli.store.atomic import atomic_file
from mmcli.store.parquet import in_schema, open_parquet, read_rows

Mask = NDArray[np.bool_]
#: A built index that lacks more of its rows than this is folded together.
REMOVED_SHARE = 0.2
#: So is one whose additions are more than this share of it, and more than a thousand rows.
ADDED_SHARE, ADDED_ROWS = 0.1, 1000
#: Every addition costs a search a little; so many of them become one.
MOST_ADDITIONS = 8
#: Columns that say which modality a row of an index is of, where it has several; the second where
#: the store has a column of the first name.
LABELS = ("modality", "indexed_modality")
#: What to do where a space has no name.
UNKNOWN_SPACE = "`store import --space` names it: make the store, and its index, again"


def left_out_columns(index: Path, manifest: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Columns of items that are to be added, for which an index has no place."""
    have = pq.read_schema(index / manifest["items"]).names
    return [name for name in columns if name not in have and not name.startswith("has_")]


def ids_of(files: Sequence[Path]) -> pa.ChunkedArray:
    """The id of every row, those taken out among them."""
    columns = [columns_of(file, ["id"])["id"].cast(pa.string()) for file in files]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())


def modality_column(names: Sequence[str], modalities: Collection[str]) -> str | None:
    """The column of an index with these columns that says of which modality a row is, if any."""
    if len(modalities) < 2:
        return None
    return next((name for name in reversed(LABELS) if name in names), None)


def columns_of(file: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a Parquet file; `pq.read_table` would import pandas, 0.2 s."""
    return read_rows(open_parquet(file), file, columns)


def fitted(table: pa.Table, schema: pa.Schema, whose: str) -> pa.Table:
    """The same rows in the columns of `schema`, null where there is none of that name.

    Raises BadInput when a value cannot be of the column's type.
    """

    def refused(field: pa.Field, found: pa.DataType) -> BadInput:
        return BadInput(
            f"column `{field.name}` of `{whose}` is {found}, that of the index {field.type}",
            "give the column the same type, or build the index again",
        )

    return in_schema(table, schema, refused)


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
    manifest["measured_recall"] = _measured_before(change.manifest, keep)
    if compact or (compact is None and keep.any() and _is_due(manifest, keep)):
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


def _measured_before(before: Mapping[str, Any], keep: Mask) -> dict[str, Any] | None:
    """What was measured of an index, with how many rows came and went since."""
    measured: dict[str, Any] | None = before.get("measured_recall")
    changed = len(keep) - total_rows(before) + int((~keep).sum()) - n_removed(before)
    if measured is None or not changed:
        return measured
    return {**measured, "rows_changed_since": measured.get("rows_changed_since", 0) + changed}


def _is_due(manifest: Mapping[str, Any], keep: Mask) -> bool:
    added = total_rows(manifest) - manifest["rows"]
    return bool(
        (~keep).sum() > REMOVED_SHARE * len(keep)
        or added > max(ADDED_SHARE * manifest["rows"], ADDED_ROWS)
    )


def _fold_all(change: IndexChange, manifest: dict[str, Any], keep: Mask) -> dict[str, Any]:
    """One file of vectors and one of items again, of what is left."""
    if not keep.any():
        raise BadInput(f"`{change.path}` would be empty", "delete it, or leave `--compact` out")
    from mmcli.workflows.index.files import fold_files  # FAISS takes 0.1 s to import

    more = additions_of(manifest)
    entry = fold_files(change, manifest, manifest, more, keep, "built")
    folded = {k: v for k, v in manifest.items() if k != "additions"}
    folded |= {"index": entry["index"], "items": entry["items"], "rows": entry["rows"]}
    if manifest.get("keywords"):
        folded["keywords"] = {**manifest["keywords"], "folder": entry["keywords"]}
    return folded | {"tombstones": []}


def _fold_additions(
    change: IndexChange, manifest: dict[str, Any], keep: Mask
) -> tuple[dict[str, Any], Mask]:
    """The additions as one; rows of the built index stay where they are."""
    from mmcli.workflows.index.files import fold_files

    rows = manifest["rows"]
    first, *more = additions_of(manifest)
    inside = keep[rows:]
    if not inside.any():
        kept: list[dict[str, Any]] = []
    else:
        kept = [fold_files(change, manifest, first, more, inside, "added")]
    keep = np.concatenate([keep[:rows], np.ones(int(inside.sum()), bool)])
    return {**manifest, "additions": kept, **tombstones(change, keep)}, keep


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
        label = modality_column(pq.read_schema(files[0]).names, names)
        assert label is not None
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
