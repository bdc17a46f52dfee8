"""Reads tables (JSONL, CSV, TSV, Parquet) as runs of rows, always from the start to the end.

Knows formats and where a row stands in its file; what the columns mean is `table_source.py`'s.
"""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.core.errors import BadInput
from mmcli.data.folders import BATCH_ROWS
from mmcli.data.places import row_place
from mmcli.data.typed_columns import TypedColumns

#: A batch is closed at this many characters too, so that long texts do not pile up.
_BATCH_CHARACTERS = 16_000_000
#: Rows of a Parquet file that holds media: each may be megabytes.
_MEDIA_ROWS = 64
#: Longest cell of a CSV file; the standard library's own limit, 131,072, is below a long article.
_CELL_CHARACTERS = 64_000_000


@dataclass(frozen=True)
class Rows:
    """A run of rows: where each starts in the file, and the columns by their names there."""

    lines: Sequence[int]
    columns: dict[str, Any]


@dataclass(frozen=True)
class TableFile:
    """A table on disk, and how messages call it.

    place: how its items name the file, relative to their root or absolute. media: columns of a
    Parquet file whose plain binary is a picture, sound or video.
    """

    path: Path
    kind: str
    name: str
    place: str = ""
    media: frozenset[str] = frozenset()

    def where(self, line: int) -> str:
        """The file and the line (in Parquet: the row), from 1; line 0 is the file as a whole."""
        if not line:
            return f"`{self.name}`"
        return f"{self.name}:row {line}" if self.kind == "parquet" else f"{self.name}:{line}"

    def read(self, columns: list[str] | None = None) -> Iterator[Rows]:
        """Every row. columns: all that is needed, honoured where reading less is cheaper.

        Raises BadInput naming the line that cannot be read.
        """
        if self.kind == "jsonl":
            return _read_jsonl(self)
        return (
            gathered(_read_parquet(self, columns)) if self.kind == "parquet" else _read_cells(self)
        )

    def typed_schema(self) -> pa.Schema | None:
        """The types that a Parquet file says its columns have; None where only the values tell."""
        if self.kind != "parquet":
            return None
        with open_table(self) as file:
            refuse_repeated_names(self, file.schema_arrow.names)
            return TypedColumns(file.schema_arrow, self.media).schema

    def fingerprint(self) -> str:
        """sha256 of the file."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def gathered(parts: Iterator[Rows]) -> Iterator[Rows]:
    """Runs of Arrow rows joined to runs of about `BATCH_ROWS`."""
    held: list[Rows] = []
    for rows in parts:
        held.append(rows)
        if sum(len(one.lines) for one in held) >= BATCH_ROWS:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(held: list[Rows]) -> Rows:
    if len(held) == 1:
        return held[0]
    lines = range(held[0].lines[0], held[-1].lines[-1] + 1)
    names = held[0].columns
    return Rows(lines, {n: pa.concat_arrays([one.columns[n] for one in held]) for n in names})


def _read_jsonl(table: TableFile) -> Iterator[Rows]:
    decode = json.JSONDecoder(
        parse_constant=_refuse_constant, object_pairs_hook=_without_twins
    ).decode
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    size = 0
    with table.path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.strip():
                    continue
                row = decode(text)
            except UnicodeDecodeError as error:
                raise _not_utf8(table, number) from error
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", "") or str(error) or "nested too deeply"
                raise BadInput(
                    f"{table.where(number)}: not JSON: {reason[:1].lower() + reason[1:]}",
                    "a JSONL file holds one object a line",
                ) from error
            if type(row) is not dict:
                raise BadInput(
                    f"{table.where(number)}: not a JSON object",
                    'a JSONL file holds one object a line, such as {"image": "a.jpg"}',
                )
            rows.append(row)
            lines.append(number)
            size += len(text)
            if len(rows) == BATCH_ROWS or size >= _BATCH_CHARACTERS:
                yield Rows(lines, _columns(rows))
                rows, lines, size = [], [], 0
    if rows:
        yield Rows(lines, _columns(rows))


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names: dict[str, Any] = {}
    for row in rows:
        names.update(row)
    return {name: [row.get(name) for row in rows] for name in names}


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a name that stands in it twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'"{twin}" stands twice in one object')
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"a number may not be {word}")


def _read_cells(table: TableFile) -> Iterator[Rows]:
    delimiter = "\t" if table.kind == "tsv" else ","
    csv.field_size_limit(max(csv.field_size_limit(), _CELL_CHARACTERS))
    with table.path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            header = next(filter(None, reader), None)
            if header is None:
                raise BadInput(f"`{table.name}` is empty", "its first line names the columns")
            refuse_repeated_names(table, header)
            yield Rows([], {name: [] for name in header})  # the columns of a table without rows
            yield from _cell_batches(table, reader, header)
        except UnicodeDecodeError as error:
            raise _not_utf8(table, _undecodable_line(table.path)) from error
        except csv.Error as error:
            raise BadInput(
                f"{table.where(max(1, reader.line_num))}: {error}",
                'a cell that holds quotes is quoted, its quotes doubled: "say ""hi"""',
            ) from error


def _cell_batches(table: TableFile, reader: Any, header: list[str]) -> Iterator[Rows]:
    rows: list[list[str]] = []
    lines: list[int] = []
    size, start = 0, reader.line_num + 1
    for row in reader:
        line, start = start, reader.line_num + 1
        if not row:
            continue
        if len(row) != len(header):
            raise BadInput(
                f"{table.where(line)}: {len(row)} cells, but the header names {len(header)}",
                "a cell that holds the separator or a line break is quoted",
            )
        rows.append(row)
        lines.append(line)
        size += sum(map(len, row))
        if len(rows) == BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield Rows(lines, _cells(header, rows))
            rows, lines, size = [], [], 0
    if rows:
        yield Rows(lines, _cells(header, rows))


def _cells(header: list[str], rows: list[list[str]]) -> dict[str, list[str | None]]:
    columns = zip(*rows, strict=True)
    return {
        name: [cell or None for cell in cells] for name, cells in zip(header, columns, strict=True)
    }


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                raw.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _not_utf8(table: TableFile, line: int) -> BadInput:
    return BadInput(f"{table.where(line)}: not UTF-8", "convert it: `iconv -f latin1 -t utf-8`")


def _read_parquet(table: TableFile, columns: list[str] | None) -> Iterator[Rows]:
    with open_table(table) as file:
        row = 1
        typed, all_names = TypedColumns(file.schema_arrow, table.media), file.schema_arrow.names
        rows = _MEDIA_ROWS if typed.has_media and columns is None else BATCH_ROWS
        try:
            for batch in file.iter_batches(rows, columns=columns):
                found = {
                    name: typed.convert(
                        name, values, _by_row(table, row - 1, all_names.index(name))
                    )
                    for name, values in zip(batch.schema.names, batch.columns, strict=True)
                }
                yield Rows(range(row, row + len(batch)), found)
                row += len(batch)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(
                f"{table.where(row)}: cannot be read: {reason}", "write the table again"
            ) from error


def _by_row(table: TableFile, start: int, column: int) -> Any:
    place = table.place or str(table.path)
    return lambda values: lambda row, size, name: row_place(place, start + row, column, size, name)


def open_table(table: TableFile) -> pq.ParquetFile:
    """A Parquet table, opened. Raises BadInput when it is none."""
    try:
        # Read ahead by pages, not by whole row groups, which may be as large as the file.
        return pq.ParquetFile(table.path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise BadInput(
            f"`{table.name}` is not a Parquet file: {reason}", "write the table again"
        ) from error


def refuse_repeated_names(table: TableFile, names: Sequence[str]) -> None:
    """Raise BadInput when a column has no name or two have the same."""
    for position, name in enumerate(names, 1):
        if not name:
            raise BadInput(
                f"`{table.name}`: column {position} has no name",
                "name it, or leave it out (pandas: `to_csv(…, index=False)`)",
            )
        if name in names[: position - 1]:
            raise BadInput(f"`{table.name}`: two columns are named `{name}`", "rename one of them")
