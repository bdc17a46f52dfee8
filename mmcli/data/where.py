"""Which rows of some Parquet files hold true for one SQL condition, by DuckDB.

The condition is an expression over the files' columns and nothing else: it opens no other file,
loads no extension, sees no Python variable and changes nothing. Knows nothing about stores.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion

#: Columns that DuckDB gives every Parquet file, and what they are called while a condition runs.
_POSITION = {"file_index": "__mmcli_file", "file_row_number": "__mmcli_row"}
_HINT = "a SQL condition on the items' columns, as in \"label = 'cat' AND duration_s < 3\""
_UNKNOWN = re.compile(r'Referenced column "(.*?)" not found')
_LONGEST = 200


def matching_rows(
    paths: Sequence[str | Path], expression: str, option: str = "--where"
) -> NDArray[np.int64]:
    """Rows for which the condition is true, ascending; the files' rows are counted through.

    Where a column is in some files only, it is null in the others. Raises UsageError when the
    condition is no sound SQL of type boolean, BadInput when it names a column that is not there or
    a value cannot be converted as it asks.
    """
    files = [str(Path(path).absolute()) for path in paths]
    if not files:
        return np.zeros(0, np.int64)
    names, starts = _look_at(files)
    import duckdb

    try:
        found = _run(duckdb, files, expression)
    except duckdb.Error as error:
        raise _explained(duckdb, error, expression, option, names) from None
    rows = starts[found[0].astype(np.int64)] + found[1].astype(np.int64)
    return np.sort(rows)


def _run(duckdb: Any, files: list[str], expression: str) -> tuple[Any, Any]:
    """The number of the file and the row in it, of each row that matches."""
    condition = duckdb.SQLExpression(expression)  # parses an expression, never a statement
    settings = {
        "temp_directory": "",  # else it spills into the working directory
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
    }
    quoted = [_quoted(name) for name in files]
    with duckdb.connect(":memory:", config=settings) as connection:
        connection.execute(f"SET allowed_paths = [{', '.join(quoted)}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        positions = ", ".join(f"{theirs} AS {ours}" for theirs, ours in _POSITION.items())
        items = connection.sql(
            f"SELECT *, {positions} FROM read_parquet([{', '.join(quoted)}], union_by_name = true)"
        )
        for kind in items.project(condition).types:
            if str(kind) != "BOOLEAN":
                raise duckdb.BinderException(f"it is {kind}, not true or false")
        columns = items.filter(condition).select(*_POSITION.values()).fetchnumpy()
        found = [np.ma.getdata(columns[name]) for name in _POSITION.values()]
        return found[0], found[1]


def _look_at(files: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The columns of all files together, and the number of the first row of each."""
    names: dict[str, None] = {}
    starts, rows = [], 0
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                names.update(dict.fromkeys(file.schema_arrow.names))
                starts.append(rows)
                rows += file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise BadInput(f"`{path}` cannot be read: {reason}", "make it again") from error
    for name in names:
        if name.lower() in {*_POSITION, *_POSITION.values()}:
            raise BadInput(
                f"`{files[0]}` has a column `{name}`, a name that DuckDB needs for itself",
                "rename the column in the source",
            )
    return list(names), np.array(starts, np.int64)


def _explained(
    duckdb: Any, error: Exception, expression: str, option: str, names: Sequence[str]
) -> UsageError | BadInput:
    text = str(error).splitlines()[0] if str(error).strip() else type(error).__name__
    reason = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", text)[:_LONGEST]
    shown = " ".join(expression.split())[:_LONGEST]
    where = f"`{option} {shown}`"
    unknown = _UNKNOWN.search(text)
    if unknown:
        hint = suggestion(unknown[1], names)
        if f'"{unknown[1]}"' in expression:
            hint += f"; a text stands in single quotes: '{unknown[1]}'"
        return BadInput(f"{where}: there is no column `{unknown[1]}`", hint)
    if not expression.strip():
        return UsageError(f"{where}: the condition is empty", _HINT)
    if isinstance(error, duckdb.PermissionException):
        return UsageError(f"{where}: a condition may not open files", _HINT)
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        return BadInput(
            f"{where}: {_lowered(reason)}", "`TRY_CAST(column AS type)` gives null instead"
        )
    return UsageError(f"{where}: {_lowered(reason)}", _HINT)


def _lowered(reason: str) -> str:
    """As it goes on after a colon; a word in capitals stays."""
    return reason if reason[1:2].isupper() else reason[:1].lower() + reason[1:]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
