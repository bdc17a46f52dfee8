"""`align apply`: a store's embeddings through an aligner, into a store of its own.

Shard by shard, in bounded memory; every item keeps its row. Prints nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.align.aligner import Aligner, sha256_of
from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.store.mapped import MappedKey
from mmcli.store.reader import Store
from mmcli.store.slugs import slug_of
from mmcli.store.writer import KeyArrays, StoreWriter, check_output
from mmcli.workflows.output_files import refuse_input


@dataclass(frozen=True)
class ApplyConfig:
    """What `mmcli align apply` can be told. direction: "" is both modalities at once."""

    aligner: str
    store: str
    output: str
    direction: str = ""
    only: tuple[str, ...] = ()
    force: bool = False
    resume: bool = False
    dry_run: bool = False
    verify: str = "once"


def apply(
    config: ApplyConfig, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Write the aligned store and report what it holds.

    Raises SpaceMismatch when the store was not made as the one the aligner was trained on.
    """
    aligner = Aligner.open(config.aligner, config.verify)
    store = Store.open(config.store, config.verify)
    direction = config.direction or "both"
    towers = aligner.towers(direction)
    names = _modalities(aligner, store, towers, config.only)
    for name in names:
        aligner.check(store, name)
    keys = {name: _entry(aligner, store, name, direction) for name in names}
    report = {
        "store": config.output,
        "aligner": config.aligner,
        "direction": direction,
        "space": aligner.space_of(direction),
        "dim": next(iter(towers.values())).dim,
        "rows": store.rows,
        "keys": {name: list(towers[name].keys) for name in names},
    }
    refuse_input(config.output, [config.store, config.aligner])
    check_output(Path(config.output), force=config.force, resume=config.resume)
    if config.dry_run:
        return {"dry_run": True, **report}
    options = {"aligner": sha256_of(aligner.path), "direction": direction, "keys": names}
    source = {
        "spec": str(config.store),
        "kind": "store",
        "source_root": store.source_root,
        "manifest_sha256": sha256_of(store.path),
    }
    maps = {k: MappedKey(store, k) for name in names for k in towers[name].keys}
    for mapped in maps.values():
        mapped.check_finite(lambda row: store.ids()[row])
    present = {
        name: np.logical_and.reduce([store.has(k).astype(bool) for k in towers[name].keys])
        for name in names
    }
    with StoreWriter(
        config.output,
        keys,
        source,
        options,
        source["manifest_sha256"] or "",
        force=config.force,
        resume=config.resume,
    ) as writer:
        done = {record.index for record in writer.finished}
        for index, (start, table) in enumerate(store.iter_items()):
            rows = np.arange(start, start + table.num_rows)
            if index not in done and not writer.already_complete:
                arrays = {
                    name: KeyArrays(_vectors(towers[name], maps, rows, present[name][rows]))
                    for name in names
                }
                here = {name: present[name][rows] for name in names}
                writer.write_shard(
                    index, start, _items(table, here), arrays, counts=_counts(here, table.num_rows)
                )
            progress(start + table.num_rows, store.rows)
        manifest = writer.commit({"mmcli": version("mmcli"), "numpy": np.__version__})
    report["with_part"] = {name: int(present[name].sum()) for name in names}
    report["bytes"] = sum(record["bytes"] for record in manifest["files"].values())
    return report


def _modalities(
    aligner: Aligner, store: Store, towers: Mapping[str, Any], only: Sequence[str]
) -> list[str]:
    """The modalities to map: those asked for, else all whose keys the store has."""
    for name in only:
        if name not in towers:
            raise UsageError(f"`--only {name}`: not aligned", suggestion(name, towers))
    if only:
        return list(dict.fromkeys(only))
    found = [name for name in towers if all(key in store.keys for key in towers[name].keys)]
    if not found:
        wanted = sorted({key for tower in towers.values() for key in tower.keys})
        raise BadInput(
            f"`{store.path}` has none of the keys that `{aligner.path}` reads",
            "extract it with them: " + ", ".join(wanted),
        )
    return found


def _entry(aligner: Aligner, store: Store, name: str, direction: str) -> dict[str, Any]:
    """What the new store's manifest says of a key."""
    tower = aligner.towers(direction)[name]
    first = store.keys[tower.keys[0]]
    return {
        "slug": slug_of(name),
        "modality": name,
        "encoder": f"{first.get('encoder', 'unknown')}+{aligner.config['method']}",
        "dim": tower.dim,
        "dtype": "F32",
        "normalized": tower.normalized,
        "space": aligner.space_of(direction),
        "weights_sha256": aligner.manifest["weights_sha256"],
        "sequence": False,
        "aligner": {
            "path": str(aligner.path.resolve()),
            "manifest_sha256": sha256_of(aligner.path),
            "direction": direction,
            "keys": {key: aligner.config["keys"][key] for key in tower.keys},
        },
    }


def _vectors(
    tower: Any, maps: Mapping[str, MappedKey], rows: Any, present: Any
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Mapped vectors; zeros where the part is absent."""
    found = np.zeros((len(rows), tower.dim), np.float32)
    if present.any():
        here = rows[present]
        found[present] = tower.apply({key: maps[key].take(here) for key in tower.keys})
    return found


def _items(table: pa.Table, present: Mapping[str, Any]) -> pa.Table:
    """The items with `has_<slug>` of the new keys in place of the old ones."""
    kept = table.select([name for name in table.column_names if not name.startswith("has_")])
    for name, has in present.items():
        kept = kept.append_column(f"has_{slug_of(name)}", pa.array(np.asarray(has, bool)))
    return kept


def _counts(present: Mapping[str, Any], rows: int) -> tuple[int, int, int]:
    """Every item is ok but those that have none of the parts, which failed."""
    having = np.zeros(rows, int)
    for has in present.values():
        having += np.asarray(has, int)
    none = int((having == 0).sum())
    return rows - none, 0, none
