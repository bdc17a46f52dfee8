"""Vectors that lie in files of other programs, and the items beside them, as a store takes them.

Knows rows and names; nothing about the layouts of files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmcli.data.id_lookup import Spool
from mmcli.store.records import Array


@dataclass
class VectorFile:
    """Rows of vectors `(rows, dim)`, mapped or not, and how messages call them."""

    name: str
    array: Array


@dataclass
class KeyVectors:
    """The vectors of one key: files one after another. entry: what was written down about them.

    has: bool `(rows,)`, which rows have a vector, None where zeros say so. values, offsets:
    sequences, one pair for all rows.
    """

    files: list[VectorFile]
    entry: Mapping[str, Any] = field(default_factory=dict)
    has: Array | None = None
    values: Array | None = None
    offsets: Array | None = None

    @property
    def dim(self) -> int:
        return int(self.files[0].array.shape[1])

    @property
    def rows(self) -> int:
        return sum(len(file.array) for file in self.files)

    def where(self, row: int) -> str:
        """The file and the row in it of a row."""
        for file in self.files:
            if row < len(file.array):
                return f"`{file.name}`, row {row}"
            row -= len(file.array)
        return f"row {row}"

    def read(self, start: int, stop: int) -> Array:
        """Rows `start` to `stop` in the type of the files, in memory."""
        parts, at = [], 0
        for file in self.files:
            low, high = max(start - at, 0), min(stop - at, len(file.array))
            if low < high:
                parts.append(np.asarray(file.array[low:high]))
            at += len(file.array)
        if not parts:
            return np.zeros((0, self.dim), self.files[0].array.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass
class Vectors:
    """All that is imported. keys: vectors by key, "" where the caller must name it.

    items: rows with or without an `id`, None where nothing describes them. root: what paths are
    relative to. name: what the one key may be called where the caller does not say.
    """

    kind: str
    keys: dict[str, KeyVectors]
    items: Spool | None
    root: str | None = None
    name: str = ""

    @property
    def rows(self) -> int:
        return next(iter(self.keys.values())).rows
