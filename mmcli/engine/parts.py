"""The parts of some rows, decoded and prepared for encoders as often as training needs them.

What was prepared stays in memory while it fits; beyond that each epoch decodes anew, a few batches
ahead of the model. Knows nothing about models beyond `prepare`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.core.types import Encoder, Prepared
from mmcli.data.decode import PartTask
from mmcli.engine.decoding import Decoded, DecodePool

#: Bytes of prepared parts that are kept: 10,000 pictures of 224 pixels.
KEPT_BYTES = 1_500_000_000


@dataclass(frozen=True)
class PartColumn:
    """One modality's parts of all rows: paths, or texts themselves; None where there is none.

    spans: of a recording or video, where rows are segments.
    """

    values: Sequence[str | None]
    are_paths: bool
    spans: Sequence[tuple[float, float] | None] | None = None


@dataclass
class PartReader:
    """Prepared parts by key and row. encoders: by key, each of one modality; names: ids, for
    messages."""

    columns: Mapping[str, PartColumn]
    encoders: Mapping[str, Encoder]
    names: Sequence[str]
    pool: DecodePool
    most_bytes: int = KEPT_BYTES
    kept: dict[tuple[str, int], Prepared] = field(default_factory=dict)
    bytes: int = 0

    def __post_init__(self) -> None:
        self.keys: dict[str, list[str]] = {}
        for key, encoder in self.encoders.items():
            self.keys.setdefault(encoder.card.modality, []).append(key)

    def recipes(self) -> dict[str, tuple[Any, ...]]:
        """What the pool decodes a part of each modality into, in the order of its keys."""
        return {m: tuple(self.encoders[k].recipe for k in keys) for m, keys in self.keys.items()}

    def start(self, rows: Sequence[int]) -> "Pending":
        """Begin to decode what is not kept of these rows; `finish` gives it."""
        futures = []
        for modality, keys in self.keys.items():
            column = self.columns[modality]
            tasks = [
                PartTask(
                    row,
                    modality,
                    str(column.values[row]),
                    column.are_paths,
                    None if column.spans is None else column.spans[row],
                )
                for row in rows
                if column.values[row] is not None
                and any((key, row) not in self.kept for key in keys)
            ]
            if tasks:
                futures.append((tasks, self.pool.submit(tasks)))
        return Pending([int(row) for row in rows], futures)

    def finish(self, pending: "Pending") -> dict[str, dict[int, Prepared]]:
        """The prepared parts by key and row; a row without the part is left out.

        Raises BadInput, naming the row, for a part that could be read when features were
        extracted and cannot be now.
        """
        found: dict[str, dict[int, Prepared]] = {key: {} for key in self.encoders}
        for tasks, future in pending.futures:
            results, _, _ = self.pool.result(future, tasks)
            self._prepare(tasks, results, found)
        for key, mine in found.items():
            for row in pending.rows:
                held = self.kept.get((key, row))
                if held is not None:
                    mine[row] = held
        return found

    def _prepare(self, tasks: Any, results: Any, found: dict[str, dict[int, Prepared]]) -> None:
        modality = tasks[0].modality
        for result in results:
            if result.values is None:
                raise BadInput(
                    f"{self.names[result.row]}: {modality} cannot be read: {result.message}",
                    "it could when the features were extracted: restore the file, or extract again",
                )
        for number, key in enumerate(self.keys[modality]):
            prepared = self.encoders[key].prepare([result.values[number] for result in results])
            for result, one in zip(results, prepared, strict=True):
                found[key][result.row] = one
                if self.bytes < self.most_bytes:
                    self.kept[key, result.row] = one
                    self.bytes += size_of(one.data)

    def close(self) -> None:
        """Stop decoding."""
        self.pool.close()


@dataclass(frozen=True)
class Pending:
    """Rows whose parts are being decoded."""

    rows: list[int]
    futures: list[tuple[list[PartTask], "Future[Decoded]"]]


def size_of(value: Any) -> int:
    """Bytes of the arrays in a prepared part, however they are nested."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if hasattr(value, "element_size"):
        return int(value.element_size() * value.nelement())
    if isinstance(value, list | tuple):
        return sum(size_of(one) for one in value)
    if isinstance(value, Mapping):
        return sum(size_of(one) for one in value.values())
    inner = getattr(value, "__dict__", None)
    if inner:
        return sum(size_of(one) for one in inner.values())
    return int(np.dtype(np.int64).itemsize)
