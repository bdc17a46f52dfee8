"""`extract`: a source through the encoders of its modalities into a store.

Composes the rooms below: opens the source, loads the encoders, plans keys and shards, runs the
pipeline, commits the store. Prints nothing.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mmcli.core.errors import BadInput
from mmcli.data.signatures import Signatures
from mmcli.data.source import Source, SourceOptions, open_source
from mmcli.engine.shards import KeyPlan, ShardRange, ShardResult
from mmcli.store.survey import check_output
from mmcli.store.updates import with_generation
from mmcli.store.writer import ShardRecord, StoreWriter
from mmcli.workflows.extract.dry_run import dry_run
from mmcli.workflows.extract.engines import Engine, Spent, Work, engine_of, load_plans
from mmcli.workflows.extract.plan import (
    ExtractConfig,
    check_config,
    choose_encoders,
    cut_shards,
    key_entry,
    options_entry,
    shard_rows,
)
from mmcli.workflows.extract.report import build_report, describe_run
from mmcli.workflows.extract.reuse import reuse_of, twins_of
from mmcli.workflows.extract.segments import cut_into_segments, modalities_to_embed
from mmcli.workflows.extract.update import update_store
from mmcli.workflows.extract.versions import versions
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.output_files import refuse_input


def extract(
    config: ExtractConfig, listeners: Listeners | None = None, stdin: BinaryIO | None = None
) -> dict[str, Any]:
    """Embed a source into a store and report what came of it.

    The report counts items (ok, partial, failed), names keys, warnings and seconds by stage.
    Raises BadInput, UsageError or MissingResource before anything is written.
    """
    listeners = listeners or Listeners()
    began = time.perf_counter()
    check_config(config)
    refuse_input(config.output, [config.source])
    check_output(
        Path(config.output),
        force=config.force,
        resume=config.resume,
        again="retry" if config.retry_failed else "update" if config.update else "",
    )
    with tempfile.TemporaryDirectory(prefix="mmcli-") as spool, ExitStack() as stack:
        options = SourceOptions(
            config.source, config.root, config.mapping, config.null_separated, config.explode
        )
        source = open_source(options, Path(spool), stdin)
        try:
            scanned = time.perf_counter()
            modalities = modalities_to_embed(config, source)  # what is wrong here needs no torch
            chosen = choose_encoders(config, modalities)
            engine = stack.enter_context(engine_of(config))
            plans = load_plans(config, chosen, engine.loading)
            source = cut_into_segments(config, source, plans, Path(spool))
            loaded = time.perf_counter()
            listeners.message(describe_run(source, plans, engine.placement))
            if config.dry_run:
                return dry_run(config, source, plans, engine.placement)
            run = update_store if config.update else _run
            report = run(config, source, plans, engine, listeners)
        finally:
            source.close()
    report["seconds"] = {
        "scan": round(scanned - began, 3),
        "load": round(loaded - scanned, 3),
        **report["seconds"],
        "total": round(time.perf_counter() - began, 3),
    }
    return report


def _run(
    config: ExtractConfig,
    source: Source,
    plans: Sequence[KeyPlan],
    engine: Engine,
    listeners: Listeners,
) -> dict[str, Any]:
    options = options_entry(config, plans, engine.placement)
    keys = {plan.key: key_entry(config, plan) for plan in plans}
    described = {**source.describe(), "source_root": source.root}
    shards = cut_shards(source.n_items, shard_rows(config, plans))
    began = time.perf_counter()
    with _writer(config, keys, described, options, source.fingerprint) as writer:
        finished = {record.index: record for record in writer.finished}
        if config.retry_failed:
            todo = [s for s in shards if finished[s.index].failures or finished[s.index].failed]
            _check_same_shards(shards, writer.finished)
        else:
            todo = [s for s in shards if s.index not in finished]
        records = {index: finished[index] for index in finished if index not in _indexes(todo)}
        done_before = sum(record.rows for record in records.values())
        parts = max(1, _count_parts(source, plans))
        per_part = source.n_items / parts
        spent = Spent()
        signatures = Signatures(source)

        def write(result: ShardResult) -> None:
            sources = signatures.table(result.range.start, result.range.stop, result.seen)
            records[result.range.index] = writer.write_shard(
                result.range.index,
                result.range.start,
                result.items,
                dict(result.arrays),
                list(result.failures),
                result.counts,
                dict(result.notes),
                with_generation(sources, writer.generation),
            )

        def progress(parts_done: int) -> None:
            done = done_before + int(parts_done * per_part)
            listeners.progress(min(source.n_items, done), source.n_items)

        if todo and not writer.already_complete:
            twins = twins_of(source, plans)
            reuse = reuse_of(twins, Path(config.output), records)
            work = Work(source, todo, _count_files(source, plans), reuse, twins)
            spent = engine.run(plans, work, write, progress)
        manifest = writer.commit(versions=versions())
    wall = time.perf_counter() - began
    ran = sum(s.stop - s.start for s in todo)
    return build_report(
        config, source, plans, engine.placement, records, manifest, spent, wall, ran
    )


@contextmanager
def _writer(
    config: ExtractConfig,
    keys: dict[str, Any],
    source: dict[str, Any],
    options: dict[str, Any],
    fingerprint: str,
):  # type: ignore[no-untyped-def]
    if config.retry_failed:
        opened = StoreWriter.reopen(Path(config.output), keys, source, options, fingerprint)
    else:
        opened = StoreWriter(
            Path(config.output),
            keys,
            source,
            options,
            fingerprint,
            force=config.force,
            resume=config.resume,
        )
    with opened as writer:
        yield writer


def _check_same_shards(shards: Sequence[ShardRange], records: Sequence[ShardRecord]) -> None:
    before = [(r.index, r.start, r.rows) for r in records]
    now = [(s.index, s.start, s.stop - s.start) for s in shards]
    if before != now:
        raise BadInput(
            "the source no longer has the rows the store was made from",
            "`--retry-failed` is for repaired files; use `--force` to extract everything again",
        )


def _indexes(shards: Sequence[ShardRange]) -> set[int]:
    return {shard.index for shard in shards}


def _count_parts(source: Source, plans: Sequence[KeyPlan]) -> int:
    modalities = {plan.encoder.card.modality for plan in plans}
    return source.n_items * len(modalities)


def _count_files(source: Source, plans: Sequence[KeyPlan]) -> int:
    modalities = {plan.encoder.card.modality for plan in plans}
    if not source.text_is_path:
        modalities -= {"text"}
    return source.n_items * len(modalities)
