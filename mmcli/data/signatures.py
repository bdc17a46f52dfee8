"""What the rows of a source looked like when they were read, so that a later run sees what changed.

A row's values, the size and time of each file it names, and the content of those files, each as a
short hash. A file that many rows name is read once, as long as they are not far apart. Knows
nothing about stores.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from mmcli.core.types import PART_COLUMNS
from mmcli.data.places import is_url, locate
from mmcli.data.seen import Seen, content_at, stat_of
from mmcli.data.spool import Source
from mmcli.store.manifest import canonical

#: A row: its id, and hashes of its values, of sizes and times, and of what its files hold.
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "row", "stat", "content")])
_DIGITS = 32
#: Files whose content is remembered, for those that many rows name.
_REMEMBERED = 65_536


class Signatures:
    """Hashes of the rows of a source, any run of them at a time."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._contents: dict[str, Seen] = {}
        self._known: Mapping[str, Seen] = {}

    def table(self, start: int, stop: int, known: Mapping[str, Seen] | None = None) -> pa.Table:
        """Every hash of rows `start` to `stop`; reads those of their files that are not known.

        known: what was seen of files when they were decoded, by their places.
        """
        self._known = known or {}
        rows = self._source.rows(start, stop)
        columns: list[list[str]] = [[], [], [], []]
        for values in rows.to_pylist():
            places = self.places(values)
            hashes = (self.row(values), self.stat(places), self.content(places))
            for column, value in zip(columns, (str(values["id"]), *hashes), strict=True):
                column.append(value)
        return pa.table(columns, schema=SCHEMA)

    def states(self, start: int, stop: int) -> str:
        """One hash of rows `start` to `stop`: what they say, sizes and times. Reads no file."""
        rows = self._source.rows(start, stop).to_pylist()
        told = [self.row(values) + self.stat(self.places(values)) for values in rows]
        return _short("\n".join(told).encode())

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
        return _short("\n".join(map(self._stat, places)).encode())

    def content(self, places: Sequence[str]) -> str:
        """A hash of what each file holds."""
        return _short("\n".join(self._content(place) for place in places).encode())

    def _stat(self, place: str) -> str:
        seen = self._known.get(place)
        return stat_of(place) if seen is None else seen.stat

    def _content(self, place: str) -> str:
        if is_url(place):
            return "url"
        if place in self._known:
            return self._known[place].content
        seen = stat_of(place)
        known = self._contents.get(place)
        if known is None or known.stat != seen:
            known = Seen(place, seen, content_at(place))
            if len(self._contents) >= _REMEMBERED:
                self._contents.clear()  # a source of millions of files must not fill memory
            self._contents[place] = known
        return known.content


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    return value is None or isinstance(value, str | int | bool)
