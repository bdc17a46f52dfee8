"""What the rows of a source looked like when they were read, so that a later run sees what changed.

A row's values, the size and time of each file it names, and the content of those files, each as a
short hash. A file that many rows name is read once, as long as they are not far apart. Knows
nothing about stores.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from mmcli.core.types import PART_COLUMNS
from mmcli.data.contents import open_place
from mmcli.data.files import PartError, open_plain
from mmcli.data.places import container_of, is_url, locate
from mmcli.data.spool import Source
from mmcli.store.manifest import canonical

#: A row: its id, and hashes of its values, of sizes and times, and of what its files hold.
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "row", "stat", "content")])
_DIGITS = 32
_BLOCK = 1 << 20
_MOST_BYTES = 1 << 62
#: Files whose content is remembered, for those that many rows name.
_REMEMBERED = 65_536


class Signatures:
    """Hashes of the rows of a source, any run of them at a time."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._contents: dict[str, tuple[str, str]] = {}

    def table(self, start: int, stop: int) -> pa.Table:
        """Every hash of rows `start` to `stop`; reads their files."""
        rows = self._source.rows(start, stop)
        columns: list[list[str]] = [[], [], [], []]
        for values in rows.to_pylist():
            places = self.places(values)
            hashes = (self.row(values), self.stat(places), self.content(places))
            for column, value in zip(columns, (str(values["id"]), *hashes), strict=True):
                column.append(value)
        return pa.table(columns, schema=SCHEMA)

    def places(self, values: dict[str, Any]) -> list[str]:
        """Where the files of a row lie."""
        return [
            locate(self._source.root, values[part])
            for part in PART_COLUMNS
            if values.get(part) and (part != "text" or self._source.text_is_path)
        ]

    def row(self, values: dict[str, Any]) -> str:
        """A hash of all that a row says."""
        told = {key: value if _is_plain(value) else repr(value) for key, value in values.items()}
        return _short(canonical(told).encode("utf-8", "surrogatepass"))

    def stat(self, places: Sequence[str]) -> str:
        """A hash of size and modification time of each file; of a URL nothing is asked."""
        return _short("\n".join(_stat(place) for place in places).encode())

    def content(self, places: Sequence[str]) -> str:
        """A hash of what each file holds."""
        return _short("\n".join(self._content(place) for place in places).encode())

    def _content(self, place: str) -> str:
        if is_url(place):
            return "url"
        seen = _stat(place)
        known = self._contents.get(place)
        if known is None or known[0] != seen:
            known = (seen, _sha256(place))
            if len(self._contents) >= _REMEMBERED:
                self._contents.clear()  # a source of millions of files must not fill memory
            self._contents[place] = known
        return known[1]


def _stat(place: str) -> str:
    if is_url(place):
        return "url"
    try:
        status = os.stat(place if os.path.exists(place) else container_of(place))
    except (OSError, ValueError):
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def _sha256(place: str) -> str:
    digest = hashlib.sha256()
    try:
        with open_place(place, _MOST_BYTES) or open_plain(place, _MOST_BYTES) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except (OSError, ValueError, PartError):
        return "unreadable"
    return digest.hexdigest()


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    return value is None or isinstance(value, str | int | bool)
