"""`extract --dry-run`: what would be done, and about how long it would take. Writes nothing."""

import time
from collections.abc import Sequence
from typing import Any

from mmcli.data.source import Source
from mmcli.engine.decoding import DecodePool
from mmcli.engine.device import Placement
from mmcli.engine.extraction import Extraction
from mmcli.engine.shards import KeyPlan, ShardRange
from mmcli.workflows.extract.plan import ExtractConfig, cut_shards, row_bytes, shard_rows
from mmcli.workflows.extract.update import would_update

#: Items that are really run to estimate the time.
PROBE_ITEMS = 16


def dry_run(
    config: ExtractConfig, source: Source, plans: Sequence[KeyPlan], placement: Placement
) -> dict[str, Any]:
    """Rows, keys, shards, bytes, and a time estimated by really running the first few items.

    Of an update also what was added, changed and removed: the time is that of what it embeds.
    Raises BadInput where the update would.
    """
    counts: dict[str, int] = {}
    if config.update:
        counts = would_update(config, source, plans, placement).counts
    todo = counts["added"] + counts["changed"] if counts else source.n_items
    rows = shard_rows(config, plans)
    return {
        "dry_run": True,
        "output": config.output,
        "items": source.n_items,
        **counts,
        "modalities": list(source.modalities),
        "keys": {p.key: {"encoder": p.encoder.card.name, "dim": p.dim} for p in plans},
        "shards": len(cut_shards(source.n_items, rows)),
        "shard_rows": rows,
        "bytes": row_bytes(plans) * source.n_items,
        "estimated_s": round(_seconds_per_item(config, source, plans) * todo, 1) if todo else None,
        "ignored_files": dict(source.ignored),
    }


def _seconds_per_item(config: ExtractConfig, source: Source, plans: Sequence[KeyPlan]) -> float:
    extraction = Extraction(plans, batch=config.batch)
    probe_rows = [ShardRange(0, 0, min(PROBE_ITEMS, source.n_items))]
    decoders = DecodePool(0, extraction.recipes)
    extraction.run(source, probe_rows, decoders, lambda result: None)  # the first is warm-up
    began = time.perf_counter()
    extraction.run(source, probe_rows, decoders, lambda result: None)
    return (time.perf_counter() - began) / probe_rows[0].stop
