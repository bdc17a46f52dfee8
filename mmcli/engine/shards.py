"""What one shard gathers while its batches run, and what it becomes when they are done.

Buffers only: no model, no file. Rows keep the source's order whatever failed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.types import Encoder
from mmcli.data.seen import Seen
from mmcli.store.writer import Failure, KeyArrays


@dataclass(frozen=True)
class KeyPlan:
    """One embedding to make: which encoder, which layer, how it is kept.

    dim: width that is stored; narrower than the encoder's when `--dim` cuts it. reference: what
    names the encoder again, later and elsewhere.
    """

    key: str
    slug: str
    encoder: Encoder
    dim: int
    sequence: bool = False
    layer: int | None = None
    half: bool = False
    reference: str = ""

    @property
    def sequence_shape(self) -> tuple[int, int]:
        """Usual length, and width, of one row's sequence."""
        card = self.encoder.card
        if self.layer is not None and card.layer_shapes:
            return card.layer_shapes[self.layer - 1]
        return card.sequence_length or 0, card.sequence_dim or card.dim

    @property
    def dtype(self) -> type[np.floating[Any]]:
        return np.float16 if self.half else np.float32


@dataclass(frozen=True)
class ShardRange:
    """Rows `start` to `stop` of the source."""

    index: int
    start: int
    stop: int


@dataclass(frozen=True)
class ShardResult:
    """A finished shard, ready to be written. seen: what its files looked like, by their places."""

    range: ShardRange
    items: pa.Table
    arrays: Mapping[str, KeyArrays]
    failures: Sequence[Failure]
    counts: tuple[int, int, int]
    notes: Mapping[str, int]
    seen: Mapping[str, Seen]


@dataclass
class ShardBuffer:
    """The arrays and columns of a shard in the making."""

    range: ShardRange
    table: pa.Table
    plans: Sequence[KeyPlan]
    named: dict[str, np.ndarray] = field(default_factory=dict)
    """modality -> bool (rows,): the item names that part, and an encoder wants it."""
    texts: list[str | None] | None = None
    notes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = self.rows
        self.embeddings = {p.key: np.zeros((n, p.dim), p.dtype) for p in self.plans}
        self.has = {p.key: np.zeros(n, bool) for p in self.plans}
        self.tokens: dict[str, list[np.ndarray | None]] = {
            p.key: [None] * n for p in self.plans if p.sequence
        }
        self.columns: dict[str, list[Any]] = {
            name: [None] * n for p in self.plans for name in p.encoder.card.columns
        }
        self.seen: dict[str, Seen] = {}
        self.row_notes: dict[tuple[str, int], list[str]] = {}
        self._failures: list[tuple[int, Failure]] = []
        self._ids: list[str] = self.table.column("id").to_pylist()

    @property
    def rows(self) -> int:
        return self.range.stop - self.range.start

    def fail(self, row: int, key: str, source: str, error: str, message: str) -> Failure:
        """Note that a part of a row could not be embedded."""
        failure = Failure(self._ids[row], key, source, error, message)
        self._failures.append((row, failure))
        return failure

    def note(self, name: str, count: int = 1) -> None:
        """Count something the user should be told at the end."""
        self.notes[name] = self.notes.get(name, 0) + count

    def note_row(self, modality: str, row: int, name: str) -> None:
        """Count something about one part of a row."""
        self.note(name)
        self.row_notes.setdefault((modality, row), []).append(name)

    def failed(self, modality: str, row: int) -> list[tuple[str, str, str]]:
        """Key, error and message of what failed of one part of a row."""
        keys = {p.key for p in self.plans if p.encoder.card.modality == modality}
        mine = [f for at, f in self._failures if at == row and f.key in keys]
        return [(failure.key, failure.error, failure.message) for failure in mine]

    def copy(self, modality: str, row: int, other: int, plans: Sequence[KeyPlan]) -> None:
        """Give `other` what `row` has of these keys of a modality."""
        for plan in plans:
            self.embeddings[plan.key][other] = self.embeddings[plan.key][row]
            self.has[plan.key][other] = self.has[plan.key][row]
            if plan.sequence:
                self.tokens[plan.key][other] = self.tokens[plan.key][row]
            for name in plan.encoder.card.columns if plan.layer is None else ():
                self.columns[name][other] = self.columns[name][row]
        for name in self.row_notes.get((modality, row), []):
            self.note_row(modality, other, name)

    def put(self, plan: KeyPlan, row: int, vector: np.ndarray, tokens: np.ndarray | None) -> bool:
        """Keep one row's vector `(dim,)` and tokens; False when it is not finite."""
        if not np.isfinite(vector).all() or (tokens is not None and not np.isfinite(tokens).all()):
            return False
        self.embeddings[plan.key][row] = vector
        self.has[plan.key][row] = True
        if plan.sequence and tokens is not None:
            self.tokens[plan.key][row] = tokens.astype(plan.dtype)
        return True

    def finish(self) -> ShardResult:
        """The shard as it is written."""
        return ShardResult(
            self.range,
            self._items(),
            {plan.key: self._arrays(plan) for plan in self.plans},
            [failure for _, failure in sorted(self._failures, key=_by_row)],
            self._counts(),
            dict(sorted(self.notes.items())),
            self.seen,
        )

    def _arrays(self, plan: KeyPlan) -> KeyArrays:
        if not plan.sequence:
            return KeyArrays(self.embeddings[plan.key], None, None)
        tokens = self.tokens[plan.key]
        lengths = [0 if t is None else len(t) for t in tokens]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        width = plan.sequence_shape[1]
        present = [t for t in tokens if t is not None and len(t)]
        values = np.concatenate(present) if present else np.zeros((0, width), plan.dtype)
        return KeyArrays(self.embeddings[plan.key], values, offsets)

    def _items(self) -> pa.Table:
        table = self.table
        if self.texts is not None:
            at = table.schema.get_field_index("text")
            table = table.set_column(at, "text", pa.array(self.texts, pa.string()))
        for name, values in self.columns.items():
            table = table.append_column(name, pa.array(values, pa.string()))
        for plan in self.plans:
            table = table.append_column(f"has_{plan.slug}", pa.array(self.has[plan.key]))
        return table

    def _counts(self) -> tuple[int, int, int]:
        """ok, partial, failed: by the parts each item names and the keys each part should have."""
        wanted = np.zeros(self.rows, int)
        got = np.zeros(self.rows, int)
        for plan in self.plans:
            wanted += self.named[plan.encoder.card.modality]
            got += self.has[plan.key]
        ok = int((got == wanted).sum())
        failed = int(((got == 0) & (wanted > 0)).sum())
        return ok, self.rows - ok - failed, failed


def _by_row(pair: tuple[int, Failure]) -> tuple[int, str]:
    """By key within a row: parts fail in any order, as some are copied from other rows."""
    return pair[0], pair[1].key
