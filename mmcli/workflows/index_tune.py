"""`retrieve tune`: another recall for an index that is built, by how far its searches look.

Measures with held-out rows of the store that the index was made of; only the manifest changes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.index.layout import check, open_index
from mmcli.store.atomic import DirectoryLock
from mmcli.store.manifest import MANIFEST, file_record, write_manifest
from mmcli.store.reader import Store
from mmcli.workflows.index_build import blocks_of, plan_index
from mmcli.workflows.index_config import TARGET, IndexConfig, Listeners, check_target
from mmcli.workflows.index_vectors import reached_of


@dataclass(frozen=True)
class TuneConfig:
    """What `mmcli retrieve tune` can be told. store: where the one of the manifest has moved to."""

    index: str
    target_recall: float = TARGET
    store: str | None = None
    verify: str = "once"
    dry_run: bool = False
    seed: int = 0


def tune_index(config: TuneConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Find the fastest setting that reaches the recall, and make it the index's.

    Raises BadInput when the store is not there or no longer what the index was made of, UsageError
    for a recall that is none.
    """
    listeners = listeners or Listeners()
    check_target(config.target_recall)
    folder = Path(config.index)
    manifest = open_index(folder)
    check(folder, manifest, [manifest["index"]], config.verify)
    store = _store(config, manifest)
    names = tuple(manifest["modalities"])
    # keys that are in the index's space already are taken as they are
    plain = all(store.keys.get(name, {}).get("space") == manifest["space"] for name in names)
    plan = plan_index(
        IndexConfig(
            store=str(store.path),
            output="",
            modalities=names,
            aligner=None if plain else (manifest.get("aligner") or {}).get("path"),
            metric=manifest["metric"],
            verify=config.verify,
        ),
        store,
    )
    rows = sum(part.count for part in plan.parts)
    if rows != manifest["rows"]:
        raise BadInput(
            f"`{config.index}` holds {manifest['rows']} vectors, `{store.path}` gives {rows}",
            "build the index again with `--target-recall`",
        )
    from mmcli.index.build import inverted_lists, ready
    from mmcli.index.neighbours import ExactNeighbours, gather, held_out_count
    from mmcli.index.search import read_index
    from mmcli.index.settings import fastest

    blocks = blocks_of(plan, store)
    metric: Any = manifest["metric"]
    index = read_index(
        folder / manifest["index"], manifest["dim"], rows, on_disk=bool(manifest.get("on_disk"))
    )
    chosen = np.random.default_rng(config.seed).choice(rows, held_out_count(rows), replace=False)
    queries = gather(blocks, chosen, manifest["dim"], metric)
    exact = ExactNeighbours(queries, chosen, metric)
    done = 0
    for block in blocks():
        exact.add(ready(block, metric))
        done += len(block)
        listeners.progress(done, rows)
    best, tried = fastest(index, exact.finish(), config.target_recall)
    setting, recall = reached_of(best.row(), config.target_recall, len(chosen))
    if recall["recall@10"] < config.target_recall:
        more = "" if inverted_lists(index) is None else ": its codes find no more"
        listeners.message(
            f"recall@10 is {recall['recall@10']:.3f}, not {config.target_recall}{more}"
        )
    report = {
        "index": config.index,
        "factory": manifest.get("factory"),
        "before": manifest.get("search"),
        "search": setting,
        "measured_recall": recall,
        "tried": sorted((m.row() for m in tried), key=lambda row: -row["queries_per_s"]),
    }
    if config.dry_run:
        return {"dry_run": True, **report}
    with DirectoryLock(folder):
        now = open_index(folder)
        if now["index"] != manifest["index"] or now["rows"] != rows:
            raise BadInput(f"`{config.index}` changed while it was measured", "run it again")
        write_manifest(folder, {**now, "search": setting, "measured_recall": recall})
    return report


def _store(config: TuneConfig, manifest: dict[str, Any]) -> Store:
    entry = manifest.get("store") or {}
    path = Path(config.store or str(entry.get("path", "")))
    if not (path / MANIFEST).is_file():
        raise BadInput(
            f"the store of `{config.index}` is not at `{path}`", "`--store` says where it is now"
        )
    if file_record(path / MANIFEST)["sha256"] != entry.get("manifest_sha256"):
        raise BadInput(
            f"`{path}` is no longer the store that `{config.index}` was made of",
            "build the index again with `--target-recall`",
        )
    return Store.open(path, verify=config.verify)
