"""Each distinct file of an extraction once: finds the twins, and reads finished shards back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.data.source import Source
from mmcli.data.twins import Twins, find_twins
from mmcli.engine.reuse import Reuse
from mmcli.engine.shards import KeyPlan
from mmcli.store.parquet import open_parquet
from mmcli.store.tensors import TensorFile
from mmcli.store.writer import ShardRecord


def twins_of(source: Source, plans: Sequence[KeyPlan]) -> dict[str, Twins]:
    """The rows of a source that name the same content, by modality."""
    wanted = {plan.encoder.card.modality for plan in plans} & set(source.modalities) - {"text"}
    return {modality: find_twins(source, modality) for modality in sorted(wanted)}


def reuse_of(twins: Mapping[str, Twins], store: Path, records: Mapping[int, ShardRecord]) -> Reuse:
    """What may be copied between the rows of a source.

    records: the shards that this run has written, by index, as they come.
    """
    return Reuse(twins, lambda index, rows: FinishedRows(store, records[index], rows))


@dataclass
class FinishedRows:
    """Some rows of a shard on the disk."""

    store: Path
    record: ShardRecord
    rows: Sequence[int]
    _columns: dict[str, list[Any]] = field(default_factory=dict)

    def has(self, plan: KeyPlan) -> Sequence[bool]:
        """Whether each row has that embedding."""
        return [bool(value) for value in self.column(f"has_{plan.slug}")]

    def vectors(self, plan: KeyPlan) -> Any:
        """The embeddings `(rows, dim)`."""
        return self._held(plan, "vectors", self._read_vectors)

    def tokens(self, plan: KeyPlan) -> Sequence[Any]:
        """The sequences, one array a row."""
        return self._held(plan, "tokens", self._read_tokens)

    def column(self, name: str) -> Sequence[Any]:
        """Values of a column of the items."""
        if name not in self._columns:
            file = open_parquet(self.store / self.record.items)
            values = file.read([name]).column(name).take(np.array(self.rows))
            self._columns[name] = values.to_pylist()
        return self._columns[name]

    def _held(self, plan: KeyPlan, what: str, read: Callable[[TensorFile], Any]) -> Any:
        name = f"{what} of {plan.key}"
        if name not in self._columns:
            self._columns[name] = read(TensorFile(self.store / self.record.keys[plan.key]))
        return self._columns[name]

    def _read_vectors(self, file: TensorFile) -> list[Any]:
        return [file.read("embeddings", row, row + 1)[0] for row in self.rows]

    def _read_tokens(self, file: TensorFile) -> list[Any]:
        offsets = file.read("offsets")
        return [file.read("values", int(offsets[r]), int(offsets[r + 1])) for r in self.rows]
