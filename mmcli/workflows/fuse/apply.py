"""`fuse apply`: the fused embedding of every row of a store, as the key `fused` of a new store.

Shard by shard, in bounded memory; every item keeps its row. Prints nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.fusion.model import FusionModel
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.store.writer import KeyArrays, StoreWriter, check_output
from mmcli.workflows.fuse.open import absent_modalities, absent_warnings, inputs_for
from mmcli.workflows.output_files import refuse_input

KEY = "fused"


@dataclass(frozen=True)
class FuseApplyConfig:
    """What `mmcli fuse apply` can be told. without: modalities taken as absent."""

    model: str
    store: str
    output: str
    without: tuple[str, ...] = ()
    force: bool = False
    resume: bool = False
    dry_run: bool = False
    verify: str = "once"


def apply_fusion(
    config: FuseApplyConfig, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Write the fused store and report what it holds.

    Raises SpaceMismatch when the store was not made as the one the model was trained on.
    """
    model = FusionModel.open(config.model, config.verify)
    store = Store.open(config.store, config.verify)
    inputs = inputs_for(model, store, config.without)
    rows = np.arange(store.rows, dtype=np.int64)
    there = inputs.present(rows)
    there[:, [inputs.names.index(name) for name in config.without]] = False
    present = there.any(1)
    report: dict[str, Any] = {
        "store": config.output,
        "model": config.model,
        "method": model.spec.name,
        "space": model.config["space"],
        "rows": store.rows,
        "modalities": [
            name
            for name in inputs.names
            if name not in config.without and name not in absent_modalities(inputs)
        ],
        "warnings": absent_warnings(model, store, inputs, config.without),
    }
    refuse_input(config.output, [config.store, config.model])
    check_output(Path(config.output), force=config.force, resume=config.resume)
    if config.dry_run:
        return {"dry_run": True, **report}
    store_sha = file_record(store.path / MANIFEST)["sha256"]
    model_sha = file_record(model.path / MANIFEST)["sha256"]
    if not store.rows:
        raise BadInput(f"`{store.path}` has no rows", "extract a source that has some")
    dim = int(_vectors(model, inputs, rows[:1], config.without).shape[1])
    entry = {
        "slug": KEY,
        "modality": KEY,
        "encoder": model.spec.name,
        "dim": dim,
        "dtype": "F32",
        "normalized": False,
        "space": model.config["space"],
        "weights_sha256": model.manifest["weights_sha256"],
        "sequence": False,
        "model": {"path": str(model.path.resolve()), "manifest_sha256": model_sha},
    }
    source = {
        "spec": config.store,
        "kind": "store",
        "source_root": store.source_root,
        "manifest_sha256": store_sha,
    }
    options = {"model": model_sha, "without": list(config.without)}
    with StoreWriter(
        config.output,
        {KEY: entry},
        source,
        options,
        store_sha,
        force=config.force,
        resume=config.resume,
    ) as writer:
        done = {record.index for record in writer.finished}
        for index, (start, table) in enumerate(store.iter_items()):
            mine = rows[start : start + table.num_rows]
            if index not in done and not writer.already_complete:
                vectors = np.zeros((0, dim), np.float32)
                if len(mine):
                    vectors = _vectors(model, inputs, mine, config.without)
                here = present[mine]
                vectors[~here] = 0.0
                none = int((~here).sum())
                writer.write_shard(
                    index,
                    start,
                    _items(table, here),
                    {KEY: KeyArrays(vectors)},
                    counts=(table.num_rows - none, 0, none),
                )
            progress(start + table.num_rows, store.rows)
        manifest = writer.commit({"mmcli": version("mmcli"), "numpy": np.__version__})
    report |= {"dim": dim, "with_part": int(present.sum())}
    report["bytes"] = sum(record["bytes"] for record in manifest["files"].values())
    return report


def _vectors(model: FusionModel, inputs: Any, rows: Any, without: tuple[str, ...]) -> Any:
    found = [vectors for _, vectors, _ in model.apply(inputs, rows, without)]
    return np.concatenate(found).astype(np.float32, copy=False)


def _items(table: pa.Table, present: Any) -> pa.Table:
    """The items with `has_fused` in place of the parts'."""
    kept = table.select([name for name in table.column_names if not name.startswith("has_")])
    return kept.append_column(f"has_{KEY}", pa.array(np.asarray(present, bool)))
