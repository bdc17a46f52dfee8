"""Parquet files: written whole and the same for the same rows, read with errors that name the file.

Knows nothing about what the rows mean.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.core.errors import BadInput
from mmcli.store.atomic import atomic_file

_AGAIN = "make the directory that it belongs to again"


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically: the same bytes for the same rows, however they came.

    Raises OutOfResource when the disk is full.
    """
    whole = table.replace_schema_metadata(None).combine_chunks()
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        pq.write_table(whole, file, compression="zstd")


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file, opened. Raises BadInput when it is missing or something else."""
    try:
        if not path.exists():
            raise BadInput(f"`{path}` is missing", _AGAIN)
        if not path.is_file():
            raise BadInput(f"`{path}` is not a regular file", _AGAIN)
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def read_rows(file: pq.ParquetFile, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of every row. Raises BadInput, naming `path`, when they cannot be decoded."""
    try:
        return file.read(None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def in_schema(
    table: pa.Table, schema: pa.Schema, refused: Callable[[pa.Field, pa.DataType], Exception]
) -> pa.Table:
    """The same rows in the columns of `schema`, null where there is none of that name.

    Raises what `refused` makes of a field, and of the type of the column that cannot be cast to it.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        try:
            columns.append(table[field.name].cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise refused(field, table[field.name].type) from error
    return pa.table(columns, schema=schema)


def _damaged(path: Path, error: Exception) -> BadInput:
    reason = (str(error).splitlines() or [""])[0]
    return BadInput(f"`{path}` is not a sound Parquet file: {reason}", _AGAIN)
