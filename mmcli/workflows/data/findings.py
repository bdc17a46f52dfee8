"""What is said of everything that validation finds: which item, which part, what about it.

Reads the ledger and the names of the few rows that are found. Looks at no file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.data.label_problems import LabelWatch
from mmcli.data.probes import PartFacts
from mmcli.store.reader import Store
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
    """Rows of a store with almost the same embedding, unless their files are equal anyway.

    Each row with its nearest earlier one; as leaks, each held-out row with its nearest elsewhere.
    """
    from mmcli.index.near_duplicates import nearest_before
    from mmcli.workflows.store.filter import split_threshold

    key, threshold = split_threshold(store, near, "--near")
    if not context.checks & {"near-duplicate", "leak"}:
        return
    rows = np.arange(store.rows, dtype=np.int64)
    names = store.ids()
    splits, contents = _of_store_rows(context, names, key.partition(":")[0])
    pairs: dict[tuple[int, int], tuple[str, float]] = {}
    if "leak" in context.checks and splits.any():
        held = rows[splits > 0]
        found = nearest_before(store, key, held, _ranks(context.ledger)[splits[held]], threshold)
        for row, other, cosine in zip(found.rows, found.first, found.cosine, strict=True):
            pairs[max(row, other), min(row, other)] = ("leak", float(cosine))
    if "near-duplicate" in context.checks:
        found = nearest_before(store, key, rows, rows, threshold)
        for row, other, cosine in zip(found.rows, found.first, found.cosine, strict=True):
            crossing = splits[row] and splits[other] and splits[row] != splits[other]
            check = "leak" if crossing and "leak" in context.checks else "near-duplicate"
            pairs.setdefault((row, other), (check, float(cosine)))
    ledger = context.ledger
    first = {content: row for row, content in reversed([*enumerate(contents)])}
    for (row, other), (check, cosine) in sorted(pairs.items()):
        equal = contents[row] and contents[row] == contents[other]
        if equal and (first[contents[row]] == other or check != "leak"):
            told = check if check == "leak" else "duplicate"
            if told in context.checks:  # equal files are named already, each with the first
                continue
        message = f"cosine {cosine:.4f} of `{key}`"
        if check == "leak":
            here, there = (ledger.split_names[splits[r]] for r in (row, other))
            message = f"in {here} and {there}: {message}"
        yield Finding(check, names[row], key.partition(":")[0], "", names[other], message)


def _ranks(ledger: Ledger) -> NDArray[np.int64]:
    """A number for each split: that of train first, so that held-out rows look for theirs there."""
    names = ledger.split_names
    return np.array([0 if name == "train" else n + 1 for n, name in enumerate(names)], np.int64)


def _of_store_rows(
    context: Context, names: Sequence[str], part: str
) -> tuple[NDArray[np.int32], list[bytes]]:
    """Split and content of each row of a store, as the ledger has them of the item of that id."""
    ledger, place = context.ledger, {name: row for row, name in enumerate(names)}
    splits = np.zeros(len(names), np.int32)
    contents = [b""] * len(names)
    content = ledger.content.get(part)
    for start, table in context.items.blocks():
        for at, name in enumerate(table.column("id").to_pylist(), start):
            row = place.get(name)
            if row is None:
                continue
            splits[row] = ledger.split[at]
            if content is not None and content[at].any():
                contents[row] = content[at].tobytes()
    return splits, contents


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
