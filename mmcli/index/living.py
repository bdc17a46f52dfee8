"""What a manifest says of an index that has grown or shrunk, and the index opened with it.

`additions` names files of later rows, `tombstones` a file of the rows that were taken out; rows are
counted through. An index that never changed opens as the FAISS index that it is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput

Rows = NDArray[np.int64]
#: The stem of a file of vectors that was folded together.
FOLDED = "index-built"


def additions_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The additions in order: `index`, `items`, `rows`, and `keywords` where there are some."""
    return list(manifest.get("additions") or [])


def total_rows(manifest: Mapping[str, Any]) -> int:
    """Rows of every file together, those taken out among them."""
    return int(manifest["rows"]) + sum(int(part["rows"]) for part in additions_of(manifest))


def n_removed(manifest: Mapping[str, Any]) -> int:
    """How many rows were taken out."""
    entry = manifest.get("tombstones")
    return int(entry["rows"]) if isinstance(entry, Mapping) else len(entry or [])


def is_as_built(manifest: Mapping[str, Any]) -> bool:
    """Whether nothing was added, taken out, folded or merged since the index was built."""
    changed = additions_of(manifest) or n_removed(manifest)
    told = manifest.get("added_from") or manifest.get("merged")
    return not (changed or told or str(manifest["index"]).startswith(f"{FOLDED}."))


def living_files(manifest: Mapping[str, Any]) -> list[str]:
    """The files that every search reads: vectors, items, and the rows taken out."""
    names = [manifest["index"], manifest["items"]]
    for part in additions_of(manifest):
        names += [part["index"], part["items"]]
    entry = manifest.get("tombstones")
    return [*names, entry["file"]] if isinstance(entry, Mapping) else names


def item_files(folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """The Parquet files of the items, in the order of their rows."""
    names = [manifest["items"], *(part["items"] for part in additions_of(manifest))]
    return [folder / name for name in names]


def removed_rows(folder: Path, manifest: Mapping[str, Any]) -> Rows:
    """The rows that were taken out, ascending. Raises BadInput when their file is damaged."""
    entry = manifest.get("tombstones")
    if not isinstance(entry, Mapping):
        return np.asarray(entry or [], dtype=np.int64)
    path = folder / entry["file"]
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"`{path}` cannot be read", "build the index again") from error
    if rows.dtype != np.int64 or rows.shape != (entry["rows"],):
        raise BadInput(
            f"`{path}` holds {rows.dtype} {list(rows.shape)}, its manifest says {entry['rows']}"
            " rows",
            "build the index again",
        )
    return rows


def kept_rows(folder: Path, manifest: Mapping[str, Any]) -> NDArray[np.bool_]:
    """`(rows,)`: False for those that were taken out."""
    keep = np.ones(total_rows(manifest), bool)
    removed = removed_rows(folder, manifest)
    if len(removed) and not 0 <= int(removed[0]) <= int(removed[-1]) < len(keep):
        name = manifest["tombstones"]["file"]
        raise BadInput(f"`{folder / name}` names rows that are not there", "build the index again")
    keep[removed] = False
    return keep


def open_vectors(folder: Path, manifest: Mapping[str, Any]) -> Any:
    """The index to search: FAISS's own, or its segments together where it has changed."""
    from mmcli.index.search import read_index

    def read(part: Mapping[str, Any]) -> Any:
        return read_index(
            folder / part["index"],
            manifest["dim"],
            part["rows"],
            on_disk=bool(manifest.get("on_disk")),
            setting=manifest.get("search"),
        )

    built = read(manifest)
    more = additions_of(manifest)
    if not more and not n_removed(manifest):
        return built
    from mmcli.index.segments import LivingIndex

    parts = [read(part) for part in more]
    keep = kept_rows(folder, manifest) if n_removed(manifest) else None
    return LivingIndex(built, parts, keep)


def open_items(folder: Path, manifest: Mapping[str, Any]) -> Any:
    """The items of every row; ids that were taken out stand for none.

    Raises BadInput when there are more or fewer than the manifest says.
    """
    from mmcli.index.items import ItemTable

    keep = kept_rows(folder, manifest) if n_removed(manifest) else None
    files = item_files(folder, manifest)
    table = ItemTable(*files, keep=keep)
    if table.rows != total_rows(manifest):
        raise BadInput(
            f"`{files[0]}` has {table.rows} rows, the index {total_rows(manifest)}",
            "build the index again",
        )
    return table


def narrow(index: Any, rows: Rows) -> Any:
    """Any index that `open_vectors` gave, of which only these rows count."""
    from mmcli.index.segments import LivingIndex

    living = index if isinstance(index, LivingIndex) else LivingIndex(index)
    return living.narrowed(rows)
