"""Writes a store that is made of rows that are there already: block by block, in bounded memory.

What every store tool shares: cutting rows into shards, `has_` columns, counts, resuming, and the
entries of keys that are the same in both. Prints nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.store.records import Array
from mmcli.store.rows import Block
from mmcli.store.slugs import slug_of
from mmcli.store.writer import StoreWriter, check_output
from mmcli.workflows.output_files import refuse_input

#: Rows and bytes of a shard at most. Fewer and larger than `extract` makes: nothing is computed
#: here that a crash could lose.
SHARD_ROWS = 65_536
SHARD_BYTES = 256 * 2**20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Output:
    """Where a store goes, and what may happen to what is there."""

    path: str
    force: bool = False
    resume: bool = False
    dry_run: bool = False
    shard_size: int = SHARD_ROWS

    def check(self, inputs: Iterable[str | Path] = ()) -> None:
        """Raise BadInput unless a store may be written there, which no input may be."""
        refuse_input(self.path, inputs)
        check_output(Path(self.path), force=self.force, resume=self.resume)


@dataclass(frozen=True)
class Making:
    """What the manifest says of a store beside its rows.

    keys: entries by key. source: with `spec`, `kind`, `source_root`. fingerprint: changes when what
    it is made of does.
    """

    keys: Mapping[str, Mapping[str, Any]]
    source: Mapping[str, Any]
    options: Mapping[str, Any]
    fingerprint: str


def manifest_sha256(store: Store) -> str:
    """What says that a store is still the same."""
    return str(file_record(store.path / MANIFEST)["sha256"])


def cut_blocks(row_bytes: Array, rows: int = SHARD_ROWS) -> list[tuple[int, int]]:
    """Ranges of rows, each within the rows and bytes of a shard; no rows are one empty range."""
    ends = np.cumsum(row_bytes, dtype=np.int64)
    blocks, start, before = [], 0, 0
    while start < len(row_bytes):
        fits = int(np.searchsorted(ends, before + SHARD_BYTES, side="right"))
        stop = min(max(fits, start + 1), start + max(1, rows), len(row_bytes))
        blocks.append((start, stop))
        start, before = stop, int(ends[stop - 1])
    return blocks or [(0, 0)]


def write_store(
    output: Output,
    making: Making,
    blocks: Sequence[tuple[int, int]],
    read: Callable[[int, int], Block],
    progress: Progress,
) -> dict[str, Any]:
    """Write every block as a shard and commit. Returns counts and sizes for a report.

    read: gives the rows from `start` to `stop` of the new store.
    """
    total = blocks[-1][1]
    with StoreWriter(
        output.path,
        making.keys,
        making.source,
        making.options,
        making.fingerprint,
        force=output.force,
        resume=output.resume,
    ) as writer:
        done = {record.index for record in writer.finished}
        for index, (start, stop) in enumerate(blocks):
            if index not in done and not writer.already_complete:
                block = read(start, stop)
                writer.write_shard(
                    index,
                    start,
                    with_has(block, making.keys),
                    block.arrays,
                    block.failures,
                    counts_of(block),
                )
                del block
            progress(stop, total)
        versions = {"numpy": np.__version__, "pyarrow": pa.__version__}
        manifest = writer.commit({"mmcli": version("mmcli"), **versions})
    return {
        **{name: manifest[name] for name in ("rows", "ok", "partial", "failed")},
        "shards": len(manifest["shards"]),
        "bytes": sum(record["bytes"] for record in manifest["files"].values()),
    }


def with_has(block: Block, keys: Iterable[str]) -> pa.Table:
    """The items with `has_<slug>` of each key, in the order of the keys."""
    table = block.items
    for key in keys:
        column = pa.array(np.asarray(block.has[key], bool))
        table = table.append_column(f"has_{slug_of(key)}", column)
    return table


def counts_of(block: Block) -> tuple[int, int, int]:
    """Items ok (nothing of them failed), partial (some of their parts are there), failed."""
    rows = block.items.num_rows
    if not block.failures:
        return rows, 0, 0
    got = np.zeros(rows, bool)
    for has in block.has.values():
        got |= np.asarray(has, bool)
    failed_ids = {failure.id for failure in block.failures}
    hit = np.fromiter((i in failed_ids for i in block.items.column("id").to_pylist()), bool, rows)
    partial = int((hit & got).sum())
    failed = int((hit & ~got).sum())
    return rows - partial - failed, partial, failed


def kept_entry(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What the new manifest says of a key that is carried over under this name."""
    return {**entry, "slug": slug_of(key)}
