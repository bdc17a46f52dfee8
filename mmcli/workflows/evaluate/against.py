"""The same rows in another space: what `--against STORE|ALIGNER` compares with."""

from pathlib import Path

import numpy as np

from mmcli.core.errors import BadInput, UsageError
from mmcli.store.manifest import kind_of, read_manifest
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.vectors import (
    Rows,
    Side,
    load_side,
    open_aligner,
    resolve_names,
)
from mmcli.workflows.trained_rows import seen_warning


def other_sides(
    path: str, store: Store, query: Side, target: Side, verify: str
) -> tuple[tuple[Side, Side], list[str]]:
    """The two sides through an aligner, or from another store with the same ids; and warnings.

    Their rows are those of `query` and `target`, in the same order, so that every query ranks the
    same targets. Raises BadInput when one of these is missing there.
    """
    kind = kind_of(read_manifest(Path(path)))
    warnings: list[str] = []
    if kind == "mmcli.aligner":
        aligner = open_aligner(path)
        names = resolve_names(store, (query.name, target.name), aligner)
        rows = query.rows, target.rows
        other = store
        warnings = seen_warning(aligner, store, np.union1d(*rows))
    elif kind == "mmcli.store":
        aligner = None
        other = Store.open(path, verify)
        names = resolve_names(other, (query.name, target.name), None)
        rows = _same_rows(store, other, query.rows), _same_rows(store, other, target.rows)
    else:
        raise UsageError(
            f"`--against {path}` is neither a store nor an aligner", "give one of these"
        )
    found = load_side(other, names[0], rows[0], aligner)
    _need_all(other, found, query, store)
    if names[0] == names[1]:
        return (found, found), warnings
    across = load_side(other, names[1], rows[1], aligner)
    _need_all(other, across, target, store)
    return (found, across), warnings


def _same_rows(store: Store, other: Store, rows: Rows) -> Rows:
    """Where the items of these rows stand in the other store."""
    place = {identity: row for row, identity in enumerate(other.ids())}
    ids = store.ids()
    missing = [ids[row] for row in rows if ids[row] not in place]
    if missing:
        raise BadInput(
            f"`{other.path}` lacks {len(missing)} items of `{store.path}`, as `{missing[0]}`",
            "compare stores with the same ids",
        )
    return np.array([place[ids[row]] for row in rows], np.int64)


def _need_all(other: Store, found: Side, wanted: Side, store: Store) -> None:
    if found.lacking:
        raise BadInput(
            f"{found.lacking} items have `{wanted.name}` in `{store.path}` but not in"
            f" `{other.path}`",
            "only the same queries and targets can be compared",
        )
