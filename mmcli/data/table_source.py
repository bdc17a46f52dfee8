"""What the columns of a table mean: `--map`, reserved names, parts, ids, types.

Reads the table twice: `scan` learns the types and refuses what breaks them, `batches` gives rows.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import PART_COLUMNS
from mmcli.data.ids import UniqueIds, normalised, numbered
from mmcli.data.saved_dataset import SavedDataset
from mmcli.data.schema import ArrowColumn, CellColumn, Column, ValueColumn
from mmcli.data.tables import Rows, TableFile

Table = TableFile | SavedDataset
#: Columns that mmcli itself writes into stores and predictions.
_RESERVED = ("prediction", "transcript")
_RESERVED_PREFIXES = ("has_", "probability_")


class TableSource:
    """A scanned table.

    mapping: our column names to the table's. Raises BadInput naming the row of whatever is wrong.
    """

    def __init__(
        self, table: Table, mapping: Mapping[str, str], explode: str | None = None
    ) -> None:
        self._mapping = mapping
        self._explode = explode
        media = {mapping.get(part, part) for part in PART_COLUMNS if part != "text"}
        self._table: Table = replace(table, media=frozenset(media))
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
        self.fingerprint = self._table.fingerprint()
        self.ignored: dict[str, int] = {}
        self.text_is_path = False

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
        schema = self._table.typed_schema()
        if schema is not None:
            self._take_types(schema)
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

    def _take_types(self, schema: pa.Schema) -> None:
        """Take the types that the file says; then the ids are all that is left to scan."""
        for field in schema:
            name = self._ours.get(field.name, field.name)
            self._theirs[field.name] = None
            exploded = name == self._explode
            self._columns[name] = ArrowColumn(name, self._table.where, field.type, exploded)

    def _new_column(self, name: str) -> Column:
        if self._table.kind == "jsonl":
            return ValueColumn(name, self._table.where, name == self._explode)
        return CellColumn(name, self._table.where)

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
        if not self._columns:
            raise BadInput(f"`{self._table.name}` has no rows", "give it at least one")
        names = list(self._columns)
        check_columns(self._table.name, names, self._mapping, self._ours, self._theirs)


def check_columns(
    name: str,
    names: Collection[str],
    mapping: Mapping[str, str],
    ours: Mapping[str, str],
    theirs: Collection[str],
) -> None:
    """Raise BadInput for a mapping that does not fit and for column names that cannot be.

    name: of the source. names: of its columns, ours; ours: by theirs; theirs: those it has.
    """
    for mine, other in mapping.items():
        if other not in theirs:
            raise BadInput(
                f"`--map {mine}={other}`: `{name}` has no column `{other}`",
                suggestion(other, theirs),
            )
        if mine in theirs and mine not in ours:
            raise BadInput(
                f"`--map {mine}={other}`: `{name}` has a column `{mine}` too",
                f"give that one another name: `--map {mine}={other},other={mine}`",
            )
    for column in names:
        if not column:
            raise BadInput(f"`{name}` has a column without a name", "name it")
        if column in _RESERVED or column.startswith(_RESERVED_PREFIXES):
            raise BadInput(
                f"`{name}`: the column name `{column}` is reserved",
                f"rename it: `--map my_{column}={column}`",
            )
    if not any(part in names for part in PART_COLUMNS):
        raise BadInput(
            f"`{name}` has no column {', '.join(PART_COLUMNS[:-1])} or {PART_COLUMNS[-1]}",
            f"name one: `--map image=COLUMN`; columns: {', '.join(list(names)[:12])}",
        )
