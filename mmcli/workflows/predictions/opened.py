"""Predictions by their path: a directory of them, or a table with the same columns."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmcli.core.errors import BadInput
from mmcli.data.typed_table import TypedTable
from mmcli.store.predictions import Predictions

_VALUES = ("label", "prediction")
#: Floats below this are whole numbers exactly.
_EXACT = 2**53


def open_predictions(path: str, verify: str = "once", task: str | None = None) -> Predictions:
    """Open predictions and check every value.

    path: a directory `mmcli.predictions/1`, or a JSONL, CSV, TSV or Parquet file with id, label,
    prediction and perhaps a `probability_<slug>` column a class. verify, task: as of
    `Predictions.open`, which says what is raised.
    """
    if not Path(path).is_file():
        return Predictions.open(path, verify, task)
    table = TypedTable(path)
    batches = list(table.batches())
    if not batches:
        raise BadInput(f"`{path}` has no rows", "give it at least one")
    return Predictions.of_table(path, _plain(pa.concat_tables(batches)), task)


def _plain(table: pa.Table) -> pa.Table:
    """Labels and predictions as other programs mean them: `nan` is none, and where no value of
    either is a fraction, 1.0 is the class 1 (a column of integers with a gap is written so).
    """
    columns = {name: table.column(name) for name in _VALUES if name in table.column_names}
    if not any(map(_is_number, columns.values())):
        return table
    columns = {name: _without_nan(column) for name, column in columns.items()}
    whole = all(_is_number(column) and _is_whole(column) for column in columns.values())
    for name, column in columns.items():
        kind = pa.int64() if whole and pa.types.is_floating(column.type) else column.type
        table = table.set_column(table.column_names.index(name), name, column.cast(kind))
    return table


def _is_number(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_floating(column.type) or pa.types.is_integer(column.type))


def _is_whole(column: pa.ChunkedArray) -> bool:
    if pa.types.is_integer(column.type):
        return True
    fits = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), float(_EXACT)))
    return bool(pc.all(fits).as_py() or column.null_count == len(column))


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers with null for each NaN; texts that are something else stay."""
    if pa.types.is_string(column.type):
        named = pc.equal(pc.utf8_lower(column), "nan")
        try:
            return pc.if_else(named, pa.scalar(None, pa.string()), column).cast(pa.float64())
        except pa.ArrowInvalid:
            return column
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column
