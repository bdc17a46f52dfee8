"""What the manifest of a finished store says of its shards, and of the states it was in before.

Also merges the failures of the shards into one file. Knows nothing about runs that were cut off.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmcli.store.atomic import atomic_file
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.store.records import FAILURE_SCHEMA, ShardRecord
from mmcli.store.slugs import generation_name


def shard_files(path: Path, records: Sequence[ShardRecord], generation: int) -> dict[str, Any]:
    """Rows, counts, shards and files of a store, whose one file of failures is written here.

    records: every shard, in order. Raises RuntimeError where one is missing: that is a defect of
    the caller.
    """
    position = 0
    for expected, record in enumerate(records):
        if (record.index, record.start) != (expected, position):
            raise RuntimeError(f"shard {expected} at row {position} was not written")
        position += record.rows
    failures = generation_name("failures", generation, ".parquet")
    _merge_failures(path, failures, records)
    files = {n: kept for r in records for n, kept in r.files.items() if n != r.failures}
    files[failures] = file_record(path / failures)
    return {
        "rows": position,
        "ok": sum(r.ok for r in records),
        "partial": sum(r.partial for r in records),
        "failed": sum(r.failed for r in records),
        "shards": [r.entry() for r in records],
        "failures": failures,
        "files": files,
    }


def history(path: Path, before: Mapping[str, Any]) -> dict[str, Any]:
    """The states that a store was in before, so that an index of one of them can be updated.

    before: the manifest that still lies in `path`.
    """
    past = list((before.get("updates") or {}).get("history") or [])
    sha256 = file_record(path / MANIFEST)["sha256"]
    now = {"generation": before.get("generation", 0), "manifest_sha256": sha256}
    return {"updates": {"history": [*past, now]}}


def _merge_failures(path: Path, name: str, records: Sequence[ShardRecord]) -> None:
    with (
        atomic_file(path / name) as temporary,
        pq.ParquetWriter(temporary, FAILURE_SCHEMA, compression="zstd") as merged,
    ):
        held, table = "", FAILURE_SCHEMA.empty_table()
        for record in records:
            if record.failures is None:
                continue
            if record.failures != held:
                file = path / record.failures
                held, table = record.failures, read_rows(open_parquet(file), file)
            merged.write_table(table.slice(record.failures_start, record.failures_rows))
