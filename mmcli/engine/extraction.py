"""The extraction pipeline: read → decode → batch → forward → write, each stage ahead of the next.

Decoding runs in processes of its own, writing in a thread, the model here. What waits between the
stages is bounded by a few batches however long the source is. Batches never cross a shard, so a
shard's bytes depend on its rows alone. Knows no model and no file format.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.core.types import Encoder, Output, Prepared
from mmcli.data.decode import PartResult, PartTask
from mmcli.data.places import locate
from mmcli.data.recipes import Waveform
from mmcli.data.scripts import uncovered_script
from mmcli.data.segments import spans_of
from mmcli.engine.batching import cut
from mmcli.engine.decoding import Decoded, DecodePool
from mmcli.engine.encode import forward, pool
from mmcli.engine.memory import give_back
from mmcli.engine.reuse import Reuse
from mmcli.engine.shards import KeyPlan, ShardBuffer, ShardRange, ShardResult

#: Parts in one message to a worker: enough to hide the message, few enough to keep memory small.
CHUNK = {"image": 16, "text": 64, "speech": 2, "video": 2}


class Rows(Protocol):
    """What the pipeline needs of a source."""

    root: str
    text_is_path: bool
    modalities: Sequence[str]

    def rows(self, start: int, stop: int) -> pa.Table: ...


@dataclass
class Timings:
    """Seconds a stage was busy. Decoding overlaps the rest; `wait_s` is what it held up."""

    read_s: float = 0.0
    decode_s: float = 0.0
    prepare_s: float = 0.0
    forward_s: float = 0.0
    write_s: float = 0.0
    wait_s: float = 0.0


@dataclass
class _Group:
    """The keys that share one trunk, and the rows that wait for a batch."""

    lead: Encoder
    plans: list[KeyPlan]
    recipe_at: int
    rows: list[int] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)


class Extraction:
    """Runs the encoders of `plans` over shards of a source.

    batch: rows in a batch, None for each encoder's own budget. fail_fast: the first part that
    fails ends the run, by its row of the source `name`. reuse: what is copied between rows.
    on_progress: called with the number of parts done.
    """

    def __init__(
        self,
        plans: Sequence[KeyPlan],
        *,
        batch: int | None = None,
        fail_fast: bool = False,
        name: str = "",
        reuse: Reuse | None = None,
        on_progress: Callable[[int], None] = lambda parts: None,
    ) -> None:
        self.plans = list(plans)
        self.batch = batch
        self.fail_fast = fail_fast
        self.name = name
        self._root = ""
        self.reuse = reuse
        self.on_progress = on_progress
        self.timings = Timings()
        self.recipes: dict[str, tuple[Any, ...]] = {}
        self.groups: dict[str, list[_Group]] = {}
        self._parts_done = 0
        self._writing: Future[None] | None = None
        self._group_plans()

    def _group_plans(self) -> None:
        by_trunk: dict[Hashable, _Group] = {}
        for plan in self.plans:
            encoder = plan.encoder
            modality = encoder.card.modality
            recipes = self.recipes.get(modality, ())
            if encoder.recipe not in recipes:
                recipes += (encoder.recipe,)
                self.recipes[modality] = recipes
            trunk = (modality, encoder.trunk_key)
            if trunk not in by_trunk:
                group = _Group(encoder, [], recipes.index(encoder.recipe))
                by_trunk[trunk] = group
                self.groups.setdefault(modality, []).append(group)
            by_trunk[trunk].plans.append(plan)

    def run(
        self,
        source: Rows,
        shards: Sequence[ShardRange],
        decoders: DecodePool,
        write: Callable[[ShardResult], object],
    ) -> None:
        """Extract every shard, in order; `write` runs in a thread of its own, one shard behind."""
        self._root = source.root
        if self.reuse is not None:
            self.reuse.begin(shards)
        with ThreadPoolExecutor(1, thread_name_prefix="mmcli-write") as writer:
            for buffer in self._filled(source, shards, decoders):
                result = buffer.finish()
                self._wait_for_writer()
                self._writing = writer.submit(self._write, write, result)
            self._wait_for_writer()

    def _wait_for_writer(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, write: Callable[[ShardResult], object], result: ShardResult) -> None:
        began = time.perf_counter()
        write(result)
        give_back()
        self.timings.write_s += time.perf_counter() - began

    def _filled(
        self, source: Rows, shards: Sequence[ShardRange], decoders: DecodePool
    ) -> Iterator[ShardBuffer]:
        for buffer, results in self._decoded(source, shards, decoders):
            if results is None:
                self._flush_all(buffer)
                self._settle(buffer, decoders)
                yield buffer
                continue
            for result in results:
                self._take(buffer, result)

    def _flush_all(self, buffer: ShardBuffer) -> None:
        for groups in self.groups.values():
            for group in groups:
                self._flush(buffer, group)

    def _settle(self, buffer: ShardBuffer, decoders: DecodePool) -> None:
        """Give the rows that were left out what their twins have."""
        if self.reuse is None:
            return
        self._wait_for_writer()  # twins may lie in the shard that is being written
        plans = {m: [p for g in groups for p in g.plans] for m, groups in self.groups.items()}
        for chunk in _chunks(self.reuse.settle(buffer, plans, self._fail)):
            results, _, _ = decoders.result(decoders.submit(chunk), chunk)
            for result in results:
                self._take(buffer, result)
        self._flush_all(buffer)
        self.on_progress(self._parts_done + self.reuse.copied)

    def _decoded(
        self, source: Rows, shards: Sequence[ShardRange], decoders: DecodePool
    ) -> Iterator[tuple[ShardBuffer, list[PartResult] | None]]:
        """Decoded parts in order, a chunk at a time; None marks the end of a shard."""
        ahead = 4 + 2 * decoders.workers if decoders.workers else 0
        waiting: deque[tuple[ShardBuffer, Future[Decoded] | None, list[PartTask]]] = deque()
        for shard in shards:
            began = time.perf_counter()
            buffer = ShardBuffer(shard, source.rows(shard.start, shard.stop), self.plans)
            tasks = list(self._tasks(buffer, source))
            if self.reuse is not None:
                tasks = self.reuse.remaining(buffer, tasks)
            self.timings.read_s += time.perf_counter() - began
            literal = [t for t in tasks if not t.is_path]
            if literal:
                results = [
                    PartResult(t.row, t.modality, (t.value,) * len(self.recipes["text"]))
                    for t in literal
                ]
                done: Future[Decoded] = Future()
                done.set_result((results, 0.0, 0.0))
                waiting.append((buffer, done, literal))
            for chunk in _chunks([t for t in tasks if t.is_path]):
                waiting.append((buffer, decoders.submit(chunk), chunk))
                while len(waiting) > ahead:
                    yield self._next(waiting, decoders)
            waiting.append((buffer, None, []))
            while len(waiting) > ahead or sum(f is None for _, f, _ in waiting) > 1:
                yield self._next(waiting, decoders)
        while waiting:
            yield self._next(waiting, decoders)

    def _next(
        self,
        waiting: "deque[tuple[ShardBuffer, Future[Decoded] | None, list[PartTask]]]",
        decoders: DecodePool,
    ) -> tuple[ShardBuffer, list[PartResult] | None]:
        buffer, future, tasks = waiting.popleft()
        if future is None:
            return buffer, None
        began = time.perf_counter()
        results, read_s, decode_s = decoders.result(future, tasks)
        self.timings.wait_s += time.perf_counter() - began
        self.timings.read_s += read_s
        self.timings.decode_s += decode_s
        return buffer, results

    def _tasks(self, buffer: ShardBuffer, source: Rows) -> Iterator[PartTask]:
        wanted = [m for m in source.modalities if m in self.groups]
        if source.text_is_path and "text" in source.modalities:
            buffer.texts = [None] * buffer.rows
            if "text" not in wanted:
                wanted.append("text")
                self.recipes.setdefault("text", ())
        for modality in self.groups:
            buffer.named[modality] = np.zeros(buffer.rows, bool)
        columns = {m: buffer.table.column(m).to_pylist() for m in wanted}
        spans = {m: spans_of(buffer.table, m, source.text_is_path) for m in wanted}
        for row in range(buffer.rows):
            for modality in wanted:
                value = columns[modality][row]
                if value is None or not value.strip():
                    continue
                if modality in self.groups:
                    buffer.named[modality][row] = True
                is_path = modality != "text" or source.text_is_path
                where = locate(source.root, value) if is_path else value
                yield PartTask(row, modality, where, is_path, spans[modality][row])

    def _take(self, buffer: ShardBuffer, result: PartResult) -> None:
        if result.seen is not None:
            buffer.seen[result.seen.place] = result.seen
        if buffer.texts is not None and result.modality == "text":
            buffer.texts[result.row] = result.text
        groups = self.groups.get(result.modality)
        if not groups:
            return
        if result.values is None:
            key = groups[0].plans[0].key
            self._fail(buffer, result.row, key, result.error, result.message)
            return
        for group in groups:
            value = result.values[group.recipe_at]
            group.rows.append(result.row)
            group.parts.append(value)
            if isinstance(value, Waveform) and value.truncated:
                buffer.note_row(result.modality, result.row, f"{group.plans[0].key}:truncated")
            window = self.batch if group.lead.window and self.batch else group.lead.window
            if window is not None and len(group.rows) >= window:
                self._flush(buffer, group)

    def _fail(self, buffer: ShardBuffer, row: int, key: str, error: str, message: str) -> None:
        modality = key.split(":")[0].split("@")[0]
        source = str(buffer.table.column(modality)[row].as_py() or "")
        if modality == "text" and buffer.texts is None:
            source = source[:80]
        failure = buffer.fail(row, key, source, error, message)
        if self.fail_fast:
            where = f"{self.name}:row {buffer.range.start + row + 1}: " if self.name else ""
            hint = "`--on-error skip` goes on and lists what failed"
            if error == "missing" and self._root:
                hint = f"paths are relative to `{self._root}`; {hint}"
            raise BadInput(f"{where}item `{failure.id}`: {modality} `{source}`: {message}", hint)

    def _flush(self, buffer: ShardBuffer, group: _Group) -> None:
        if not group.rows:
            return
        rows, group.rows = group.rows, []
        parts, group.parts = group.parts, []
        began = time.perf_counter()
        prepared = group.lead.prepare(parts)
        self.timings.prepare_s += time.perf_counter() - began
        self._count_notes(buffer, group, rows, parts, prepared)
        for members in cut(prepared, group.lead.budget, self.batch):
            self._forward(buffer, group, [rows[i] for i in members], [prepared[i] for i in members])
            self._parts_done += len(members)
            self.on_progress(self._parts_done)

    def _count_notes(
        self,
        buffer: ShardBuffer,
        group: _Group,
        rows: list[int],
        parts: list[Any],
        prepared: list[Prepared],
    ) -> None:
        for plan in group.plans:
            if plan.layer is not None:
                continue
            for row, one in zip(rows, prepared, strict=True):
                if one.truncated:
                    modality = plan.encoder.card.modality
                    buffer.note_row(modality, row, f"{plan.key}:truncated")
            scripts = plan.encoder.card.scripts
            if plan.encoder.card.modality == "text" and scripts:
                for text in parts:
                    script = uncovered_script(text, scripts)
                    if script:
                        buffer.note(f"{plan.key}:script:{script}")

    def _forward(
        self, buffer: ShardBuffer, group: _Group, rows: list[int], prepared: list[Prepared]
    ) -> None:
        """One batch; halved and tried again when memory does not hold it."""
        began = time.perf_counter()
        try:
            features = forward(group.lead, prepared)
            outputs = [pool(p.encoder, features, p.sequence, p.layer) for p in group.plans]
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(rows) == 1:
                for plan in group.plans:
                    self._fail(
                        buffer, rows[0], plan.key, "memory", "one row does not fit in memory"
                    )
                return
            half = len(rows) // 2
            self._forward(buffer, group, rows[:half], prepared[:half])
            self._forward(buffer, group, rows[half:], prepared[half:])
            return
        finally:
            self.timings.forward_s += time.perf_counter() - began
        for plan, output in zip(group.plans, outputs, strict=True):
            self._keep(buffer, plan, rows, output)

    def _keep(self, buffer: ShardBuffer, plan: KeyPlan, rows: list[int], output: Output) -> None:
        vectors = output.pooled.numpy()[:, : plan.dim]
        if plan.dim < output.pooled.shape[1] and plan.encoder.card.normalized:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.where(lengths > 0, lengths, 1)
        for position, row in enumerate(rows):
            tokens = None if output.sequence is None else output.sequence[position].numpy()
            if not buffer.put(plan, row, vectors[position], tokens):
                self._fail(buffer, row, plan.key, "non-finite", "the encoder gave NaN or infinity")
        if plan.layer is None:
            for name, values in (output.columns or {}).items():
                for position, row in enumerate(rows):
                    buffer.columns[name][row] = values[position]


def _chunks(tasks: list[PartTask]) -> Iterator[list[PartTask]]:
    """Tasks in order, gathered by modality so that a long recording travels with few others."""
    gathered: dict[str, list[PartTask]] = {}
    for task in tasks:
        chunk = gathered.setdefault(task.modality, [])
        chunk.append(task)
        if len(chunk) == CHUNK.get(task.modality, 4):
            yield gathered.pop(task.modality)
    yield from gathered.values()


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in text
        or "not enough memory" in text
    )
