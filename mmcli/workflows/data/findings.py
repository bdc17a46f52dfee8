"""What is said of everything that validation finds: which item, which part, what about it.

Reads the ledger and the names of the few rows that are found. Looks at no file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmcli.data.label_problems import LabelWatch
from mmcli.data.probes import PartFacts
from mmcli.store.reader import Store
from mmcli.store.rows import StoreRows
from mmcli.workflows.data.items import Items
from mmcli.workflows.data.ledger import Ledger, Numbers, across, repeats

#: Every check, in the order in which findings come, and what it looks for.
CHECKS = {
    "missing": "a file that is not there, an item without any part",
    "broken": "a file that cannot be read: empty, cut short, not what its name says",
    "duplicate": "equal items, and equal files under different names",
    "near-duplicate": "embeddings that are almost the same (--near)",
    "duration": "recordings and videos much shorter or longer than the others",
    "label": "missing labels, classes of one row, two spellings, equal items labelled otherwise",
    "leak": "equal items, files or groups in different splits",
}
#: Shorter than this is no recording of anything.
_SHORTEST_S = 0.05
#: How many robust standard deviations of its logarithm a duration may be from the median, and the
#: factor that is odd at least.
_DEVIATIONS, _FACTOR = 6.0, 10.0
_MAD_TO_SIGMA = 1.4826
_NAMED_AT_ONCE = 4_096


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. value: a path, or what else is meant; other: the other item."""

    check: str
    id: str
    part: str
    value: str
    other: str
    message: str


@dataclass(frozen=True)
class Context:
    """What findings are made of. checks: those that were asked for."""

    items: Items
    ledger: Ledger
    checks: set[str]


def part_finding(facts: PartFacts, item: str, value: str) -> Finding:
    """A part that cannot be used."""
    check = "missing" if facts.error == "missing" else "broken"
    return Finding(check, item, facts.modality, value, "", facts.message)


def duplicates(context: Context) -> Iterator[Finding]:
    """Items equal in all parts, then files equal in content. Across splits they are leaks."""
    ledger = context.ledger
    rows, first = repeats(ledger.item)
    again = np.zeros(ledger.rows, bool)
    again[rows] = True
    yield from _pairs(context, rows, first, "", "all its parts are those of the other item")
    for part, place in ledger.place.items():
        rows, first = repeats(ledger.content[part])
        kept = (place[rows] != place[first]) & ~again[rows]
        message = f"its {part} is that of the other item under another name"
        yield from _pairs(context, rows[kept], first[kept], part, message)


def _pairs(
    context: Context, rows: Numbers, first: Numbers, part: str, message: str
) -> Iterator[Finding]:
    ledger = context.ledger
    leak = np.zeros(len(rows), bool)
    if "leak" in context.checks:
        here, there = ledger.split[rows], ledger.split[first]
        leak = (here != there) & (here != 0) & (there != 0)
    for at, ((name, value), (other, _)) in _named(context, part, rows, first):
        row, earlier = int(rows[at]), int(first[at])
        if leak[at]:
            between = f"in {ledger.split_of(row)} and {ledger.split_of(earlier)}: {message}"
            yield Finding("leak", name, part, value, other, between)
        elif "duplicate" in context.checks:
            yield Finding("duplicate", name, part, value, other, message)


def near_findings(context: Context, store: Store, near: str) -> Iterator[Finding]:
    """Rows of a store with almost the same embedding, unless their files are equal anyway."""
    from mmcli.index.near_duplicates import near_duplicates
    from mmcli.workflows.store.filter import split_threshold

    key, threshold = split_threshold(store, near, "--near")
    if not context.checks & {"near-duplicate", "leak"}:
        return
    found = near_duplicates(store, key, np.arange(store.rows, dtype=np.int64), threshold)
    reader = StoreRows(store, {})
    names = np.unique(np.concatenate([found.rows, found.first]))
    ids = dict(
        zip(names.tolist(), reader.items(names, ["id"]).column("id").to_pylist(), strict=True)
    )
    at_row = _rows_of(context.items, set(ids.values()))
    part, ledger = key.partition(":")[0], context.ledger
    for row, first, cosine in zip(found.rows, found.first, found.cosine, strict=True):
        mine, other = ids[int(row)], ids[int(first)]
        a, b = at_row.get(mine, -1), at_row.get(other, -1)
        message = f"cosine {cosine:.4f} of `{key}`"
        if a >= 0 and b >= 0:
            content = ledger.content.get(part)
            if content is not None and content[a].any() and (content[a] == content[b]).all():
                continue
            splits = {ledger.split_of(a), ledger.split_of(b)}
            if len(splits - {""}) == 2 and "leak" in context.checks:
                between = f"in {ledger.split_of(a)} and {ledger.split_of(b)}: {message}"
                yield Finding("leak", mine, part, "", other, between)
                continue
        if "near-duplicate" in context.checks:
            yield Finding("near-duplicate", mine, part, "", other, message)


def _rows_of(items: Items, wanted: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start, table in items.blocks():
        for at, name in enumerate(table.column("id").to_pylist(), start):
            if name in wanted:
                found[name] = at
    return found


def odd_durations(
    context: Context, shortest: float | None, longest: float | None
) -> Iterator[Finding]:
    """Durations outside what was asked for, else far from the median on a logarithmic scale."""
    if "duration" not in context.checks:
        return
    for part, durations in context.ledger.duration.items():
        rows = np.flatnonzero(durations)
        if not len(rows):
            continue
        logs = np.log(durations[rows].astype(np.float64))
        middle = float(np.median(logs))
        spread = _MAD_TO_SIGMA * float(np.median(np.abs(logs - middle)))
        reach = max(np.log(_FACTOR), _DEVIATIONS * spread)
        low = max(_SHORTEST_S, float(np.exp(middle - reach))) if shortest is None else shortest
        high = float(np.exp(middle + reach)) if longest is None else longest
        odd = rows[(durations[rows] < low) | (durations[rows] > high)]
        usual = f"the median is {np.exp(middle):.3g} s"
        for at, ((name, value),) in _named(context, part, odd.astype(np.int64)):
            message = f"lasts {durations[odd[at]]:.3g} s; {usual}"
            yield Finding("duration", name, part, value, "", message)


def label_findings(context: Context, watch: LabelWatch) -> Iterator[Finding]:
    """Problems of the label column, then equal items that are labelled otherwise."""
    if "label" not in context.checks:
        return
    for problem in watch.problems():
        name = ""
        if problem.row >= 0:
            name = context.items.named([problem.row], ["id"])[0]["id"]
        yield Finding("label", name, "", problem.value, "", problem.message)
    ledger = context.ledger
    rows, first = repeats(ledger.item)
    odd = (ledger.label[rows] != ledger.label[first]) & (ledger.label[rows] != 0)
    odd &= ledger.label[first] != 0
    for _, ((name, label), (other, theirs)) in _named(context, watch.name, rows[odd], first[odd]):
        message = f"equal items: `{watch.name}` is `{label}` here, `{theirs}` there"
        yield Finding("label", name, "", label, other, message)


def leaks(context: Context, group_by: str | None) -> Iterator[Finding]:
    """Values of the grouping column that lie in more than one split."""
    ledger = context.ledger
    if group_by is None or "leak" not in context.checks:
        return
    pairs = across(ledger.group, ledger.split)
    rows = np.array([b for _, b in pairs], np.int64)
    first = np.array([a for a, _ in pairs], np.int64)
    for at, ((name, value), (other, _)) in _named(context, group_by, rows, first):
        splits = f"{ledger.split_of(int(rows[at]))} and {ledger.split_of(int(first[at]))}"
        message = f"in {splits}: `{group_by}` is the same"
        yield Finding("leak", name, "", value, other, message)


def _named(
    context: Context, column: str, *rows: Numbers
) -> Iterator[tuple[int, Sequence[tuple[str, str]]]]:
    """Position, then id and a column's value of each of these rows; "" is no column."""
    columns = ["id", column] if column and column != "id" else ["id"]

    def pair(row: dict[str, Any]) -> tuple[str, str]:
        value = row.get(column) if column else ""
        return str(row["id"]), "" if value is None else str(value)[:200]

    for start in range(0, len(rows[0]), _NAMED_AT_ONCE):
        parts = [
            context.items.named(some[start : start + _NAMED_AT_ONCE], columns) for some in rows
        ]
        for at, together in enumerate(zip(*parts, strict=True), start):
            yield at, [pair(row) for row in together]
