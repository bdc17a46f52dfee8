"""`store join`: columns of a table, or keys and columns of another store, beside a store's own.

Rows are found by id or another column. Composes what is added from `store_join_other`. Prints
nothing.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.id_lookup import IdLookup
from mmcli.store.reader import Store
from mmcli.store.rows import Block, StoreRows
from mmcli.workflows.store.join_other import Joined, open_joined
from mmcli.workflows.store.output import (
    Making,
    Output,
    Progress,
    cut_blocks,
    kept_entry,
    manifest_sha256,
    write_store,
)

Rows = NDArray[np.int64]
HOW = ("left", "inner")


@dataclass(frozen=True)
class JoinConfig:
    """What `mmcli store join` can be told.

    on: a column of both, or `ours=theirs`. mapping: our name of a column or key -> theirs.
    """

    store: str
    other: str
    output: Output
    on: str = "id"
    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    how: str = "left"
    mapping: Mapping[str, str] = field(default_factory=dict)
    verify: str = "once"


def join_store(config: JoinConfig, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Write the store with what was added and report how many rows found a partner.

    Raises BadInput when no row does or a name would be ambiguous, SpaceMismatch when both have a
    key of one name whose vectors are of different spaces.
    """
    if config.how not in HOW:
        raise UsageError(f"`--how {config.how}` is unknown", suggestion(config.how, HOW))
    config.output.check([config.store, config.other])
    store = Store.open(config.store, config.verify)
    ours, _, theirs = config.on.partition("=")
    with (
        tempfile.TemporaryDirectory(prefix="mmcli-") as folder,
        open_joined(
            config.other,
            Path(folder),
            theirs or ours,
            config.columns,
            config.keys,
            config.mapping,
            config.verify,
        ) as joined,
    ):
        return _join(config, store, joined, ours, progress)


def _join(
    config: JoinConfig, store: Store, joined: Joined, on: str, progress: Progress
) -> dict[str, Any]:
    store.id_column()
    reader = StoreRows(store, {key: key for key in store.keys})
    joined.refuse_ambiguous(store, reader.schema)
    partner, report = _match(config, store, joined, on)
    rows = np.arange(store.rows, dtype=np.int64)
    if config.how == "inner":
        rows = np.flatnonzero(partner >= 0).astype(np.int64)
    report = {
        "store": config.output.path,
        "rows": len(rows),
        **report,
        "columns": list(joined.columns),
        "keys": [*store.keys, *joined.keys],
    }
    if config.output.dry_run:
        return {"dry_run": True, **report}
    keys = {key: kept_entry(store.keys[key], key) for key in store.keys}
    making = Making(
        keys=keys | joined.entries(),
        source={
            "spec": config.store,
            "kind": "store",
            "source_root": store.source_root,
            "manifest_sha256": manifest_sha256(store),
            "joined": {"spec": config.other, "sha256": joined.sha256},
        },
        options={
            "verb": "store join",
            "on": config.on,
            "how": config.how,
            "columns": dict(joined.columns),
            "keys": dict(joined.keys),
            "shard_size": config.output.shard_size,
        },
        fingerprint=manifest_sha256(store) + joined.sha256,
    )

    def read(start: int, stop: int) -> Block:
        here = rows[start:stop]
        block = reader.take(here)
        return joined.added_to(block, partner[here], store.source_root)

    cost = reader.row_bytes()[rows] + joined.row_bytes(partner[rows])
    blocks = cut_blocks(cost, config.output.shard_size)
    return report | write_store(config.output, making, blocks, read, progress)


def _match(
    config: JoinConfig, store: Store, joined: Joined, on: str
) -> tuple[Rows, dict[str, Any]]:
    """The row of the other of each of ours, -1 without one; and the counts."""
    lookup = IdLookup(joined.spool, joined.on)
    partner = np.full(store.rows, -1, np.int64)
    used = np.zeros(joined.spool.rows, bool)
    lonely = None
    for start, table in store.iter_items([on]):
        values = _as_text(table.column(on), on, store)
        found = lookup.find(values)
        partner[start : start + len(found)] = found
        used[found[found >= 0]] = True
        if lonely is None and (found < 0).any():
            lonely = values[int(np.argmax(found < 0))].as_py()
    matched = int((partner >= 0).sum())
    if store.rows and not matched:
        theirs = next((v[0].as_py() for v in joined.spool.column(joined.on) if len(v)), None)
        raise BadInput(
            f"no `{on}` of `{store.path}` is found in `{joined.on}` of `{config.other}`:"
            f" `{lonely}` and `{theirs}` are their first",
            "name the column that holds it: `--on OURS=THEIRS`",
        )
    counts = {
        "matched": matched,
        "unmatched": store.rows - matched,
        "unused": joined.spool.rows - lookup.repeated - int(used.sum()),
        "repeated": lookup.repeated,
    }
    warnings = []
    if counts["unmatched"]:
        warnings.append(
            f"{counts['unmatched']} of {store.rows} rows have no partner (first: `{lonely}`)"
        )
    if lookup.repeated:
        warnings.append(
            f"{lookup.repeated} rows of `{config.other}` repeat the `{joined.on}` of an earlier"
            f" one, which was taken (first: `{lookup.example}`)"
        )
    return partner, {**counts, "warnings": warnings}


def _as_text(column: Any, name: str, store: Store) -> Any:
    kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_floating(kind):
        raise BadInput(
            f"column `{name}` of `{store.path}` holds {kind}, which rows cannot be found by",
            "name a column of texts or whole numbers",
        )
    return column.cast(pa.string()).combine_chunks()
