"""The table beside the vectors: row i describes FAISS id i.

Reads only the row groups and columns that a result needs. Knows nothing about vectors.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion

#: So few rows are read one by one rather than by `take`, which imports pyarrow.compute (50 ms).
FEW = 256
#: Small enough that ten hits anywhere cost milliseconds.
GROUP_ROWS = 16_384


class ItemWriter:
    """Appends tables to one Parquet file, in row groups of an even size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Append rows, in order."""
        self._waiting.append(table.select(self.schema.names).cast(self.schema))
        self._rows += table.num_rows
        if self._rows >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what waits and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=GROUP_ROWS)
        self._waiting, self._rows = [], 0


class _Rows(Protocol):
    """Which rows are there: `(rows,)` of bool."""

    def __getitem__(self, rows: Any, /) -> Any: ...


class ItemTable:
    """Random access to the items of an index: one file, and those of later additions.

    keep: `(rows,)`, False for rows that were taken out, which no id stands for; None is all.
    """

    def __init__(self, path: Path, *additions: Path, keep: _Rows | None = None) -> None:
        self._groups: list[tuple[pq.ParquetFile, int]] = []
        sizes: list[int] = []
        for one in (path, *additions):
            try:
                file = pq.ParquetFile(one)
            except (OSError, pa.ArrowInvalid) as error:
                raise BadInput(f"`{one}` is not a Parquet file", "build the index again") from error
            meta = file.metadata
            self._groups += [(file, i) for i in range(meta.num_row_groups)]
            sizes += [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        self._keep = keep
        self.rows: int = int(self._starts[-1])
        first = self._groups[0][0] if self._groups else pq.ParquetFile(path)
        self.schema: pa.Schema = first.schema_arrow
        self.columns: list[str] = self.schema.names

    def check_columns(self, wanted: Iterable[str]) -> None:
        """Raise UsageError when a column is not there."""
        for name in wanted:
            if name not in self.columns:
                raise UsageError(
                    f"the index has no column `{name}`", suggestion(name, self.columns)
                )

    def take(self, rows: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """One dictionary a row, in the order asked for."""
        self.check_columns(columns)
        found: dict[int, dict[str, Any]] = {}
        wanted = np.unique(np.asarray(rows, dtype=np.int64))
        groups = np.searchsorted(self._starts, wanted, side="right") - 1
        for group in np.unique(groups):
            inside = wanted[groups == group]
            table = self._read(int(group), columns)
            part = _pick(table, (inside - self._starts[group]).tolist())
            found.update(zip(inside.tolist(), part, strict=True))
        return [found[int(row)] for row in rows]

    def has(self, item: str) -> bool:
        """Whether any row has that id."""
        return bool(self._rows_of(item))

    def find(self, item: str) -> list[int]:
        """The rows of that id (one a modality). Raises BadInput when there is none."""
        rows = self._rows_of(item)
        if not rows:
            raise BadInput(
                f"the index has no item `{item}`",
                "`--like` takes the `id` that search prints",
            )
        return rows

    def _rows_of(self, item: str) -> list[int]:
        import pyarrow.compute as pc  # 50 ms that a search by words need not wait for

        item = unicodedata.normalize("NFC", item)  # as ids are stored
        rows: list[int] = []
        for group, start in enumerate(self._starts[:-1]):
            ids = self._read(group, ["id"])["id"]
            hits = pc.indices_nonzero(pc.equal(ids, pa.scalar(item, ids.type)))
            rows += (hits.to_numpy().astype(np.int64) + start).tolist()
        return [row for row in rows if self._keep is None or self._keep[row]]

    def _read(self, group: int, columns: Sequence[str]) -> pa.Table:
        file, number = self._groups[group]
        return file.read_row_group(number, columns=list(columns))


def _pick(table: pa.Table, rows: list[int]) -> list[dict[str, Any]]:
    if len(rows) > FEW:
        picked: list[dict[str, Any]] = table.take(pa.array(rows)).to_pylist()
        return picked
    return [table.slice(row, 1).to_pylist()[0] for row in rows]
