"""`extract --update`: a store brought to the state of its source, only what changed embedded anew.

Shards without a change keep their files. A changed item keeps its place, a new one goes into a new
shard at the end, one that is gone leaves its shard. Prints nothing.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.data.signatures import Signatures
from mmcli.data.source import Source
from mmcli.engine.decoding import DecodePool, worker_count
from mmcli.engine.device import Placement
from mmcli.engine.extraction import Extraction
from mmcli.engine.shards import KeyPlan, ShardRange, ShardResult
from mmcli.store.records import ShardRecord
from mmcli.store.updates import read_sources, with_generation
from mmcli.store.writer import StoreWriter
from mmcli.workflows.extract.merge import OldShard, fitted_items, merged
from mmcli.workflows.extract.plan import (
    ExtractConfig,
    cut_shards,
    key_entry,
    options_entry,
    shard_rows,
)
from mmcli.workflows.extract.report import build_report
from mmcli.workflows.extract.versions import versions

BATCH_ROWS = 4096


@dataclass
class Differences:
    """How a source differs from a store: rows of the source to embed, rows of shards that leave.

    changed: shard -> source row by row of the shard. new: source rows. gone: shard -> its rows.
    """

    changed: dict[int, dict[int, int]] = field(default_factory=dict)
    new: list[int] = field(default_factory=list)
    gone: dict[int, list[int]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Items added, changed and removed."""
        return {
            "added": len(self.new),
            "changed": sum(map(len, self.changed.values())),
            "removed": sum(map(len, self.gone.values())),
        }


def update_store(
    config: ExtractConfig,
    source: Source,
    plans: Sequence[KeyPlan],
    placement: Placement,
    listeners: Any,
) -> dict[str, Any]:
    """Embed what is new or changed, drop what is gone, and report what came of it.

    Raises BadInput when the store was made with other options, or does not say from what.
    """
    options = options_entry(config, plans, placement)
    keys = {plan.key: key_entry(config, plan) for plan in plans}
    described = {**source.describe(), "source_root": source.root}
    root = Path(config.output)
    began = time.perf_counter()
    with (
        StoreWriter.updating(root, keys, described, options, source.fingerprint) as writer,
        TemporaryDirectory(prefix="mmcli-") as spool,
    ):
        old = {record.index: record for record in writer.finished}
        found = _compare(source, root, old)
        counts = found.counts
        listeners.message(", ".join(f"{count} {what}" for what, count in counts.items()))
        extraction = Extraction(
            plans,
            batch=config.batch,
            fail_fast=config.on_error == "fail",
            on_progress=lambda n: listeners.progress(min(n, todo), todo),
        )
        todo = counts["added"] + counts["changed"]
        kept: dict[int, ShardRecord | None] = dict(old)
        if todo:
            order = [row for s in sorted(found.changed) for _, row in _sorted(found.changed[s])]
            subset = _subset(source, [*order, *found.new], Path(spool))
            fresh = _ranges(found, max(old, default=-1) + 1, shard_rows(config, plans))
            signatures = Signatures(subset)

            def write(result: ShardResult) -> None:
                sources = signatures.table(result.range.start, result.range.stop, result.seen)
                told = with_generation(sources, writer.generation)
                index = result.range.index
                if index not in old:
                    kept[index] = _write_new(writer, result, told, old[0], root)
                    return
                shard = OldShard(root, old[index], writer.keys)
                places = [place for place, _ in _sorted(found.changed[index])]
                kept[index] = merged(writer, shard, found.gone.get(index, ()), places, result, told)

            workers = 0 if source.in_this_process else worker_count(config.workers, todo)
            decoders = DecodePool(workers, extraction.recipes)
            try:
                extraction.run(subset, fresh, decoders, write)
            finally:
                decoders.close()
                subset.close()
        for index in set(found.gone) - set(found.changed):
            shard = OldShard(root, old[index], writer.keys)
            kept[index] = merged(writer, shard, found.gone[index], (), None, None)
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
    report = build_report(config, source, plans, placement, final, manifest, extraction, wall, todo)
    return report | counts


def _compare(source: Source, root: Path, old: Mapping[int, ShardRecord]) -> Differences:
    """What is new, changed and gone, by id; only files whose size or time differ are read."""
    before: dict[str, tuple[int, int, str, str, str]] = {}
    for index, record in sorted(old.items()):
        table = read_sources(root, record)
        columns = [table.column(n).to_pylist() for n in ("id", "row", "stat", "content")]
        for place, (item, *hashes) in enumerate(zip(*columns, strict=True)):
            before[item] = (index, place, hashes[0], hashes[1], hashes[2])
    found = Differences()
    signatures = Signatures(source)
    for start in range(0, source.n_items, BATCH_ROWS):
        rows = source.rows(start, min(start + BATCH_ROWS, source.n_items)).to_pylist()
        for number, values in enumerate(rows, start):
            past = before.pop(str(values["id"]), None)
            if past is None:
                found.new.append(number)
                continue
            index, place, row, stat, content = past
            places = signatures.places(values)
            same = signatures.row(values) == row and (
                signatures.stat(places) == stat or signatures.content(places) == content
            )
            if not same:
                found.changed.setdefault(index, {})[place] = number
    for index, place, *_ in before.values():
        found.gone.setdefault(index, []).append(place)
    return found


def _sorted(changed: Mapping[int, int]) -> list[tuple[int, int]]:
    return sorted(changed.items())


def _subset(source: Source, rows: Sequence[int], folder: Path) -> Source:
    """The source with these rows alone, in this order."""

    def batches() -> Iterator[pa.Table]:
        for start in range(0, len(rows), BATCH_ROWS):
            wanted = np.asarray(rows[start : start + BATCH_ROWS])
            yield _take(source, wanted)

    return source.picked(source.schema, batches(), folder)


def _take(source: Source, rows: Any) -> pa.Table:
    """Some rows of a source, in the order asked for."""
    order = np.argsort(rows, kind="stable")
    parts, at = [], 0
    ordered = rows[order]
    while at < len(ordered):
        block = int(ordered[at]) // BATCH_ROWS
        stop = int(np.searchsorted(ordered, (block + 1) * BATCH_ROWS))
        table = source.rows(block * BATCH_ROWS, min((block + 1) * BATCH_ROWS, source.n_items))
        parts.append(table.take(pa.array(ordered[at:stop] - block * BATCH_ROWS)))
        at = stop
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_tables(parts).take(pa.array(back)).combine_chunks()


def _ranges(found: Differences, first_new: int, rows: int) -> list[ShardRange]:
    """Runs of the subset: the changed rows of each shard, then new shards."""
    ranges, start = [], 0
    for index in sorted(found.changed):
        stop = start + len(found.changed[index])
        ranges.append(ShardRange(index, start, stop))
        start = stop
    if found.new:
        for shard in cut_shards(len(found.new), rows):
            ranges.append(
                ShardRange(first_new + shard.index, start + shard.start, start + shard.stop)
            )
    return ranges


def _write_new(
    writer: StoreWriter, result: ShardResult, told: pa.Table, like: ShardRecord, root: Path
) -> ShardRecord:
    """A shard of new items, in the columns of the store."""
    return writer.write_shard(
        result.range.index,
        0,
        fitted_items(result.items, root / like.items),
        dict(result.arrays),
        list(result.failures),
        result.counts,
        dict(result.notes),
        told,
    )
