"""Turns file names into items: files with the same stem in the same directory are one item.

Knows names, not contents: whether a file can be decoded is found out later. The pairing is done in
an SQLite file, so that memory stays bounded for ten million files in any order.
"""

import hashlib
import os
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.core.types import PART_COLUMNS
from mmcli.data.places import is_url, locate
from mmcli.data.suffixes import modality_of, split_suffix

#: Rows in one batch, and so in one row group of the spool.
BATCH_ROWS = 4096
#: Different suffixes that are counted by name; numbered suffixes would grow without end.
_MAX_SUFFIXES = 500
_CACHE_KIB = 65_536


class Pairing:
    """Items gathered from file names, on disk until they are read back with `batches`.

    by_id: they come sorted by id (code points), else as they were first named.
    """

    text_is_path = True

    def __init__(self, database: Path, root: str, by_id: bool = True) -> None:
        self.root = root
        self.by_id = by_id
        self.ignored: dict[str, int] = {}
        self.present: set[str] = set()
        self.n_items = 0
        self._prefix = root.rstrip("/") + "/"
        self._path = database
        self._digest = hashlib.sha256()
        database.unlink(missing_ok=True)
        self._connection = sqlite3.connect(database, isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            self._connection.execute(f"PRAGMA {pragma}")
        parts = ", ".join(f"{part} BLOB" for part in PART_COLUMNS)
        self._connection.execute(
            f"CREATE TABLE items (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, {parts})"
        )
        self._connection.execute("BEGIN")
        self._upsert = {
            part: f"INSERT INTO items (id, {part}) VALUES (?, ?) ON CONFLICT (id) "
            f"DO UPDATE SET {part} = excluded.{part} WHERE {part} IS NULL"
            for part in PART_COLUMNS
        }

    def add(self, path: str, is_directory: bool = False) -> None:
        """Take an absolute path or a URL in; one whose suffix is no medium's is counted as ignored.

        Raises BadInput when the item has a part of that modality already.
        """
        inside = path.startswith(self._prefix)
        relative = path[len(self._prefix) :] if inside else path
        stem, suffix = split_suffix(relative.partition("?")[0] if is_url(path) else relative)
        modality = modality_of(suffix)
        if modality is None:
            if not is_directory:
                count_ignored(self.ignored, suffix)
            return
        item_id = unicodedata.normalize("NFC", printable(stem if inside else stem.lstrip("/")))
        cursor = self._connection.execute(self._upsert[modality], (item_id, os.fsencode(relative)))
        if cursor.rowcount == 0:
            raise self._conflict(item_id, modality, relative)
        self.present.add(modality)

    @property
    def schema(self) -> pa.Schema:
        """`id`, then the modalities that occur."""
        names = ["id", *(part for part in PART_COLUMNS if part in self.present)]
        return pa.schema([(name, pa.string()) for name in names])

    def batches(self) -> Iterator[pa.Table]:
        """The items, in the order of `by_id`."""
        schema = self.schema
        rows = self._connection.execute(
            f"SELECT {', '.join(schema.names)} FROM items ORDER BY {'id' if self.by_id else 'seq'}"
        )
        while batch := rows.fetchmany(BATCH_ROWS):
            self.n_items += len(batch)
            ids, *parts = zip(*batch, strict=True)
            for row in zip(*parts, strict=True):
                for path in row:
                    if path is not None:
                        self._digest.update(self._signature(path))
            columns = [ids, *([p and printable(os.fsdecode(p)) for p in part] for part in parts)]
            arrays = [pa.array(column, pa.string()) for column in columns]
            yield pa.Table.from_arrays(arrays, schema=schema)

    @property
    def fingerprint(self) -> str:
        """sha256 over path, size and modification time of every file that `batches` gave."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Drop the database."""
        self._connection.close()
        self._path.unlink(missing_ok=True)

    def _signature(self, path: bytes) -> bytes:
        try:
            stat = os.stat(os.path.join(os.fsencode(self.root), path))
        except (OSError, ValueError):
            return path + b"\0missing\n"
        return b"%s\0%d\0%d\n" % (path, stat.st_size, stat.st_mtime_ns)

    def _conflict(self, item_id: str, modality: str, relative: str) -> BadInput:
        row = self._connection.execute(f"SELECT {modality} FROM items WHERE id = ?", (item_id,))
        first, second = printable(os.fsdecode(row.fetchone()[0])), printable(relative)
        if first == second:
            return BadInput(f"`{second}` is listed twice", "list every file once (`sort -u`)")
        first, second = sorted((first, second))
        return BadInput(
            f"`{first}` and `{second}` are both the {modality} of item `{item_id}`",
            "rename or move one: files of one name, suffix apart, are one item",
        )


def count_ignored(ignored: dict[str, int], suffix: str) -> None:
    """Count one more file of a suffix that no modality has; of very many suffixes, as `other`."""
    if suffix not in ignored and len(ignored) >= _MAX_SUFFIXES:
        suffix = "other"
    suffix = printable(suffix)
    ignored[suffix] = ignored.get(suffix, 0) + 1


def printable(path: str) -> str:
    """The path as text that every format can hold; bytes that are not UTF-8 become `\\xNN`."""
    try:
        path.encode()
        return path
    except UnicodeEncodeError:
        return os.fsencode(path).decode("utf-8", "backslashreplace")


def add_listed(pairing: Pairing, lines: Iterable[bytes]) -> None:
    """Take a list of paths in; relative ones are relative to the root."""
    for line in lines:
        name = os.fsdecode(line)
        if is_url(name):
            pairing.add(name)
        elif name:
            path = locate(pairing.root, name)
            pairing.add(path if is_url(path) else os.path.normpath(path).replace(os.sep, "/"))


def listed_paths(stream: BinaryIO, null_separated: bool) -> Iterator[bytes]:
    """The paths of a list, one a line or separated by NUL; blank lines are left out."""
    if not null_separated:
        for line in stream:
            if stripped := line.rstrip(b"\r\n"):
                yield stripped
        return
    rest = b""
    while chunk := stream.read(1 << 20):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from filter(None, whole)
    if rest.strip(b"\r\n"):
        yield rest


def describe_ignored(ignored: dict[str, Any]) -> str:
    """What was left out, most frequent first: `12 .pdf, 3 without suffix`."""
    counts = sorted(ignored.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{count} {suffix or 'without suffix'}" for suffix, count in counts[:8]]
    return ", ".join(shown + (["…"] if len(counts) > len(shown) else []))
