"""A table (JSONL, CSV, TSV, Parquet) whose columns have types, whatever they are called.

Like a source, but without its rules: it need not name a part, and has no ids of its own. Types are
learned from all rows, then the rows are read again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.data.schema import ArrowColumn, CellColumn, Column, ValueColumn
from mmcli.data.suffixes import TABLE_KINDS, split_suffix
from mmcli.data.tables import TableFile, refuse_repeated_names


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
        self.rows = 0
        if kind == "parquet":
            schema = self.file.parquet_schema()
            refuse_repeated_names(self.file, schema.names)
            for field in schema:
                self._columns[field.name] = _arrow_column(field, self.file)
        else:
            self._learn(ValueColumn if kind == "jsonl" else CellColumn)
        if not self._columns:
            raise BadInput(f"`{path}` has no rows", "give it at least one")
        fields = [(name, column.arrow_type()) for name, column in self._columns.items()]
        self.schema = pa.schema(fields)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows in the file's order; only some columns when these are named."""
        names = self.schema.names if columns is None else list(columns)
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

    def _learn(self, kind: type[ValueColumn] | type[CellColumn]) -> None:
        for rows in self.file.read():
            for name, values in rows.columns.items():
                if name not in self._columns:
                    self._columns[name] = kind(name, self.file.where)
                self._columns[name].see(values, rows.lines)


class _PlainColumn:
    """A column of a Parquet file as it is."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind

    def see(self, values: object, lines: Sequence[int]) -> None:
        """Nothing to learn."""

    def arrow_type(self) -> pa.DataType:
        return self._kind

    def convert(self, values: pa.Array, lines: Sequence[int]) -> pa.Array:
        return values.cast(self._kind)


def _arrow_column(field: pa.Field, file: TableFile) -> Column:
    """Text columns are checked to be UTF-8; `id` and parts become strings where they can."""
    try:
        return ArrowColumn(field.name, file.where, field.type)
    except BadInput:  # a column of that name which is no part: bytes, a struct of a picture
        return _PlainColumn(field.type)
