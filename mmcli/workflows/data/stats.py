"""`data stats`: what is in a source or a store, counted. Prints nothing.

Every file is looked at by its header, every column is counted; memory is a few bytes a row.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from mmcli.data.decode import PartTask
from mmcli.data.probes import PartFacts, Probing
from mmcli.data.tallies import ColumnTally, Spread
from mmcli.engine.probing import probe_all
from mmcli.workflows.data.items import Items, open_items

#: What is measured of the parts of a modality, in order, and the counts that are kept of them.
_MEASURES = {
    "image": ("width", "height", "size_bytes"),
    "text": ("characters", "words"),
    "speech": ("duration_s", "size_bytes"),
    "video": ("duration_s", "width", "height", "size_bytes"),
}
_COUNTS = {
    "image": {"formats": "format"},
    "text": {"languages": "language", "scripts": "script"},
    "speech": {"formats": "format", "rates_hz": "rate_hz", "channels": "channels"},
    "video": {"formats": "format"},
}
_UNNAMED = {"languages": "unsure"}
#: How many items without a part, or with a broken one, are named.
_EXAMPLES = 3


@dataclass(frozen=True)
class StatsConfig:
    """What `mmcli data stats` can be told."""

    source: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    workers: int | None = None


class _Part:
    """What is known of the parts of one modality."""

    def __init__(self, modality: str) -> None:
        self.modality = modality
        self.present = 0
        self.broken: Counter[str] = Counter()
        self.examples: list[str] = []
        self.spreads = {name: Spread() for name in _MEASURES[modality]}
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in _COUNTS[modality]}

    def see(self, facts: PartFacts, where: str) -> None:
        self.present += 1
        if facts.error:
            self.broken[facts.error] += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(f"{where}: {facts.message}")
            return
        for name, spread in self.spreads.items():
            spread.add(float(getattr(facts, name)))
        for name, attribute in _COUNTS[self.modality].items():
            self.counts[name][str(getattr(facts, attribute) or _UNNAMED.get(name, "none"))] += 1

    def report(self, rows: int) -> dict[str, Any]:
        found: dict[str, Any] = {"present": self.present, "missing": rows - self.present}
        found["broken"] = dict(self.broken.most_common())
        if self.examples:
            found["examples"] = self.examples
        for name, spread in self.spreads.items():
            found[name] = spread.summary()
        for total, name in (("total_bytes", "size_bytes"), ("total_s", "duration_s")):
            if name in self.spreads:
                found[total] = self.spreads[name].total()
        for name, counts in self.counts.items():
            found[name] = dict(counts.most_common(20))
        return found


def stats(
    config: StatsConfig,
    stdin: BinaryIO | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Count everything and report it."""
    with open_items(config.source, config.mapping, config.root, stdin) as items:
        parts = {part: _Part(part) for part in items.parts}
        columns = {n: ColumnTally(items.reader.schema.field(n).type) for n in items.columns}
        together: Counter[str] = Counter()
        where: dict[tuple[int, str], str] = {}

        def tasks() -> Any:
            for start, table in items.blocks():
                for name, tally in columns.items():
                    tally.see(table.column(name))
                together.update(_combinations(items, table))
                for task in items.tasks(start, table):
                    where[task.row, task.modality] = _named(task, table, start)
                    yield task

        done = -1
        for facts in probe_all(tasks(), Probing(language=True), items.workers(config.workers)):
            parts[facts.modality].see(facts, where.pop((facts.row, facts.modality)))
            if facts.row != done:
                done = facts.row
                progress(done + 1, items.n_items)
        return {
            "source": items.spec,
            "kind": items.kind,
            "rows": items.n_items,
            "parts": {part: found.report(items.n_items) for part, found in parts.items()},
            "together": dict(together.most_common()),
            "columns": {name: tally.summary() for name, tally in columns.items()},
            "ignored": dict(sorted(items.ignored.items())),
            "warnings": _warnings(parts),
        }


def _combinations(items: Items, table: pa.Table) -> Counter[str]:
    """How many rows have which parts: `image+text`."""
    columns = [(part, table.column(part).to_pylist()) for part in items.parts]
    found: Counter[str] = Counter()
    for row in range(table.num_rows):
        names = [part for part, values in columns if values[row] and values[row].strip()]
        found["+".join(names) or "none"] += 1
    return found


def _named(task: PartTask, table: pa.Table, start: int) -> str:
    item = table.column("id")[task.row - start].as_py()
    return f"{item}: {task.modality} `{task.value[:80]}`" if task.is_path else f"{item}: text"


def _warnings(parts: Mapping[str, _Part]) -> list[str]:
    found = []
    for name, part in parts.items():
        unseen = part.broken.pop("unseen", 0)
        if unseen:
            found.append(f"{unseen} {name} parts were not looked at: {part.examples[0]}")
        if part.broken:
            total = sum(part.broken.values())
            found.append(f"{total} {name} parts cannot be used (first: {part.examples[0]})")
    return found
