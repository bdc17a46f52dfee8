"""`data validate`: what is wrong with data, a finding at a time. Prints nothing.

Looks at every file once, then at what rows have in common. What is said of a finding is in
`data_findings`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO

import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.decode import PartTask
from mmcli.data.label_problems import LabelWatch
from mmcli.data.probes import PartFacts, Probing
from mmcli.data.split_file import FOLD_COLUMN, SPLIT_COLUMN, SplitFile
from mmcli.engine.probing import probe_all
from mmcli.store.reader import Store
from mmcli.workflows.data.findings import (
    CHECKS,
    Context,
    Finding,
    duplicates,
    label_findings,
    leaks,
    near_findings,
    odd_durations,
    part_finding,
)
from mmcli.workflows.data.items import Items, open_items
from mmcli.workflows.data.ledger import SPAN_COLUMNS, Ledger, hashed

LABEL_COLUMN = "label"


@dataclass(frozen=True)
class ValidateConfig:
    """What `mmcli data validate` can be told.

    store, near: embeddings of these items, and the key (`KEY:COSINE`) that finds near duplicates.
    label, split_column: None is `label` and `split` where the data have them.
    """

    source: str
    store: str | None = None
    near: str | None = None
    checks: tuple[str, ...] = ()
    deep: bool = False
    label: str | None = None
    split_column: str | None = None
    split_file: str | None = None
    group_by: str | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    workers: int | None = None


@contextmanager
def validate(
    config: ValidateConfig,
    stdin: BinaryIO | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[int, Iterator[Finding]]]:
    """How many items there are, and what is wrong with them, as it is found.

    Raises BadInput when an option names what is not there.
    """
    for check in config.checks:
        if check not in CHECKS:
            raise UsageError(f"`--checks {check}` is unknown", suggestion(check, CHECKS))
    with open_items(config.source, config.mapping, config.root, stdin) as items:
        store = _store(config, items)
        columns = _columns(config, items)
        splits = _split_file(config, items, warn)
        yield items.n_items, _findings(config, items, store, columns, splits, progress, warn)


def _store(config: ValidateConfig, items: Items) -> Store | None:
    if config.near is None:
        if config.store is not None:
            raise UsageError("`--store` needs `--near`", "name the key: `--near image:0.98`")
        return None
    store = items.store if config.store is None else Store.open(config.store)
    if store is None:
        raise UsageError("`--near` needs embeddings", "name their store: `--store STORE`")
    return store


def _columns(config: ValidateConfig, items: Items) -> dict[str, str | None]:
    """The columns that say label, split and group; None where there is none."""
    names = items.reader.schema.names
    found: dict[str, str | None] = {}
    for what, wanted, usual in (
        ("--label", config.label, LABEL_COLUMN),
        ("--split-column", config.split_column, SPLIT_COLUMN),
        ("--group-by", config.group_by, ""),
    ):
        if wanted is not None and wanted not in names:
            raise BadInput(
                f"`{what} {wanted}`: `{config.source}` has no such column",
                suggestion(wanted, names),
            )
        found[what] = wanted or (usual if usual in names else None)
    return found


def _split_file(
    config: ValidateConfig, items: Items, warn: Callable[[str], None]
) -> Mapping[str, str] | None:
    """The split, or fold, of each id in a split file.

    Raises BadInput when it names none of the items; what it lacks, or has too much, is a warning.
    """
    if config.split_file is None:
        return None
    file = SplitFile(config.split_file)
    column = next((c for c in (SPLIT_COLUMN, FOLD_COLUMN) if c in file.columns), None)
    if column is None or "id" not in file.columns:
        raise BadInput(
            f"`{config.split_file}` has no columns id and split", "`mmcli data split` writes one"
        )
    ids, values = file.rows(column)
    names = values.cast(pa.string()).to_pylist()
    found = {i: name for i, name in zip(ids.to_pylist(), names, strict=True) if i and name}
    there = set(chain.from_iterable(t.column("id").to_pylist() for _, t in items.blocks()))
    strange = [i for i in found if i not in there]
    if len(strange) == len(found):
        shown = f": `{strange[0]}` is its first" if strange else ""
        raise BadInput(
            f"`{config.split_file}` names no item of `{config.source}`{shown}",
            "it belongs to other data: split again",
        )
    if strange:
        warn(
            f"{len(strange)} of {len(found)} ids of `{config.split_file}` are not in"
            f" `{config.source}` (first: `{strange[0]}`)"
        )
    unnamed = items.n_items - len(found) + len(strange)
    if unnamed > 0:
        warn(f"`{config.split_file}` gives no {column} to {unnamed} of {items.n_items} items")
    return found


def _findings(
    config: ValidateConfig,
    items: Items,
    store: Store | None,
    columns: Mapping[str, str | None],
    splits: Mapping[str, str] | None,
    progress: Callable[[int, int], None],
    warn: Callable[[str], None],
) -> Iterator[Finding]:
    checks = set(config.checks or CHECKS)
    ledger = Ledger(items.n_items, items.parts)
    label = columns["--label"]
    watch = LabelWatch(label, items.reader.schema.field(label).type) if label else None
    looked = _Pass(config, items, ledger, columns, splits, watch)
    for finding in looked.run(progress):
        if finding.check in checks:
            yield finding
    for message in looked.unseen:
        warn(message)
    context = Context(items, ledger, checks)
    yield from duplicates(context)
    if store is not None and config.near is not None:
        yield from near_findings(context, store, config.near)
    yield from odd_durations(context, config.min_duration_s, config.max_duration_s)
    if watch is not None:
        yield from label_findings(context, watch)
    yield from leaks(context, columns["--group-by"])


class _Pass:
    """The one look at every row and file: notes all, and finds what is wrong with single parts."""

    def __init__(
        self,
        config: ValidateConfig,
        items: Items,
        ledger: Ledger,
        columns: Mapping[str, str | None],
        splits: Mapping[str, str] | None,
        watch: LabelWatch | None,
    ) -> None:
        self._config = config
        self._items = items
        self._ledger = ledger
        self._columns = columns
        self._splits = splits
        self._watch = watch
        self._waiting: dict[tuple[int, str], tuple[PartTask, str, str]] = {}
        self._spans: dict[int, str] = {}
        self._ids: dict[int, str] = {}
        self._closed = 0
        self._unseen: dict[str, int] = {}

    @property
    def unseen(self) -> list[str]:
        """What could not be looked at because a package is missing."""
        return [f"{count} parts were not looked at: {why}" for why, count in self._unseen.items()]

    def run(self, progress: Callable[[int, int], None]) -> Iterator[Finding]:
        probing = Probing(digest=True, deep=self._config.deep)
        workers = self._items.workers(self._config.workers)
        for facts in probe_all(self._tasks(), probing, workers):
            task, item, value = self._waiting.pop((facts.row, facts.modality))
            yield from self._close_rows(facts.row)
            self._ledger.see(task, facts)
            yield from self._wrong(facts, item, value)
            progress(facts.row, self._items.n_items)
        yield from self._close_rows(self._items.n_items)
        progress(self._items.n_items, self._items.n_items)

    def _wrong(self, facts: PartFacts, item: str, value: str) -> Iterator[Finding]:
        if facts.error == "unseen":
            self._unseen[facts.message] = self._unseen.get(facts.message, 0) + 1
        elif facts.error:
            yield part_finding(facts, item, value)

    def _close_rows(self, until: int) -> Iterator[Finding]:
        """Every row before this one was seen whole; one without any part is a finding."""
        while self._closed < until:
            row = self._closed
            self._closed += 1
            whole = self._ledger.close_row(row, self._spans.pop(row, ""))
            if not whole and self._items.parts:  # else the data have no parts: vectors alone
                yield Finding("missing", self._ids[row], "", "", "", "the item has no part")
            self._ids.pop(row, None)

    def _tasks(self) -> Iterator[PartTask]:
        for start, table in self._items.blocks():
            ids = table.column("id").to_pylist()
            self._note(start, table, ids)
            values = {part: table.column(part).to_pylist() for part in self._items.parts}
            for task in self._items.tasks(start, table):
                at = task.row - start
                value = str(values[task.modality][at])[:200]
                self._waiting[task.row, task.modality] = (task, ids[at], value)
                yield task

    def _note(self, start: int, table: pa.Table, ids: Sequence[str]) -> None:
        ledger, stop = self._ledger, start + table.num_rows
        self._ids.update(enumerate(ids, start))
        spans = [name for name in SPAN_COLUMNS if name in table.column_names]
        for at, row in enumerate(table.select(spans).to_pylist() if spans else (), start):
            self._spans[at] = str(sorted(row.items()))
        if self._splits is not None:
            ledger.splits(start, [self._splits.get(i) for i in ids])
        elif self._columns["--split-column"]:
            ledger.splits(start, table.column(self._columns["--split-column"]).to_pylist())
        if self._columns["--group-by"]:
            values = table.column(self._columns["--group-by"]).to_pylist()
            ledger.group[start:stop] = hashed(values)
        if self._watch is not None:
            column = table.column(self._watch.name)
            ledger.label[start:stop] = hashed(column.to_pylist())
            self._watch.see(start, column)
