"""Opens what a place names when it is no plain file: a span of a file, a Parquet cell, a URL.

Nothing is unpacked: a worker reads the bytes of its part from the container by their offset. Local
containers must be regular files.
"""

import io
import os
import threading
from collections import OrderedDict
from typing import Any, BinaryIO

from mmcli.data.files import PartError, open_plain
from mmcli.data.places import Inside, inside, is_url

_OPEN_CONTAINERS = 8
_CELL_ROWS = 16
_MOST_BYTES = 1 << 62


def open_place(place: str, max_bytes: int) -> BinaryIO | None:
    """The open part, which can be read from any position; None when it is a plain file.

    Raises PartError when it is missing, empty, too large or cut short.
    """
    found = inside(place)
    if found is None or (not is_url(place) and os.path.isfile(place)):
        if not is_url(place):
            return None
        from mmcli.data.remote import open_part

        return open_part(place, max_bytes)
    if found.is_link:
        raise PartError("not-a-file", "is a link in an archive, which is not followed")
    if found.size == 0:
        raise PartError("empty", "has no bytes")
    if found.size > max_bytes:
        raise PartError("too-large", f"has {found.size} bytes, more than {max_bytes}")
    if found.row is not None:
        return io.BytesIO(_cells.read(found))
    if is_url(found.file):
        from mmcli.data.remote import read_part

        assert found.offset is not None
        content = read_part(found.file, max_bytes, found.offset, found.size)
        if len(content) < found.size:
            raise _cut_short(found)
        return io.BytesIO(content)
    return io.BufferedReader(_Span(_open_container(found), found), 1 << 16)


def exists(place: str) -> bool:
    """Whether a part can be looked for: its file, or the container of it, is there.

    Of a remote one nobody asks: that would be a request.
    """
    if is_url(place) or os.path.exists(place):
        return True
    found = inside(place)
    return found is not None and os.path.exists(found.file)


def size_of(place: str) -> int:
    """Bytes of a part, -1 where it cannot be said without a request or is no regular file."""
    if is_url(place):
        found = inside(place)
        return -1 if found is None or found.is_link else found.size
    try:
        status = os.stat(place)
    except (OSError, ValueError):
        found = inside(place)
        return -1 if found is None or found.is_link else found.size
    regular = os.path.stat.S_ISREG(status.st_mode)  # type: ignore[attr-defined]
    return status.st_size if regular else -1


def _open_container(found: Inside) -> BinaryIO:
    try:
        return open_plain(found.file, _MOST_BYTES)
    except PartError as error:
        name = os.path.basename(found.file)
        raise PartError(error.kind, f"`{name}`, which holds it, {error.message}") from error


class _Span(io.RawIOBase):
    """A span of an open file as a file of its own."""

    def __init__(self, stream: BinaryIO, found: Inside) -> None:
        assert found.offset is not None
        self._stream = stream
        self._start, self._size, self._at = found.offset, found.size, 0
        if os.fstat(stream.fileno()).st_size < found.offset + found.size:
            stream.close()
            raise _cut_short(found)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._at))
        self._stream.seek(self._start + self._at)
        content = self._stream.read(wanted)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Cells:
    """Bytes of Parquet cells. A file can only be read from a row group's start onwards, so each
    column keeps the place that it has come to: rows asked for in order cost one pass."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, int], _Column] = OrderedDict()

    def read(self, found: Inside) -> bytes:
        assert found.row is not None
        with self._lock:
            key = (found.file, found.column)
            column = self._open.pop(key, None)
            try:
                if column is None or not column.same_file():
                    column = _Column(*key)
                content = column.bytes_of(found.row)
            except PartError:
                raise
            except Exception as error:  # Arrow's and the filesystem's own errors
                reason = " ".join(str(error).split())
                raise PartError("unreadable", f"cannot be read: {reason}") from error
            self._open[key] = column
            while len(self._open) > _OPEN_CONTAINERS:
                self._open.popitem(last=False)
        if content is None or len(content) != found.size:
            name = os.path.basename(found.file)
            raise PartError("missing", f"is no longer row {found.row + 1} of `{name}`")
        return content


class _Column:
    """One column of an open Parquet file, and how far it has been read."""

    def __init__(self, file: str, column: int) -> None:
        import pyarrow.parquet as pq

        self._mark = _mark(file)
        self._path = file
        if is_url(file):
            from mmcli.data.remote import open_source_file

            self._stream = open_source_file(file)
        else:
            self._stream = open_plain(file, _MOST_BYTES)
        self._file = pq.ParquetFile(self._stream, pre_buffer=False, buffer_size=1 << 20)
        names = self._file.schema_arrow.names
        if column >= len(names):
            raise PartError("missing", f"is in column {column + 1}, the file has {len(names)}")
        self._name = names[column]
        self._starts = [0]
        for group in range(self._file.metadata.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            self._starts.append(self._starts[-1] + rows)
        self._group = -1
        self._first, self._batch = 0, None
        self._batches: Any = iter(())

    def same_file(self) -> bool:
        return _mark(self._path) == self._mark

    def bytes_of(self, row: int) -> bytes | None:
        from bisect import bisect_right

        if row >= self._starts[-1]:
            return None
        group = bisect_right(self._starts, row) - 1
        if group != self._group or row < self._first:
            self._group, self._first, self._batch = group, self._starts[group], None
            self._batches = self._file.iter_batches(
                _CELL_ROWS, row_groups=[group], columns=[self._name], use_threads=False
            )
        while self._batch is None or row >= self._first + len(self._batch):
            self._first += 0 if self._batch is None else len(self._batch)
            self._batch = next(self._batches)
        value = self._batch.column(self._name)[row - self._first].as_py()
        return value.get("bytes") if isinstance(value, dict) else value


_cells = _Cells()


def _mark(file: str) -> tuple[int, int]:
    if is_url(file):
        return 0, 0
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns


def _cut_short(found: Inside) -> PartError:
    name = os.path.basename(found.file)
    return PartError("corrupt", f"ends after the end of `{name}`, which was cut short or replaced")
