"""How a source differs from a store that was made of it: what is new, changed and gone, by id.

Knows the rows of both and in which shards the changes lie; embeds and writes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.data.signatures import Signatures
from mmcli.data.source import Source
from mmcli.engine.shards import ShardRange
from mmcli.store.records import ShardRecord
from mmcli.store.updates import read_sources
from mmcli.workflows.extract.plan import cut_shards

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

    @property
    def rows(self) -> list[int]:
        """The rows of the source to embed: those changed, shard by shard, then those new."""
        return [row for s in sorted(self.changed) for _, row in self._sorted(s)] + self.new

    def places(self, shard: int) -> list[int]:
        """The rows of a shard that changed, ascending."""
        return [place for place, _ in self._sorted(shard)]

    def ranges(self, first_new: int, rows: int) -> list[ShardRange]:
        """Runs of `self.rows`: the changed rows of each shard, then new shards of so many rows."""
        found, start = [], 0
        for index in sorted(self.changed):
            stop = start + len(self.changed[index])
            found.append(ShardRange(index, start, stop))
            start = stop
        for shard in cut_shards(len(self.new), rows) if self.new else ():
            found.append(
                ShardRange(first_new + shard.index, start + shard.start, start + shard.stop)
            )
        return found

    def _sorted(self, shard: int) -> list[tuple[int, int]]:
        return sorted(self.changed.get(shard, {}).items())


def compare(source: Source, root: Path, old: Mapping[int, ShardRecord]) -> Differences:
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


def subset(source: Source, rows: Sequence[int], folder: Path) -> Source:
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
