"""Finds rows by a value such as an id, exactly, among more rows than fit in memory.

Rows are spooled to a file that is mapped; in memory are sixteen bytes a row. Knows nothing about
stores or what the rows mean.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Rows in one batch of the spool: fetching rows at random costs a step a batch.
_BATCH_ROWS = 131_072
Numbers = NDArray[np.int64]


class Spool:
    """Rows kept in a file, any of which can be had again; a context manager that deletes it."""

    def __init__(self, path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        self.path = path
        self.schema = schema
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            waiting: list[pa.Table] = []
            for table in tables:
                waiting.append(table.select(schema.names).cast(schema))
                if sum(t.num_rows for t in waiting) >= _BATCH_ROWS:
                    _write(writer, waiting)
                    waiting = []
            if waiting:
                _write(writer, waiting)
        self._map = pa.memory_map(str(path))
        reader = pa.ipc.open_file(self._map)
        self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        ends = np.cumsum([0, *(b.num_rows for b in self._batches)])
        self._starts: Numbers = ends[:-1].astype(np.int64)
        self.rows = int(ends[-1])

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._batches = []
        self._map.close()
        self.path.unlink(missing_ok=True)

    def column(self, name: str) -> Iterable[pa.Array]:
        """A column, a batch at a time."""
        for batch in self._batches:
            yield batch.column(name)

    def take(self, rows: Numbers, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows in the order given; a row of -1 is null throughout."""
        names = self.schema.names if columns is None else list(columns)
        order = np.argsort(rows, kind="stable")
        sorted_rows = rows[order]
        batch_of = np.searchsorted(self._starts, sorted_rows, side="right") - 1
        schema = pa.schema([self.schema.field(name) for name in names])
        parts = [schema.empty_table()]
        for number in np.unique(batch_of):
            here = sorted_rows[batch_of == number]
            if number < 0:
                nulls = [pa.nulls(len(here), field.type) for field in schema]
                parts.append(pa.Table.from_arrays(nulls, schema=schema))
                continue
            at = pa.array(here - self._starts[number])
            batch = self._batches[number].select(names).take(at)
            parts.append(pa.Table.from_batches([batch], schema))
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_tables(parts).combine_chunks().take(pa.array(back))


class IdLookup:
    """The first row of each value of a text column of a spool. Rows without one are never found.

    repeated: rows whose value an earlier row has; example: one such value.
    """

    def __init__(self, spool: Spool, column: str) -> None:
        self._spool = spool
        self._column = column
        hashes = [hashes_of(values) for values in spool.column(column)]
        every = np.concatenate(hashes) if hashes else np.zeros(0, np.int64)
        valid = [
            values.is_valid().to_numpy(zero_copy_only=False) for values in spool.column(column)
        ]
        rows = np.flatnonzero(np.concatenate(valid)) if valid else np.zeros(0, np.int64)
        order = np.argsort(every[rows], kind="stable")
        self._rows: Numbers = rows[order].astype(np.int64)
        self._hashes: Numbers = every[self._rows]
        self.repeated = 0
        self.example = ""
        self._count_repeated()

    def find(self, values: Any) -> Numbers:
        """The row of each value, -1 where there is none."""
        wanted = hashes_of(values)
        found = np.full(len(wanted), -1, np.int64)
        if not len(self._hashes):
            return found
        at = np.searchsorted(self._hashes, wanted)
        near = np.minimum(at, len(self._hashes) - 1)
        hit = (self._hashes[near] == wanted) & values.is_valid().to_numpy(zero_copy_only=False)
        found[hit] = self._rows[near[hit]]
        self._settle(values, at, found)
        return found

    def _settle(self, values: Any, at: Numbers, found: Numbers) -> None:
        """Compare the values themselves; where only the hashes are equal, look further."""
        hit = np.flatnonzero(found >= 0)
        if not len(hit):
            return
        theirs = self._spool.take(found[hit], [self._column]).column(0)
        mine = values.take(pa.array(hit))
        same = pc.equal(mine.cast(pa.string()), theirs.cast(pa.string()))
        for index in hit[~np.asarray(same.to_numpy(zero_copy_only=False), bool)]:
            found[index] = self._among_equal_hashes(values[int(index)].as_py(), int(at[index]))

    def _among_equal_hashes(self, value: str, at: int) -> int:
        wanted = self._hashes[at]
        while at < len(self._hashes) and self._hashes[at] == wanted:
            row = self._rows[at : at + 1]
            if self._spool.take(row, [self._column]).column(0)[0].as_py() == value:
                return int(row[0])
            at += 1
        return -1

    def _count_repeated(self) -> None:
        same = np.flatnonzero(self._hashes[1:] == self._hashes[:-1]) + 1
        for start in range(0, len(same), _BATCH_ROWS):
            here = same[start : start + _BATCH_ROWS]
            values = self._spool.take(self._rows[here], [self._column]).column(0)
            rows = self.find(values.combine_chunks())
            again = np.flatnonzero(rows != self._rows[here])
            self.repeated += len(again)
            if len(again) and not self.example:
                self.example = str(values[int(again[0])].as_py())


def hashes_of(values: Any) -> Numbers:
    """A 64-bit hash of each text, of this process only."""
    return np.fromiter(map(hash, values.to_pylist()), np.int64, len(values))


def _write(writer: Any, tables: list[pa.Table]) -> None:
    writer.write_table(pa.concat_tables(tables).combine_chunks())
