"""Which rows an evaluation takes, and what it reads of them: splits, columns, groups, judgements.

Knows nothing of vectors or scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.groups import Groups, encode, group_rows
from mmcli.data.splits import SPLIT_COLUMN, SplitOptions, split_rows
from mmcli.store.reader import Store

Rows = NDArray[np.int64]
ALL = "all"


@dataclass(frozen=True)
class Chosen:
    """The rows under evaluation, ascending. split: its name, or `all`; source: in one phrase."""

    rows: Rows
    split: str
    source: str


def choose_rows(store: Store, options: SplitOptions, split: str | None) -> Chosen:
    """The rows of a split; without a name `test` where the store has splits, else every row.

    `train` and `val` are those that a verb that trains would take with the same options. Raises
    BadInput when the split has no rows.
    """
    if store.rows == 0:
        raise BadInput(f"`{store.path}` has no rows", "extract something into it first")
    every = np.arange(store.rows, dtype=np.int64)
    if split == ALL:
        return Chosen(every, ALL, "every row")
    told = options.split_file is not None or options.fold is not None
    told = told or options.split_column != SPLIT_COLUMN or SPLIT_COLUMN in store.columns
    if split is None and not told:
        return Chosen(every, ALL, "no split is given")
    splits = split_rows(store, options, train=split in ("train", "val"))
    name = split or "test"
    rows = splits.rows(name).astype(np.int64)
    if not len(rows):
        others = ", ".join(splits.counts()) or "none"
        raise BadInput(
            f"no row of `{store.path}` is `{name}` ({splits.source})",
            f"splits with rows: {others}; `--split all` takes every row",
        )
    return Chosen(rows, name, splits.source)


def column_codes(store: Store, column: str, rows: Rows) -> tuple[Rows, list[Any]]:
    """A number for each row's value, -1 where it has none, and the values by number."""
    codes, values = encode(_plain_column(store, column))
    return codes[rows].astype(np.int64), values


def column_groups(store: Store, column: str | None, rows: Rows) -> NDArray[np.int64] | None:
    """The group of each row, numbered from 0 among these rows; None without a column."""
    if column is None:
        return None
    ids = store.id_column()
    groups: Groups = group_rows(ids, _plain_column(store, column), column).among(rows)
    return groups.codes.astype(np.int64)


def item_columns(store: Store, columns: Sequence[str], rows: Rows) -> list[dict[str, Any]]:
    """Some columns of some rows; those that the store lacks are left out."""
    names = [name for name in dict.fromkeys(columns) if name in store.columns]
    found: list[dict[str, Any]] = store.items(names).take(rows).to_pylist()
    return found


def read_lines(path: str, what: str) -> list[str]:
    """The lines of a file, without empty ones. Raises UsageError when it cannot be read."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"`{what} {path}`: {reason.lower()}", "give a text file") from error
    return [line.strip() for line in lines if line.strip()]


def _plain_column(store: Store, column: str) -> Any:
    import pyarrow as pa

    if column not in store.columns:
        raise BadInput(
            f"`{store.path}` has no column `{column}`", suggestion(column, store.columns)
        )
    values = store.items([column]).column(column)
    if pa.types.is_nested(values.type):
        raise BadInput(
            f"column `{column}` of `{store.path}` holds {values.type}, not single values",
            "name a column of text or numbers",
        )
    return values
