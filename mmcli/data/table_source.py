"""What the columns of a table mean: `--map`, reserved names, parts, ids, types.

Reads the table twice: `scan` learns the types and refuses what breaks them, `batches` gives rows.
"""

import hashlib
from collections.abc import Iterator, Mapping

import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import PART_COLUMNS
from mmcli.data.ids import UniqueIds, normalised, numbered
from mmcli.data.schema import ArrowColumn, CellColumn, Column, ValueColumn
from mmcli.data.tables import Rows, TableFile, refuse_repeated_names

#: Columns that mmcli itself writes into stores and predictions.
_RESERVED = ("prediction", "transcript")
_RESERVED_PREFIXES = ("has_", "probability_")


class TableSource:
    """A scanned table.

    mapping: our column names to the table's. Raises BadInput naming the row of whatever is wrong.
    """

    def __init__(self, table: TableFile, mapping: Mapping[str, str]) -> None:
        self._table = table
        self._mapping = mapping
        self._ours = {theirs: ours for ours, theirs in mapping.items()}
        if len(self._ours) < len(mapping):
            raise UsageError("`--map` names one column twice", "map each column once")
        self._columns: dict[str, Column] = {}
        self._ids = UniqueIds()
        self._theirs: dict[str, None] = {}
        self._scan()
        names = [name for name in self._columns if name != "id"]
        fields = [(name, self._columns[name].arrow_type()) for name in names]
        self.schema = pa.schema([("id", pa.string()), *fields])
        with table.path.open("rb") as stream:
            self.fingerprint = hashlib.file_digest(stream, "sha256").hexdigest()

    def batches(self) -> Iterator[pa.Table]:
        """The rows, in the file's order, in the types of `schema`."""
        start = 0
        for rows in self._read():
            stop = start + len(rows.lines)
            arrays = []
            for name, kind in zip(self.schema.names, self.schema.types, strict=True):
                if name == "id":
                    ids = self._row_ids(rows)
                    if ids is None:
                        ids = numbered(start, stop)
                    else:
                        self._ids.check(ids, rows.lines, self._table.where)
                    arrays.append(pa.array(ids, kind))
                elif name in rows.columns:
                    arrays.append(self._columns[name].convert(rows.columns[name], rows.lines))
                else:
                    arrays.append(pa.nulls(stop - start, kind))
            start = stop
            if rows.lines:
                yield pa.Table.from_arrays(arrays, schema=self.schema)

    def _scan(self) -> None:
        only = None
        if self._table.kind == "parquet":
            self._take_types()
            only = [self._mapping.get("id", "id")]
        for rows in self._read(only) if only is None or "id" in self._columns else ():
            for name, values in rows.columns.items():
                if name not in self._columns:
                    self._columns[name] = self._new_column(name)
                self._columns[name].see(values, rows.lines)
            if "id" in self._columns:
                ids = self._row_ids(rows)
                self._ids.scan(ids or [])
        if "id" in self._columns and self._table.kind == "jsonl":
            self._refuse_rows_without_id()
        self._check_names()

    def _take_types(self) -> None:
        """Take the types from a Parquet file; then the ids are all that is left to scan."""
        schema = self._table.parquet_schema()
        refuse_repeated_names(self._table, schema.names)
        for field in schema:
            name = self._ours.get(field.name, field.name)
            self._theirs[field.name] = None
            self._columns[name] = ArrowColumn(name, self._table.where, field.type)

    def _new_column(self, name: str) -> Column:
        kind = ValueColumn if self._table.kind == "jsonl" else CellColumn
        return kind(name, self._table.where)

    def _read(self, only: list[str] | None = None) -> Iterator[Rows]:
        """The rows, their columns under our names."""
        for rows in self._table.read(only):
            self._theirs.update(dict.fromkeys(rows.columns))
            ours = (self._ours.get(theirs, theirs) for theirs in rows.columns)
            yield Rows(rows.lines, dict(zip(ours, rows.columns.values(), strict=True)))

    def _row_ids(self, rows: Rows) -> list[str] | None:
        """The ids of these rows in NFC, None when the table has no ids."""
        if "id" not in self._columns:
            return None
        values = rows.columns.get("id", [None] * len(rows.lines))
        ids = self._columns["id"].convert(values, rows.lines).to_pylist()
        return normalised(ids, rows.lines, self._table.where)

    def _refuse_rows_without_id(self) -> None:
        """Find the rows of a JSONL file that came before the first id."""
        for rows in self._read():
            if "id" in rows.columns:
                return
            self._row_ids(rows)

    def _check_names(self) -> None:
        name, names = self._table.name, list(self._columns)
        if not names:
            raise BadInput(f"`{name}` has no rows", "give it at least one")
        for ours, theirs in self._mapping.items():
            if theirs not in self._theirs:
                raise BadInput(
                    f"`--map {ours}={theirs}`: `{name}` has no column `{theirs}`",
                    suggestion(theirs, self._theirs),
                )
            if ours in self._theirs and ours not in self._ours:
                raise BadInput(
                    f"`--map {ours}={theirs}`: `{name}` has a column `{ours}` too",
                    f"give that one another name: `--map {ours}={theirs},other={ours}`",
                )
        for column in names:
            if not column:
                raise BadInput(f"`{name}` has a column without a name", "name it")
            if column in _RESERVED or column.startswith(_RESERVED_PREFIXES):
                raise BadInput(
                    f"`{name}`: the column name `{column}` is reserved",
                    f"rename it: `--map my_{column}={column}`",
                )
        if not any(part in self._columns for part in PART_COLUMNS):
            raise BadInput(
                f"`{name}` has no column {', '.join(PART_COLUMNS[:-1])} or {PART_COLUMNS[-1]}",
                f"name one: `--map image=COLUMN`; columns: {', '.join(names[:12])}",
            )
