"""`retrieve add` and `retrieve update`: rows of a store into a finished index, without a rebuild.

New rows go into files beside the index, coded as it codes its own; ids that are replaced are taken
out. Composes store, aligner and index. Prints nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcli.core.errors import BadInput, SpaceMismatch
from mmcli.index.changing import IndexChange
from mmcli.index.living import additions_of, item_files, kept_rows
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.index.changes import (
    UNKNOWN_SPACE,
    ids_of,
    left_out_columns,
    report_of,
    settle,
    tombstones,
)
from mmcli.workflows.index.files import write_rows
from mmcli.workflows.index.rows import IndexPart, aligned_parts, plain_parts

#: In the manifest: whether another store's rows took the place of some since it last saw its own.
REPLACED = "replaced"


@dataclass(frozen=True)
class AddConfig:
    """What `mmcli retrieve add` can be told. compact: None decides by how much has changed.

    replace: ids that the index has already are brought up to date, else they are an error. sync:
    also take out ids that the store no longer has, and leave alone those that have not changed.
    """

    index: str
    store: str
    replace: bool = False
    sync: bool = False
    compact: bool | None = None
    verify: str = "once"
    dry_run: bool = False


def add_rows(
    config: AddConfig, message: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Add the rows of a store and report what the index holds then.

    Raises SpaceMismatch when the store is of another space, BadInput for ids that are there.
    """
    with IndexChange(config.index) as change:
        manifest = change.manifest
        store = Store.open(config.store, config.verify)
        parts = _parts(config, manifest, store)
        ids = store.id_column()
        keep = kept_rows(change.path, manifest)
        have = ids_of(item_files(change.path, manifest))
        wanted, outdated = _choose(config, manifest, store, ids, have, keep)
        parts = [replace(part, rows=part.rows & wanted) for part in parts]
        added = sum(part.count for part in parts)
        left = left_out_columns(change.path, manifest, store.columns) if added else []
        for name in left:
            message(f"column `{name}` of `{config.store}` is not in the index: left out")
        report = {
            "index": config.index,
            "added": added,
            "removed": int(outdated.sum()),
            "skipped": int(wanted.sum()) * len(parts) - added,
            "left_out_columns": left,
        }
        if config.dry_run:
            return {"dry_run": True, **report}
        keep &= ~outdated
        changed: dict[str, Any] = {}
        if added:
            entry = write_rows(change, store, parts)
            changed["additions"] = [*additions_of(manifest), entry]
            keep = np.concatenate([keep, np.ones(added, bool)])
        changed |= tombstones(change, keep)
        if config.sync:
            changed |= {"store": _store_entry(config.store), REPLACED: False}
        elif added:
            others = list(manifest.get("added_from") or [])
            changed["added_from"] = [*others, _store_entry(config.store)]
            own = (manifest.get("store") or {}).get("path")
            if outdated.any() and own != str(Path(config.store).resolve()):
                changed[REPLACED] = True
        final = settle(change, {**manifest, **changed}, keep, config.compact, message)
        return report_of(config.index, final) | report


def _parts(config: AddConfig, manifest: Mapping[str, Any], store: Store) -> list[IndexPart]:
    """What of the store goes in: the same keys, or modalities through the same aligner."""
    names = list(manifest.get("modalities") or {})
    metric = str(manifest["metric"])
    aligner = manifest.get("aligner")
    missing = [name for name in names if name not in store.keys]
    if not missing and all(store.keys[n]["space"] == manifest["space"] for n in names):
        plain = True
    else:
        plain = not aligner
    if plain:
        for name in names:
            entry = store.key(name)
            for where, space in ((config.index, manifest["space"]), (config.store, entry["space"])):
                if not space:
                    raise SpaceMismatch(
                        f"`{where}` does not say in which space it is", UNKNOWN_SPACE
                    )
            for what in ("space", "dim"):
                if entry[what] != manifest[what]:
                    raise SpaceMismatch(
                        f"`{config.index}` has {what} `{manifest[what]}`, key `{name}` of"
                        f" `{config.store}` has `{entry[what]}`",
                        "extract it with the encoder that the index was made with",
                    )
        return plain_parts(store, names, metric)
    from mmcli.align.aligner import Aligner, sha256_of

    path = Path(str(aligner["path"]))
    if not (path / MANIFEST).is_file() or sha256_of(path) != aligner.get("manifest_sha256"):
        raise BadInput(
            f"`{path}`, the aligner that `{config.index}` was made with, is gone or has changed",
            f"put it back, or bring the rows into its space before: `align apply … {config.store}`",
        )
    opened = Aligner.open(path, config.verify)
    for name in names:
        opened.check(store, name)
    return aligned_parts(store, opened, names, metric)


def _choose(
    config: AddConfig,
    manifest: Mapping[str, Any],
    store: Store,
    ids: pa.ChunkedArray,
    have: pa.ChunkedArray,
    keep: Any,
) -> tuple[Any, Any]:
    """Masks: rows of the store that go in, and rows of the index that leave."""
    mine = np.asarray(pc.is_in(have, value_set=ids).to_numpy())  # the smaller set is hashed
    known = np.asarray(pc.is_in(ids, value_set=have.filter(pa.array(mine & keep))).to_numpy())
    if config.sync:
        fresh = _changed_since(config, manifest, store)
        if manifest.get(REPLACED):  # by rows of another store, whichever: all are brought back
            fresh = np.ones(store.rows, bool)
        wanted = ~known | fresh
        renewed = np.asarray(pc.is_in(have, value_set=ids.filter(pa.array(wanted))).to_numpy())
        return wanted, keep & (~mine | renewed)
    if known.any() and not config.replace:
        first = ids[int(np.flatnonzero(known)[0])].as_py()
        raise BadInput(
            f"`{config.index}` has item `{first}` already"
            + (f", and {int(known.sum()) - 1} more of `{config.store}`" if known.sum() > 1 else ""),
            "`--replace` puts these in the place of the old ones",
        )
    return np.ones(len(ids), bool), keep & mine


def _changed_since(config: AddConfig, manifest: Mapping[str, Any], store: Store) -> Any:
    """Rows of the store that were embedded after the index last saw it."""
    entry = manifest.get("store") or {}
    seen, now = entry.get("manifest_sha256"), _store_entry(config.store)["manifest_sha256"]
    if seen == now:
        return np.zeros(store.rows, bool)
    history = (store.manifest.get("updates") or {}).get("history") or []
    before = [past for past in history if past.get("manifest_sha256") == seen]
    if not before:
        raise BadInput(
            f"`{config.index}` was not made of an earlier state of `{config.store}`",
            "`retrieve add --replace` takes every row, `retrieve index --force` builds anew",
        )
    from mmcli.store.updates import embedded_in

    return embedded_in(store) > int(before[-1]["generation"])


def _store_entry(path: str) -> dict[str, Any]:
    sha256 = file_record(Path(path) / MANIFEST)["sha256"]
    return {"path": str(Path(path).resolve()), "manifest_sha256": sha256}
