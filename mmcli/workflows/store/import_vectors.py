"""`store import`: vectors that other programs wrote, as a store. Prints nothing.

Every vector is looked at once before anything is written: whether it is a number at all, and of
length one. Vectors keep their bits.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import MODALITIES
from mmcli.store.records import DTYPES, Failure, KeyArrays
from mmcli.store.rows import Block
from mmcli.store.slugs import slug_of
from mmcli.workflows.store.import_items import ImportedItems
from mmcli.workflows.store.mapped_vectors import KeyVectors, Vectors
from mmcli.workflows.store.output import Making, Output, Progress, cut_blocks, write_store
from mmcli.workflows.store.vectors import open_vectors

#: What a vector cannot hold.
_BROKEN = "NaN, an infinity or a number beyond float32"
#: How far the length of a unit vector may be from one: its numbers are rounded to the type.
_TOLERANCE = {"F32": 1e-3, "F16": 4e-3}
_BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class ImportConfig:
    """What `mmcli store import` can be told.

    key: what the embedding is called, where the files do not say. items: a table that describes
    the rows of .npy files. column: of a table, which holds the vectors. mapping: our column -> its
    name there.
    """

    sources: tuple[str, ...]
    output: Output
    key: str | None = None
    items: str | None = None
    column: str | None = None
    encoder: str | None = None
    space: str | None = None
    normalized: str = "auto"
    mapping: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    on_error: str = "skip"


@dataclass
class _Checked:
    """What a look at every vector found. has: bool `(rows,)`; broken: rows that hold NaN."""

    has: NDArray[np.bool_]
    broken: list[int]
    unit: bool
    crooked: tuple[int, float] | None


def import_vectors(
    config: ImportConfig, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Write the store and report what it holds.

    Raises BadInput when vectors and items do not fit each other, an id is there twice, or what is
    said of the vectors is not so.
    """
    config.output.check(config.sources)
    with tempfile.TemporaryDirectory(prefix="mmcli-") as name:
        vectors = open_vectors(config.sources, config.items, config.column, Path(name))
        _name_key(config, vectors)
        items = ImportedItems(vectors, config.mapping, ", ".join(config.sources[:3]))
        checked = {}
        for key, found in vectors.keys.items():
            if found.rows != vectors.rows:
                first = next(iter(vectors.keys))
                raise BadInput(
                    f"key `{first}` has {vectors.rows} rows, `{key}` {found.rows}",
                    "vectors of one item stand in one row",
                )
            checked[key] = _look_at(found, items.has(key))
        entries = {k: _entry(config, k, vectors.keys[k], checked[k]) for k in vectors.keys}
        report = _report(config, vectors, checked, entries, items)
        if config.output.dry_run:
            return {"dry_run": True, **report}
        return report | _write(config, vectors, items, checked, entries, progress)


def _write(
    config: ImportConfig,
    vectors: Vectors,
    items: ImportedItems,
    checked: Mapping[str, _Checked],
    entries: Mapping[str, Mapping[str, Any]],
    progress: Progress,
) -> dict[str, Any]:
    root = config.root or vectors.root
    making = Making(
        keys=entries,
        source={
            "spec": " ".join(config.sources),
            "kind": vectors.kind,
            "source_root": None if root is None else str(Path(root).absolute()),
        },
        options={
            "verb": "store import",
            "items": config.items,
            "column": config.column,
            "map": dict(config.mapping),
            "on_error": config.on_error,
            "shard_size": config.output.shard_size,
        },
        fingerprint=_fingerprint(config),
    )

    def read(start: int, stop: int) -> Block:
        table = items.read(start, stop)
        arrays, failures = {}, []
        ids = table.column("id")
        for key, found in vectors.keys.items():
            dtype = np.dtype(DTYPES[entries[key]["dtype"]])
            with np.errstate(over="ignore"):  # these rows are among the broken ones
                block = found.read(start, stop).astype(dtype, copy=False)
            absent = ~checked[key].has[start:stop]
            if absent.any():
                block = np.where(absent[:, None], dtype.type(0), block)
            arrays[key] = KeyArrays(np.ascontiguousarray(block))
            if found.values is not None and found.offsets is not None:
                offsets = found.offsets[start : stop + 1]
                values = np.array(found.values[int(offsets[0]) : int(offsets[-1])])
                arrays[key].values, arrays[key].offsets = values, offsets - offsets[0]
            for row in checked[key].broken:
                if start <= row < stop:
                    where, why = found.where(row), f"the vector holds {_BROKEN}"
                    failures.append(Failure(str(ids[row - start]), key, where, "non-finite", why))
        has = {key: checked[key].has[start:stop] for key in entries}
        return Block(table, has, arrays, failures)

    width = sum(found.dim * 4 for found in vectors.keys.values())
    cost = np.full(vectors.rows, width, np.int64)
    for found in vectors.keys.values():
        if found.values is not None and found.offsets is not None:
            cost += np.diff(found.offsets) * found.values.shape[1] * 4
    blocks = cut_blocks(cost, config.output.shard_size)
    return write_store(config.output, making, blocks, read, progress)


def _name_key(config: ImportConfig, vectors: Vectors) -> None:
    """Give the embedding the name that the user chose, where the files do not name any."""
    if "" in vectors.keys:
        name = config.key or vectors.name
        if not name:
            raise UsageError("what is the embedding called?", "as in `--key image`")
        vectors.keys = {name: vectors.keys[""]}
    elif config.key and config.key not in vectors.keys:
        raise BadInput(
            f"`--key {config.key}`: `{config.sources[0]}` has no such key",
            suggestion(config.key, vectors.keys),
        )
    elif config.key:
        vectors.keys = {config.key: vectors.keys[config.key]}


def _look_at(found: KeyVectors, has: NDArray[np.bool_] | None) -> _Checked:
    """Norms of every vector: absent rows, broken ones, and whether the others have length one."""
    there = np.ones(found.rows, bool)
    broken: list[int] = []
    crooked: tuple[int, float] | None = None
    tolerance = _TOLERANCE["F16" if found.files[0].array.dtype.itemsize == 2 else "F32"]
    told = has if has is not None else found.has
    for start in range(0, found.rows, _BLOCK_ROWS):
        block = found.read(start, min(start + _BLOCK_ROWS, found.rows))
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(block.astype(np.float64), axis=1)
            kept = np.isfinite(block.astype(np.float32, copy=False)).all(axis=1)
        here = norms != 0 if told is None else told[start : start + len(block)]
        bad = here & ~(kept & np.isfinite(norms))
        broken += (start + np.flatnonzero(bad)).tolist()
        there[start : start + len(block)] = here & ~bad
        off = np.flatnonzero(here & ~bad & (np.abs(norms - 1) > tolerance))
        if len(off) and crooked is None:
            crooked = (start + int(off[0]), float(norms[off[0]]))
    return _Checked(there, broken, crooked is None and bool(there.any()), crooked)


def _entry(config: ImportConfig, key: str, found: KeyVectors, checked: _Checked) -> dict[str, Any]:
    """What the manifest says of a key: what was written down, then what the user says."""
    modality = key.partition(":")[0]
    half = all(file.array.dtype == np.float16 for file in found.files)
    known = {"modality": modality} if modality in MODALITIES else {}
    entry: dict[str, Any] = {**known, **found.entry, **_encoder(config, modality, found.dim)}
    if config.space:
        entry["space"] = config.space
    entry |= {"slug": slug_of(key), "dim": found.dim, "dtype": "F16" if half else "F32"}
    entry["sequence"] = found.values is not None
    entry.setdefault("encoder", "unknown")
    entry.setdefault("space", "")
    said = found.entry.get("normalized")
    if config.normalized == "yes" and checked.crooked is not None:
        row, length = checked.crooked
        raise BadInput(
            f"{found.where(row)}: a vector of length {length:.4g}, but `--normalized yes`",
            "normalise them first, or say `--normalized no`",
        )
    if config.normalized == "auto":
        entry["normalized"] = bool(said) if said is not None else checked.unit
    else:
        entry["normalized"] = config.normalized == "yes"
    return entry


def _encoder(config: ImportConfig, modality: str, dim: int) -> dict[str, Any]:
    """What is known of the encoder that the user names."""
    if config.encoder is None:
        return {}
    if modality not in MODALITIES:
        return {"encoder": config.encoder}
    from mmcli.encoders.registry import resolve

    resolved = resolve(config.encoder, modality)
    known = {"encoder": resolved.name, "reference": config.encoder}
    if resolved.revision:
        known["revision"] = resolved.revision
    if resolved.spec is not None and resolved.spec.dim is not None and resolved.spec.dim != dim:
        raise BadInput(
            f"`--encoder {config.encoder}` gives {resolved.spec.dim} numbers,"
            f" the vectors have {dim}",
            "name the encoder that made them",
        )
    if resolved.spec is not None and resolved.spec.space:
        known["space"] = resolved.spec.space
    return known


def _report(
    config: ImportConfig,
    vectors: Vectors,
    checked: Mapping[str, _Checked],
    entries: Mapping[str, Mapping[str, Any]],
    items: ImportedItems,
) -> dict[str, Any]:
    warnings = []
    for key, found in vectors.keys.items():
        broken = checked[key].broken
        if broken:
            named = "; ".join(found.where(row) for row in broken[:3])
            more = "" if len(broken) <= 3 else f" and {len(broken) - 3} more"
            said = f"`{key}` holds {_BROKEN}: {named}{more}"
            if config.on_error == "fail":
                raise BadInput(said, "`--on-error skip` goes on and lists them")
            warnings.append(said)
        if any(file.array.dtype.itemsize > 4 for file in found.files):
            warnings.append(f"`{key}` holds float64: it is kept as float32")
        if not entries[key]["space"]:
            warnings.append(
                f"`{key}` names no space, so it can be compared with nothing: `--space` or"
                " `--encoder` says it"
            )
    shown = ("encoder", "space", "dim", "dtype", "normalized")
    return {
        "store": config.output.path,
        "layout": vectors.kind,
        "rows": vectors.rows,
        "keys": {
            key: {**{n: entry[n] for n in shown}, "with_part": int(checked[key].has.sum())}
            for key, entry in entries.items()
        },
        "columns": items.schema.names,
        "warnings": warnings,
    }


def _fingerprint(config: ImportConfig) -> str:
    """Changes when a file does: names, sizes and times, as of a folder that is a source."""
    digest = hashlib.sha256()
    named = [*config.sources, *([config.items] if config.items else [])]
    for name in named:
        path = Path(name)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found = file.stat()
                digest.update(f"{file}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()
