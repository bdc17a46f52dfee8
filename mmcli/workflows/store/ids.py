"""A file of ids: a line each, the column `id` of a table, or lines on stdin."""

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.suffixes import TABLE_KINDS, split_suffix
from mmcli.data.typed_table import TypedTable

SCHEMA = pa.schema([("id", pa.string())])
_LINES = 65_536


def read_ids(path: str, option: str = "--ids") -> tuple[pa.Schema, Iterable[pa.Table]]:
    """Tables of one column, `id`, in NFC."""
    if path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(
                f"`{option} -`, but stdin is a terminal", "pipe ids into it, one a line"
            )
        return SCHEMA, _lines(sys.stdin.buffer, "stdin")
    if split_suffix(path)[1] in TABLE_KINDS:
        table = TypedTable(path)
        if "id" not in table.schema.names:
            raise BadInput(f"`{path}` has no column `id`", suggestion("id", table.schema.names))
        return SCHEMA, (normal(batch) for batch in table.batches(["id"]))
    try:
        stream = open(path, "rb")  # noqa: SIM115, closed by `_lines`
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise BadInput(f"`{option} {path}`: {reason}", "a text file, one id a line") from error
    return SCHEMA, _lines(stream, path)


def normal(table: pa.Table) -> pa.Table:
    """The ids as a store has them."""
    ids = table.column("id").cast(pa.string()).to_pylist()
    return pa.table({"id": pa.array([_nfc(i) for i in ids], pa.string())})


def _nfc(text: str | None) -> str | None:
    return text if text is None or text.isascii() else unicodedata.normalize("NFC", text)


def _lines(stream: BinaryIO, name: str) -> Iterator[pa.Table]:
    waiting: list[str] = []
    with stream:
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise BadInput(f"{name}:{number}: not UTF-8", "one id a line, as UTF-8") from error
            if text:
                waiting.append(unicodedata.normalize("NFC", text))
            if len(waiting) == _LINES:
                yield pa.table({"id": pa.array(waiting, pa.string())})
                waiting = []
    if waiting:
        yield pa.table({"id": pa.array(waiting, pa.string())})
