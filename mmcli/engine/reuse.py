"""Rows that name content which another row has: their vectors are copied, not computed again.

Twins in one shard are copied in memory, those of earlier shards read back from the files that this
run wrote. As a row's bits do not hang on who shares its batch, the store is the same either way.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mmcli.data.decode import PartTask
from mmcli.engine.shards import KeyPlan, ShardBuffer, ShardRange

Fail = Callable[[ShardBuffer, int, str, str, str], None]


class TwinRows(Protocol):
    """What is needed of `data/twins.py`."""

    @property
    def first(self) -> Any: ...

    def between(self, start: int, stop: int) -> dict[int, int]: ...


class Recalled(Protocol):
    """Rows of a finished shard, in the order they were asked for."""

    def has(self, plan: KeyPlan) -> Sequence[bool]: ...

    def vectors(self, plan: KeyPlan) -> Any: ...

    def tokens(self, plan: KeyPlan) -> Sequence[Any]: ...

    def column(self, name: str) -> Sequence[Any]: ...


class Reuse:
    """Leaves out tasks whose content is known, and fills in their rows when a shard ends.

    twins: by modality. recall: gives rows of a finished shard of this run, by its index.
    """

    def __init__(
        self,
        twins: Mapping[str, TwinRows],
        recall: Callable[[int, Sequence[int]], Recalled],
    ) -> None:
        self.copied = 0
        self._twins = {m: found for m, found in twins.items() if len(found.first)}
        self._firsts = {m: np.unique(found.first) for m, found in self._twins.items()}
        self._recall = recall
        self._shards: Sequence[ShardRange] = ()
        self._homes: dict[tuple[str, int], int] = {}
        self._left: dict[int, list[tuple[PartTask, int]]] = {}
        self._noted: dict[tuple[str, int], list[str]] = {}

    def begin(self, shards: Sequence[ShardRange]) -> None:
        """Only rows of these shards are embedded in this run."""
        self._shards = sorted(shards, key=lambda shard: shard.start)
        self._starts = [shard.start for shard in self._shards]

    def remaining(self, buffer: ShardBuffer, tasks: Sequence[PartTask]) -> list[PartTask]:
        """The tasks of a shard that have to be done."""
        if not self._twins:
            return list(tasks)
        shard, left = buffer.range, list[tuple[PartTask, int]]()
        known = {m: twins.between(shard.start, shard.stop) for m, twins in self._twins.items()}
        todo = []
        for task in tasks:
            row = shard.start + task.row
            first = known.get(task.modality, {}).get(row) if task.is_path else None
            home = None if first is None else self._home(task.modality, first, row)
            if home is None:
                todo.append(task)
            else:
                left.append((task, home))
        if left:
            self._left[shard.index] = left
        return todo

    def settle(
        self, buffer: ShardBuffer, plans: Mapping[str, Sequence[KeyPlan]], fail: Fail
    ) -> list[PartTask]:
        """Fill in the rows that were left out; gives the tasks that have to be done after all.

        plans: by modality. For a twin whose first failed there is nothing to copy from a file.
        """
        here, earlier = list[tuple[PartTask, int]](), dict[int, list[tuple[PartTask, int]]]()
        for task, home in self._left.pop(buffer.range.index, []):
            if home >= buffer.range.start:
                here.append((task, home - buffer.range.start))
            else:
                earlier.setdefault(bisect_right(self._starts, home) - 1, []).append((task, home))
        again: list[PartTask] = []
        for number, wanted in earlier.items():
            again += self._from_file(buffer, self._shards[number], wanted, plans)
        for task, home in here:
            buffer.copy(task.modality, home, task.row, plans[task.modality])
            for key, error, message in buffer.failed(task.modality, home):
                fail(buffer, task.row, key, error, message)
        self.copied += len(here) + sum(map(len, earlier.values())) - len(again)
        self._remember(buffer)
        return again

    def _home(self, modality: str, first: int, row: int) -> int | None:
        """The row of this run that the content is taken from, None when it is this one."""
        at = bisect_right(self._starts, first) - 1
        if at >= 0 and first < self._shards[at].stop:
            return first
        home = self._homes.setdefault((modality, first), row)
        return None if home == row else home

    def _from_file(
        self,
        buffer: ShardBuffer,
        shard: ShardRange,
        wanted: Sequence[tuple[PartTask, int]],
        plans: Mapping[str, Sequence[KeyPlan]],
    ) -> list[PartTask]:
        again = []
        found = self._recall(shard.index, [home - shard.start for _, home in wanted])
        has = {p.key: found.has(p) for task, _ in wanted for p in plans[task.modality]}
        for position, (task, home) in enumerate(wanted):
            mine = plans[task.modality]
            if not all(has[plan.key][position] for plan in mine):
                again.append(task)
                continue
            for plan in mine:
                vector = found.vectors(plan)[position]
                tokens = found.tokens(plan)[position] if plan.sequence else None
                buffer.put(plan, task.row, vector, tokens)
                for name in plan.encoder.card.columns if plan.layer is None else ():
                    buffer.columns[name][task.row] = found.column(name)[position]
            for note in self._noted.get((task.modality, home), ()):
                buffer.note_row(task.modality, task.row, note)
        return again

    def _remember(self, buffer: ShardBuffer) -> None:
        """Keep what was noted of rows that later ones are copies of."""
        homes = {(modality, row) for (modality, _), row in self._homes.items()}
        for (modality, row), notes in buffer.row_notes.items():
            whole = buffer.range.start + row
            firsts = self._firsts.get(modality)
            if firsts is None:
                continue
            at = int(np.searchsorted(firsts, whole))
            mine = at < len(firsts) and firsts[at] == whole
            if mine or (modality, whole) in homes:
                self._noted[modality, whole] = notes
