"""Vectors that other programs wrote, as mapped arrays beside their items, whatever the layout.

Reads .npy files, Parquet and JSONL with a column of vectors, clip-retrieval's folders, and what
`store export` wrote. Nothing is unpickled. Knows nothing about the store that is made of them.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.lib.format import MAGIC_PREFIX

from mmcli.core.errors import BadInput, UsageError
from mmcli.store.manifest import MANIFEST, inspect_manifest, kind_of, read_manifest
from mmcli.workflows.store.export_layout import EXPORT, KEYS_METADATA, npy_names
from mmcli.workflows.store.mapped_vectors import KeyVectors, VectorFile, Vectors
from mmcli.workflows.store.vectors_tables import from_tables, spool_tables

_NUMBERED = re.compile(r"(\d+)\.(npy|parquet)$")
#: What clip-retrieval calls what a store calls `image` and `text`.
_CLIP_COLUMNS = {"image": "image_path", "text": "caption"}
_CLIP_FOLDERS = {"image": "img_emb", "text": "text_emb"}


def open_vectors(
    sources: Sequence[str], items: str | None, column: str | None, folder: Path
) -> Vectors:
    """Open what is to be imported. items: a table that describes the rows of .npy files.

    column: of a table, which holds the vectors. folder: for what cannot be mapped where it lies.
    Raises BadInput naming what is wrong.
    """
    for source in sources:
        if not Path(source).exists():
            raise BadInput(f"`{source}` does not exist", "name .npy, Parquet, JSONL or a folder")
    kinds = {_kind(source) for source in sources}
    if len(kinds) > 1:
        raise UsageError("files of different kinds cannot be imported at once", "one kind a store")
    kind = kinds.pop()
    if column is not None and kind != "table":
        raise UsageError("`--column` is for tables", f"`{sources[0]}` is none")
    if items is not None and kind != "npy":
        raise UsageError("`--items` is for .npy files", f"`{sources[0]}` brings its own items")
    if kind == "npy":
        files = [map_npy(Path(source), source) for source in sources]
        table = None if items is None else spool_tables(folder, [items])
        root = None if items is None else str(Path(items).absolute().parent)
        return Vectors(kind, {"": KeyVectors(files)}, table, root)
    if kind == "table":
        return from_tables(sources, column, folder)
    if len(sources) > 1:
        raise UsageError("only one folder can be imported at once", "`store concat` joins stores")
    if kind == "export":
        return _from_export(Path(sources[0]), folder)
    return _from_clip_retrieval(Path(sources[0]), folder)


def _kind(source: str) -> str:
    path = Path(source)
    if path.is_file():
        if path.suffix == ".npy":
            return "npy"
        if path.suffix in (".npz", ".pkl", ".pt", ".pth"):
            raise BadInput(
                f"`{source}`: {path.suffix} files are not read", "save the array: `np.save(…)`"
            )
        return "table"
    if (path / MANIFEST).is_file():
        kind = kind_of(inspect_manifest(path)[0])
        if kind == EXPORT:
            return "export"
        what = "a store already" if kind == "mmcli.store" else f"{kind or 'unknown'}, no vectors"
        raise BadInput(
            f"`{source}` is {what}", "stores are joined by `store concat` and `store join`"
        )
    if any((path / name).is_dir() for name in _CLIP_FOLDERS.values()):
        return "clip-retrieval"
    raise BadInput(
        f"`{source}` has no folder img_emb or text_emb", "name .npy, Parquet or JSONL files"
    )


def map_npy(path: Path, name: str) -> VectorFile:
    """A matrix of floats, mapped. Raises BadInput for anything else."""
    try:
        with open(path, "rb") as file:
            if file.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:  # numpy would speak of pickles
                raise BadInput(f"`{name}` is no npy file", "save the array: `np.save(…)`")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, ValueError) and "mmap length" in str(error):
            array = np.load(path, allow_pickle=False)  # of no rows
        else:
            reason = (str(error).splitlines() or [""])[0].rstrip(".")
            raise BadInput(f"`{name}` is no .npy file: {reason}", "save it again") from error
    if array.ndim != 2 or array.dtype.kind != "f" or array.dtype.itemsize > 8 or not array.shape[1]:
        raise BadInput(
            f"`{name}` holds {array.dtype} {list(array.shape)}, not rows of vectors",
            "save a matrix of float32 or float16",
        )
    return VectorFile(name, array)


# -- folders --------------------------------------------------------------------------------


def _from_export(path: Path, folder: Path) -> Vectors:
    manifest = read_manifest(path, EXPORT)
    if manifest.get("layout") == "clip-retrieval":
        found = _from_clip_retrieval(path, folder)
        keys = {k: v for k, v in found.keys.items() if k in _CLIP_FOLDERS}
        for new, entry in manifest[KEYS_METADATA].items():
            mine = keys[entry["modality"]]
            found.keys.pop(entry["modality"])
            found.keys[new] = KeyVectors(mine.files, entry["entry"])
        found.root = manifest.get("source_root")
        return found
    keys = {}
    for key, entry in manifest[KEYS_METADATA].items():
        names = npy_names(entry["entry"]["slug"])
        vectors = KeyVectors([map_npy(path / names[0], str(path / names[0]))], entry["entry"])
        if entry["entry"].get("sequence"):
            vectors.values = map_npy(path / names[1], str(path / names[1])).array
            vectors.offsets = np.load(path / names[2], allow_pickle=False)
        keys[key] = vectors
    items = spool_tables(folder, [path / "ids.parquet"])
    return Vectors("export", keys, items, manifest.get("source_root"))


def _from_clip_retrieval(path: Path, folder: Path) -> Vectors:
    keys = {}
    tables = dict(_numbered(path / "metadata", "parquet"))
    for modality, name in _CLIP_FOLDERS.items():
        files = dict(_numbered(path / name, "npy"))
        if not files:
            continue
        if tables and set(files) != set(tables):
            number = min(set(files) ^ set(tables))
            raise BadInput(
                f"`{path}`: part {number} is not in both {name} and metadata", "copy it again"
            )
        mapped = [map_npy(file, str(file)) for _, file in sorted(files.items())]
        keys[modality] = KeyVectors(mapped)
        for (_, table), file in zip(sorted(tables.items()), mapped, strict=False):
            rows = pq.read_metadata(table).num_rows
            if rows != len(file.array):
                raise BadInput(
                    f"`{file.name}` has {len(file.array)} rows, `{table}` {rows}", "copy it again"
                )
    if not keys:
        raise BadInput(f"`{path}` has no img_emb_0.npy or text_emb_0.npy", "see `-h`")
    if not tables:
        return Vectors("clip-retrieval", keys, None)
    spool = spool_tables(folder, [table for _, table in sorted(tables.items())])
    return Vectors("clip-retrieval", keys, spool)


def clip_mapping(names: Sequence[str]) -> dict[str, str]:
    """Our name -> clip-retrieval's, of the columns that are there under its name only."""
    return {
        ours: theirs
        for ours, theirs in _CLIP_COLUMNS.items()
        if theirs in names and ours not in names
    }


def _numbered(folder: Path, suffix: str) -> Iterator[tuple[int, Path]]:
    """Number and path of the parts in a folder."""
    for path in folder.iterdir() if folder.is_dir() else ():
        found = _NUMBERED.search(path.name)
        if found and found[2] == suffix:
            yield int(found[1]), path
