"""The kinds of data that mmcli can make, and what each has to be able to do.

A kind is one entry here and one generator. Knows nothing about directories or processes: the
workflow runs the blocks, wherever and in whatever order, and writes what they give in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mmcli.core.registry import Registry

Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """What a block gave: rows of each table, and the files it wrote, by name, as a manifest wants.

    files: POSIX paths under the folder, each with `bytes` and `sha256`.
    """

    rows: Mapping[str, Sequence[Row]]
    files: Mapping[str, Mapping[str, Any]]


class Tally(Protocol):
    """Counts rows as they come, and knows in the end how good one can be on them."""

    def add(self, rows: Mapping[str, Sequence[Row]]) -> None:
        """Take the rows of one block."""

    def facts(self) -> dict[str, Any]:
        """Counts and the best possible scores, for the manifest and the report."""


class Generator(Protocol):
    """Makes one set of data, block by block; can be sent to another process.

    A block depends on the options and its number alone.
    """

    tables: tuple[str, ...]
    """Names of the tables, each written as NAME.jsonl; the first is `items`, a source's rows."""
    folders: tuple[str, ...]
    """Where the blocks write their files."""

    def options(self) -> dict[str, Any]:
        """All that says what is made."""

    def blocks(self) -> Sequence[int]:
        """How many rows of the first table each block gives."""

    def check(self) -> None:
        """Raise UsageError or MissingResource when it cannot be made, before anything is."""

    def make(self, block: int, folder: Path) -> Made:
        """Write the files of a block below `folder` and give its rows."""

    def tally(self) -> Tally:
        """A new, empty count."""

    def readme(self, facts: Mapping[str, Any]) -> str:
        """What the data are, in Markdown."""


@dataclass(frozen=True)
class Kind:
    """A kind of data. generator: `package.module:attribute` of its class."""

    name: str
    generator: str


KINDS = Registry(
    "kind of data",
    [
        Kind("scenes", "mmcli.data.scenes.generator:Scenes"),
        Kind("streams", "mmcli.data.streams.generator:Streams"),
        Kind("clips", "mmcli.data.clips.generator:Clips"),
        Kind("posts", "mmcli.data.posts.generator:Posts"),
    ],
)
