"""`retrieve tune`: another recall for an index that is built, by how far its searches look.

Measures with rows of the index that do not find themselves; only the manifest changes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.index.changing import IndexChange
from mmcli.index.layout import check, open_index
from mmcli.index.living import living_files, open_vectors
from mmcli.workflows.index.config import TARGET, Listeners, check_target
from mmcli.workflows.index.vectors import reached_of


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

    An index that has changed since it was built is measured as it is now. Raises BadInput when the
    vectors to measure it on are not there, UsageError for a recall that is none.
    """
    listeners = listeners or Listeners()
    check_target(config.target_recall)
    folder = Path(config.index)
    manifest = open_index(folder)
    check(folder, manifest, living_files(manifest), config.verify)
    from mmcli.index.build import inverted_lists
    from mmcli.index.neighbours import ExactNeighbours, HeldOut, gather, held_out_count
    from mmcli.index.settings import fastest, parts_of
    from mmcli.workflows.index.measured_vectors import measured_vectors

    index = open_vectors(folder, manifest)
    measured = measured_vectors(
        folder, manifest, index, config.store, config.verify, listeners.message
    )
    blocks, n = measured.blocks, len(measured.rows)
    metric: Any = manifest["metric"]
    chosen = np.random.default_rng(config.seed).choice(n, held_out_count(n), replace=False)
    queries = gather(blocks, chosen, manifest["dim"], metric)
    exact = ExactNeighbours(queries, chosen, metric)
    done = 0
    for block in blocks():
        exact.add(block)
        done += len(block)
        listeners.progress(done, n)
    truth = exact.finish().truth
    truth = np.where(truth >= 0, measured.rows[truth], -1)
    held = HeldOut(queries, measured.rows[chosen], truth)
    best, tried = fastest(index, held, config.target_recall)
    setting, recall = reached_of(best.row(), config.target_recall, len(chosen))
    recall["against"] = measured.against
    if recall["recall@10"] < config.target_recall:
        more = "" if inverted_lists(parts_of(index)[0]) is None else ": its codes find no more"
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
    with IndexChange(folder) as change:
        now = change.manifest
        if (now["index"], now.get("generation")) != (manifest["index"], manifest.get("generation")):
            raise BadInput(f"`{config.index}` changed while it was measured", "run it again")
        change.commit({**now, "search": setting, "measured_recall": recall})
    return report
