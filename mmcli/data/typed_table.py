"""A table (JSONL, CSV, TSV, Parquet) whose columns have types, whatever they are called.

Like a source, but without its rules: it need not name a part, and has no ids of its own. Types are
learned from all rows, then the rows are read again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.data.schema import CellColumn, Column, ValueColumn
from mmcli.data.suffixes import TABLE_KINDS, split_suffix
from mmcli.data.tables import TableFile, open_table, refuse_repeated_names

#: Rows read at a time: 32 MB of 512-d vectors.
BATCH_ROWS = 16_384


class TypedTable:
    """A table and the types of its columns. Raises BadInput naming the row that is wrong."""

    def __init__(self, path: str | Path) -> None:
        kind = TABLE_KINDS.get(split_suffix(str(path))[1])
        if not Path(path).exists():
            raise BadInput(f"`{path}` does not exist", "name a JSONL, CSV, TSV or Parquet file")
        if kind is None or not Path(path).is_file():
            raise BadInput(f"`{path}` is no table", "name a JSONL, CSV, TSV or Parquet file")
        self.file = TableFile(Path(path), kind, str(path))
        self._columns: dict[str, Column] = {}
        if kind == "parquet":
            self.schema = open_table(self.file).schema_arrow
            refuse_repeated_names(self.file, self.schema.names)
        else:
            self._learn(ValueColumn if kind == "jsonl" else CellColumn)
            fields = [(name, column.arrow_type()) for name, column in self._columns.items()]
            self.schema = pa.schema(fields)
        if not self.schema.names:
            raise BadInput(f"`{path}` has no rows", "give it at least one")

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows in the file's order; only some columns when these are named."""
        names = self.schema.names if columns is None else list(columns)
        if self.file.kind == "parquet":
            yield from self._parquet_batches(names)
            return
        for rows in self.file.read(names):
            if not len(rows.lines):
                continue
            arrays = []
            for name in names:
                kind = self.schema.field(name).type
                if name in rows.columns:
                    array = self._columns[name].convert(rows.columns[name], rows.lines)
                    arrays.append(array.cast(kind) if array.type != kind else array)
                else:
                    arrays.append(pa.nulls(len(rows.lines), kind))
            yield pa.table(arrays, names=names)

    def _parquet_batches(self, names: list[str]) -> Iterator[pa.Table]:
        row = 1
        try:
            for batch in open_table(self.file).iter_batches(BATCH_ROWS, columns=names):
                batch.validate(full=True)  # Parquet does not promise that texts are UTF-8
                yield pa.Table.from_batches([batch]).select(names)
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise BadInput(
                f"{self.file.where(row)}: cannot be read: {reason}", "write the table again"
            ) from error

    def _learn(self, kind: type[ValueColumn] | type[CellColumn]) -> None:
        for rows in self.file.read():
            for name, values in rows.columns.items():
                if name not in self._columns:
                    self._columns[name] = kind(name, self.file.where)
                self._columns[name].see(values, rows.lines)
