"""A file that says of each id which split, or fold, it is in: Parquet, CSV, TSV or JSONL.

Knows nothing about the items that the ids stand for.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.data.suffixes import TABLE_KINDS, split_suffix
from mmcli.data.typed_table import TypedTable
from mmcli.store.item_columns import plain_type, repeated_id
from mmcli.store.parquet import open_parquet, read_rows

SPLIT_COLUMN = "split"
FOLD_COLUMN = "fold"


class SplitFile:
    """The table. Raises BadInput when it is missing or none."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise BadInput(f"`{path}` does not exist", "`mmcli data split` writes a split file")
        known = split_suffix(path)[1] in TABLE_KINDS
        self._typed = TypedTable(path) if known else None
        self._parquet = None if known else open_parquet(self.path)

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
        if self._typed is not None:
            return list(self._typed.schema.names)
        assert self._parquet is not None
        return list(self._parquet.schema_arrow.names)

    def values(self, column: str) -> Any:
        """A column, `(rows,)`."""
        return self._read([column]).column(column)

    def rows(self, column: str) -> tuple[Any, Any]:
        """The ids, texts in NFC, and a column of those rows; a row without an id is left out.

        Raises BadInput when a column is missing, or an id is there twice.
        """
        for name in ("id", column):
            if name not in self.columns:
                hint = suggestion(name, self.columns)
                if name == SPLIT_COLUMN and FOLD_COLUMN in self.columns:
                    hint = "it holds folds: give `--fold N`"
                raise BadInput(f"`{self.path}` has no column `{name}`", hint)
        table = self._read(["id", column])
        kind = table.schema.field("id").type
        if pa.types.is_nested(kind) or pa.types.is_floating(kind):
            raise BadInput(f"column `id` of `{self.path}` holds {kind}", "an id is a text")
        table = table.filter(pc.is_valid(table.column("id")))
        ids = pc.utf8_normalize(table.column("id").cast(pa.string()), "NFC")
        twice = repeated_id(ids)
        if twice is not None:
            raise BadInput(
                f"`{self.path}` names an id twice: `{ids[twice[1]]}`, in rows {twice[0]} and"
                f" {twice[1]}",
                "one row an id",
            )
        return ids, table.column(column)

    def _read(self, columns: list[str]) -> pa.Table:
        if self._parquet is not None:
            table = read_rows(self._parquet, self.path, columns)
        else:
            assert self._typed is not None
            empty = pa.schema([self._typed.schema.field(n) for n in columns]).empty_table()
            batches = [b.select(columns) for b in self._typed.batches(columns)]
            table = pa.concat_tables(batches or [empty])
        fields = [pa.field(f.name, plain_type(f.type)) for f in table.schema]
        return table.cast(pa.schema(fields))
