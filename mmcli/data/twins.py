"""Which rows name the same content, so that each distinct file is decoded and embedded once.

Two rows are twins when they name one file, or two whose bytes are equal, and the same span of it.
Files are compared by size first, then by a few kilobytes, and read whole only when these agree.
Remote files are compared by their names alone. Takes some 40 bytes a row while it looks, 16 for
each row that has a twin afterwards.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from mmcli.data.contents import size_of
from mmcli.data.files import PartError, open_regular
from mmcli.data.places import is_url, locate
from mmcli.data.segments import spans_of

_BLOCK_ROWS = 8192
_THREADS = 8
#: Read from the middle and the end of a file before it is read whole.
_MIDDLE, _END = 4096, 1024
#: Files up to this size are read whole at once.
_SMALL = 16_384
_CHUNK = 1 << 20
_MOST_BYTES = 1 << 62
Ints = np.ndarray[Any, np.dtype[np.int64]]


class Rows(Protocol):
    """What is needed of a source."""

    kind: str
    root: str
    text_is_path: bool
    n_items: int

    def rows(self, start: int, stop: int) -> pa.Table: ...


@dataclass(frozen=True)
class Twins:
    """rows: those with an earlier twin, sorted; first: the first row of the same content."""

    rows: Ints
    first: Ints

    def between(self, start: int, stop: int) -> dict[int, int]:
        """The first twin of every row from `start` to `stop` (excluded) that has an earlier one."""
        low, high = np.searchsorted(self.rows, [start, stop])
        return dict(zip(self.rows[low:high].tolist(), self.first[low:high].tolist(), strict=True))


def find_twins(source: Rows, modality: str) -> Twins:
    """The twins among the parts of a modality that are files; never raises for a bad file."""
    rows, names, spans = _named(source, modality)
    heads, places = _classes(names)
    classes = _contents(source, modality, rows[heads])[places]
    if spans.any():
        classes = _classes(np.stack([classes, spans], axis=1))[1]
    heads, inverse = _classes(classes)
    first = rows[heads][inverse]
    later = first != rows
    return Twins(rows[later], first[later])


def _classes(values: Ints) -> tuple[Ints, Ints]:
    """The first position of each distinct value (or row of values), and the class of every one."""
    _, first, inverse = np.unique(values, axis=0, return_index=True, return_inverse=True)
    return first, inverse.ravel()


def _named(source: Rows, modality: str) -> tuple[Ints, Ints, Ints]:
    """Rows that have the part, a hash of the name each gives it, and one of its span (0: all)."""
    rows, names, spans = [], [], []
    for start, table, values in _blocks(source, modality):
        there = [i for i, value in enumerate(values) if value and value.strip()]
        rows.append(np.array(there, np.int64) + start)
        names.append(np.array([hash(values[i]) for i in there], np.int64))
        cuts = spans_of(table, modality, source.text_is_path)
        found = [0 if cuts[i] is None else hash(cuts[i]) or 1 for i in there]
        spans.append(np.array(found, np.int64))
    empty = np.zeros(0, np.int64)
    return tuple(np.concatenate([empty, *each]) for each in (rows, names, spans))  # type: ignore[return-value]


def _blocks(source: Rows, modality: str) -> Iterator[tuple[int, pa.Table, list[str | None]]]:
    for start in range(0, source.n_items, _BLOCK_ROWS):
        table = source.rows(start, start + _BLOCK_ROWS)
        yield start, table, table.column(modality).to_pylist()


def _contents(source: Rows, modality: str, heads: Ints) -> Ints:
    """A number for each of these rows' files; equal where their bytes are.

    heads: rows that name different files, in any order.
    """
    numbers = np.arange(len(heads), dtype=np.int64)
    if len(heads) < 2:
        return numbers
    look = _Look(source, modality, heads)
    rivals = _shared(numbers, look.at(numbers, _size))
    rivals = _shared(rivals, look.at(rivals, _mark))
    digests = look.at(rivals, _digest)
    known = digests.any(axis=1)
    rivals, digests = rivals[known], digests[known]
    if len(rivals):
        lead, group = _classes(digests)
        numbers[rivals] = rivals[lead][group]
    return numbers


def _shared(numbers: Ints, values: Ints) -> Ints:
    """Those of the numbers whose value another one has too; 0 counts for nothing."""
    _, inverse, counts = np.unique(values[:, 0], return_inverse=True, return_counts=True)
    return numbers[(counts[inverse.ravel()] > 1) & (values[:, 0] != 0)]


class _Look:
    """Looks at files by their numbers, several at a time."""

    def __init__(self, source: Rows, modality: str, heads: Ints) -> None:
        self._source = source
        self._modality = modality
        self._order = np.argsort(heads)
        self._sorted = heads[self._order]
        # Cells of a Parquet file are read in their order, which threads would mix up.
        self._threads = 1 if source.kind == "parquet" else _THREADS

    def at(self, numbers: Ints, look: Callable[[str], tuple[int, int]]) -> Ints:
        """What `look` gives for the file of each number `(n, 2)`; zeros for remote ones."""
        wanted = np.zeros(len(self._sorted), bool)
        wanted[numbers] = True
        found = np.zeros((len(wanted), 2), np.int64)
        with ThreadPoolExecutor(self._threads) as pool:
            for owners, places in self._places(wanted) if len(numbers) else ():
                size = max(1, -(-len(places) // self._threads))
                chunks = [places[i : i + size] for i in range(0, len(places), size)]
                values = pool.map(lambda chunk: [_safely(look, p) for p in chunk], chunks)
                found[owners] = [one for chunk in values for one in chunk]
        return found[numbers]

    def _places(self, wanted: Any) -> Iterator[tuple[list[int], list[str]]]:
        """Numbers and places of the wanted files, a block at a time, in the rows' order."""
        at = 0
        for start, _, values in _blocks(self._source, self._modality):
            stop = int(np.searchsorted(self._sorted, start + len(values)))
            numbers = self._order[at:stop]
            chosen = np.flatnonzero(wanted[numbers])
            rows = self._sorted[at:stop][chosen] - start
            at = stop
            if len(chosen):
                root = self._source.root
                yield numbers[chosen].tolist(), [locate(root, str(values[r])) for r in rows]


def _safely(look: Callable[[str], tuple[int, int]], place: str) -> tuple[int, int]:
    """What is seen of a file, nothing where it cannot be read: it will fail where it is decoded."""
    if is_url(place):
        return 0, 0
    try:
        return look(place)
    except (PartError, OSError, ValueError):
        return 0, 0


def _size(place: str) -> tuple[int, int]:
    return max(0, size_of(place)), 0


def _mark(place: str) -> tuple[int, int]:
    """A few bytes that tell most files of one size apart; all of a small one."""
    size = size_of(place)
    if size <= _SMALL:
        return _digest(place)
    with open_regular(place, _MOST_BYTES) as stream:
        stream.seek(size // 2)
        middle = stream.read(_MIDDLE)
        stream.seek(size - _END)
        return _two_numbers(hashlib.blake2b(b"%d " % size + middle + stream.read(_END)))


def _digest(place: str) -> tuple[int, int]:
    digest = hashlib.blake2b()
    with open_regular(place, _MOST_BYTES) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return _two_numbers(digest)


def _two_numbers(digest: Any) -> tuple[int, int]:
    """128 bits of a digest, neither half 0."""
    whole = digest.digest()
    halves = (int.from_bytes(whole[i : i + 8], "little", signed=True) for i in (0, 8))
    first, second = (half or 1 for half in halves)
    return first, second
