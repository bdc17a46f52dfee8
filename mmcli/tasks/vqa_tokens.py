"""Tokens of distinct pictures and questions, and which of them each row has.

Many questions share a picture, so both are kept once, and a batch holds each of its pictures once.
Knows stores and shapes; nothing about networks or answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from mmcli.align.pair_model import Side
from mmcli.engine.sequences import grid_side, padded, shortened
from mmcli.engine.standard_scale import standard_scale
from mmcli.store.mapped import MappedKey
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
#: Entries whose tokens give lengths, mean and deviation.
SAMPLE_ENTRIES = 1024
#: Tokens are kept in memory up to so many bytes, else read where they lie.
HELD_BYTES = 1_000_000_000
#: Entries read at a time: their layers are larger than what is made of them.
_READ = 256


@dataclass
class TokenBank:
    """The tokens of every entry of a store, of several keys side by side.

    most: tokens of an entry at most; longer ones become means over neighbours. grid: whether they
    are the cells of a square picture; keys are brought to the coarsest grid among them. present:
    bool `(entries,)`, which have them all.
    """

    store: Store
    keys: tuple[str, ...]
    most: int
    grid: bool = False
    present: NDArray[np.bool_] = field(init=False)
    dim: int = field(init=False)
    _held: list[Vectors] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        entries = [self.store.key(key) for key in self.keys]
        self.present = np.logical_and.reduce([self.store.has(key) for key in self.keys])
        self._sequences = [
            MappedSequences(self.store, key) if entry["sequence"] else None
            for key, entry in zip(self.keys, entries, strict=True)
        ]
        self._pooled = [MappedKey(self.store, key) for key in self.keys]
        self._check_finite()
        known = np.flatnonzero(self.present)
        first = self._read(known[:1])
        self.dim = first[0].shape[1] if first else 1
        if first and first[0].nbytes * len(known) <= HELD_BYTES:
            every = np.arange(self.store.rows)
            self._held = [one for part in blocks(every, _READ) for one in self._read(part)]

    def _check_finite(self) -> None:
        for mapped in self._pooled:
            mapped.check_finite(lambda row: self.store.ids()[row])

    def take(self, entries: Rows) -> list[Vectors]:
        """float32 `(length, dim)` an entry; of length 0 where it has none."""
        if self._held is not None:
            return [self._held[int(entry)] for entry in entries]
        return self._read(entries)

    def batch(self, entries: Rows) -> tuple[Vectors, NDArray[np.bool_]]:
        """float32 `(entries, longest, dim)`, zeros behind the end, and which tokens are real."""
        return padded(self.take(entries), self.dim)

    def side(self, name: str, entries: Rows) -> tuple[Side, tuple[Vectors, Vectors]]:
        """What a network reads, and mean and scale `(dim,)`, from some of these entries."""
        entries = entries[self.present[entries]]
        if len(entries) > SAMPLE_ENTRIES:
            entries = entries[:: -(-len(entries) // SAMPLE_ENTRIES)]
        sample = self.take(entries)
        length = max(len(one) for one in sample)
        grid = grid_side([len(one) for one in sample]) if self.grid else 0
        side = Side(name, "+".join(self.keys), self.dim, length, grid)
        return side, standard_scale(np.concatenate(sample))

    def _read(self, entries: Rows) -> list[Vectors]:
        columns = []
        for sequences, pooled in zip(self._sequences, self._pooled, strict=True):
            if sequences is None:
                columns.append(list(pooled.take(entries)[:, None]))
            else:
                columns.append(sequences.take(entries))
        return [self._join(parts) for parts in zip(*columns, strict=True)]

    def _join(self, parts: Sequence[Vectors]) -> Vectors:
        """The tokens of one entry, of all keys on one grid or over one length."""
        if any(not len(part) for part in parts):
            return np.zeros((0, sum(part.shape[1] for part in parts)), np.float32)
        side = min(grid_side([len(part)]) for part in parts) if self.grid else 0
        if side:
            side = min(side, isqrt(self.most))
            same = [shortened(part, True, side * side) for part in parts]
        else:
            length = min(self.most, *(len(part) for part in parts))
            same = [shortened(part, False, length) for part in parts]
        return same[0] if len(same) == 1 else np.concatenate(same, axis=1)


@dataclass(frozen=True)
class Asked:
    """Pictures, questions, and which of them each row has.

    picture_of, question_of: int64 `(rows,)`, -1 where a row has none.
    """

    pictures: TokenBank
    questions: TokenBank
    picture_of: Rows
    question_of: Rows

    @property
    def whole(self) -> NDArray[np.bool_]:
        """bool `(rows,)`: which rows have both, with their tokens."""
        return _there(self.picture_of, self.pictures) & _there(self.question_of, self.questions)

    def by_picture(self, rows: Rows, draw: np.random.Generator) -> Rows:
        """All the rows, pictures in random order, the questions of each behind one another."""
        rows = draw.permutation(rows)
        pictures = self.picture_of[rows]
        order = draw.permutation(int(pictures.max(initial=-1)) + 2)
        return rows[np.argsort(order[pictures], kind="stable")]


def _there(places: Rows, bank: TokenBank) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (places >= 0) & bank.present[np.maximum(places, 0)]
    return found


def blocks(rows: Rows, size: int) -> Iterator[Rows]:
    """Runs of at most so many rows, in order."""
    for at in range(0, len(rows), size):
        yield rows[at : at + size]
