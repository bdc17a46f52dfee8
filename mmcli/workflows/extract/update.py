"""`extract --update`: a store brought to the state of its source, only what changed embedded anew.

Shards without a change keep their files. A changed item keeps its place, a new one goes into a new
shard at the end, one that is gone leaves its shard. An update that was cut off goes on with the
shards it had written. Prints nothing.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.data.signatures import Signatures
from mmcli.data.source import Source
from mmcli.engine.device import Placement
from mmcli.engine.shards import KeyPlan, ShardRange, ShardResult
from mmcli.store.manifest import canonical, read_manifest
from mmcli.store.records import ShardRecord, records_of
from mmcli.store.survey import KIND, check_same
from mmcli.store.updates import with_generation
from mmcli.store.writer import StoreWriter
from mmcli.workflows.extract.differences import Differences, compare, subset
from mmcli.workflows.extract.engines import Engine, Spent, Work
from mmcli.workflows.extract.merge import OldShard, fitted_items, merged
from mmcli.workflows.extract.plan import (
    ExtractConfig,
    key_entry,
    options_entry,
    shard_rows,
)
from mmcli.workflows.extract.report import build_report
from mmcli.workflows.extract.versions import versions


def update_store(
    config: ExtractConfig,
    source: Source,
    plans: Sequence[KeyPlan],
    engine: Engine,
    listeners: Any,
) -> dict[str, Any]:
    """Embed what is new or changed, drop what is gone, and report what came of it.

    Raises BadInput when the store was made with other options, or does not say from what.
    """
    options = options_entry(config, plans, engine.placement)
    keys = {plan.key: key_entry(config, plan) for plan in plans}
    described = {**source.describe(), "source_root": source.root}
    root = Path(config.output)
    began = time.perf_counter()
    with (
        StoreWriter.updating(root, keys, described, options, source.fingerprint) as writer,
        TemporaryDirectory(prefix="mmcli-") as spool,
    ):
        old = {record.index: record for record in writer.finished}
        found = compare(source, root, old)
        counts = found.counts
        listeners.message(", ".join(f"{count} {what}" for what, count in counts.items()))
        todo = drafted = counts["added"] + counts["changed"]
        kept: dict[int, ShardRecord | None] = dict(old)
        spent = Spent()
        if todo:
            changes = subset(source, found.rows, Path(spool))
            signatures = Signatures(changes)
            made_of: dict[int, str] = {}
            fresh = []
            for span in found.ranges(max(old, default=-1) + 1, shard_rows(config, plans)):
                made_of[span.index] = _made_of(found, span, signatures)
                draft = writer.draft(span.index, made_of[span.index])
                if draft is None:
                    fresh.append(span)
                else:
                    kept[span.index] = draft
            drafted -= sum(span.stop - span.start for span in fresh)

            def write(result: ShardResult) -> None:
                sources = signatures.table(result.range.start, result.range.stop, result.seen)
                told = with_generation(sources, writer.generation)
                index = result.range.index
                if index not in old:
                    items = fitted_items(result.items, root / old[0].items)
                    kept[index] = _write_new(writer, result, items, told, made_of[index])
                    return
                shard = OldShard(root, old[index], writer.keys)
                kept[index] = merged(
                    writer,
                    shard,
                    found.gone.get(index, ()),
                    found.places(index),
                    result,
                    told,
                    made_of[index],
                )

            def progress(parts_done: int) -> None:
                listeners.progress(min(drafted + parts_done, todo), todo)

            try:
                spent = engine.run(plans, Work(changes, fresh, todo - drafted), write, progress)
            finally:
                changes.close()
        for index in set(found.gone) - set(found.changed):
            shard = OldShard(root, old[index], writer.keys)
            kept[index] = merged(writer, shard, found.gone[index])
        records = [record for _, record in sorted(kept.items()) if record is not None]
        if any(counts.values()):
            if not records:
                raise BadInput(
                    f"nothing that `{config.output}` holds is left in the source",
                    "`--force` makes the store anew",
                )
            writer.arrange(records)
        manifest = writer.commit(versions=versions())
    final = {r.index: r for r in writer.finished}
    wall = time.perf_counter() - began
    report = build_report(
        config, source, plans, engine.placement, final, manifest, spent, wall, todo - drafted
    )
    return report | counts


def would_update(
    config: ExtractConfig, source: Source, plans: Sequence[KeyPlan], placement: Placement
) -> Differences:
    """What an update would embed and drop. Raises BadInput as `update_store`."""
    root = Path(config.output)
    manifest = read_manifest(root, KIND)
    keys = {plan.key: key_entry(config, plan) for plan in plans}
    check_same(root, manifest, keys, options_entry(config, plans, placement), None)
    return compare(source, root, {record.index: record for record in records_of(manifest)})


def _made_of(found: Differences, span: ShardRange, signatures: Signatures) -> str:
    """Names what a shard of an update is made of: rows of the source, and places of the old."""
    told = {
        "rows": signatures.states(span.start, span.stop),
        "changed": found.places(span.index),
        "gone": found.gone.get(span.index, []),
    }
    return hashlib.sha256(canonical(told).encode()).hexdigest()


def _write_new(
    writer: StoreWriter, result: ShardResult, items: pa.Table, told: pa.Table, made_of: str
) -> ShardRecord:
    return writer.write_shard(
        result.range.index,
        0,
        items,
        dict(result.arrays),
        list(result.failures),
        result.counts,
        dict(result.notes),
        told,
        made_of,
    )
