"""Columns of a store as the vectors of one more modality: learned on some rows, applied to all.

What is learned comes from the train rows alone, whatever the other rows hold. Only the columns that
are named are read, a shard at a time. Knows nothing about models.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.tabular_columns import (
    Column,
    column_of,
    fit_categorical,
    fit_numeric,
    kind_of,
    looks_like_text,
    read_categories,
    read_numbers,
)
from mmcli.store.reader import Store

COLUMN_KINDS = ("numeric", "categorical")


@dataclass(frozen=True)
class Tabular:
    """Fitted columns, in the order in which their dimensions stand."""

    fitted: tuple[Column, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a store must have."""
        return tuple(column.name for column in self.fitted)

    @property
    def names(self) -> tuple[str, ...]:
        """What each dimension is: `age`, `age missing`, `colour=red`, `colour other` …"""
        return tuple(name for column in self.fitted for name in column.names)

    @property
    def dim(self) -> int:
        """How many dimensions."""
        return len(self.names)

    def encode(self, store: Store) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """float32 `(rows, dim)`, and bool `(rows,)`: which rows have a value in any column.

        Raises BadInput for a column that the store lacks, and for a number that is none, infinite
        or too far out, with its row.
        """
        check_columns(store, self.columns)
        found = np.zeros((store.rows, self.dim), np.float32)
        present = np.zeros(store.rows, bool)
        for start, table in store.iter_items(self.columns):
            rows = slice(start, start + table.num_rows)
            at = _Where(store, np.arange(start, start + table.num_rows))
            first = 0
            for column in self.fitted:
                vectors, known = column.encode(table.column(column.name), at)
                found[rows, first : first + vectors.shape[1]] = vectors
                present[rows] |= known
                first += vectors.shape[1]
        return found, present

    def to_json(self) -> dict[str, Any]:
        """All that was learned, as JSON holds it."""
        return {"columns": [column.to_json() for column in self.fitted]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Tabular":
        """What `to_json` gave, as it was."""
        return cls(tuple(column_of(entry) for entry in content["columns"]))


def fit_tabular(
    store: Store,
    columns: Sequence[str],
    rows: NDArray[Any],
    declared: Mapping[str, str] | None = None,
) -> Tabular:
    """Learn columns from some rows.

    rows: the numbers of the train rows. declared: numeric or categorical, for columns whose Arrow
    type does not say it: numbers are numeric; texts, dictionaries and true or false categorical.
    Raises UsageError for names that do not fit; BadInput for a column that the store lacks, that
    has no value in these rows, that looks like text or an id, or that holds neither numbers nor
    categories.
    """
    declared = declared or {}
    _check_names(columns, declared)
    check_columns(store, columns)
    wanted = np.sort(np.asarray(rows, np.intp))
    if not len(wanted):
        raise BadInput(f"no row of `{store.path}` to learn columns from", "choose another split")
    kinds = _kinds(store, columns, declared)
    numbers: dict[str, list[NDArray[np.float64]]] = {name: [] for name in columns}
    counts: dict[str, Counter[str]] = {name: Counter() for name in columns}
    for here, table in _blocks(store, columns, wanted):
        at = _Where(store, here)
        for name in columns:
            values = table.column(name)
            if kinds[name] == "numeric":
                numbers[name].append(read_numbers(values, name, at))
                continue
            codes, texts = read_categories(values, name, at)
            found = np.bincount(codes[codes >= 0], minlength=len(texts)).tolist()
            counts[name].update(dict(zip(texts, found, strict=True)))
    fitted: list[Column] = []
    for name in columns:
        if kinds[name] == "numeric":
            whole = np.concatenate(numbers[name])
            _refuse_empty(store, name, bool((~np.isnan(whole)).any()))
            fitted.append(fit_numeric(name, whole))
            continue
        _refuse_empty(store, name, bool(counts[name]))
        if name not in declared and looks_like_text(counts[name]):
            raise BadInput(
                f"column `{name}` of `{store.path}` looks like text or an id: {len(counts[name])}"
                f" different values in {counts[name].total()} rows",
                "leave it out, or declare it categorical",
            )
        fitted.append(fit_categorical(name, counts[name]))
    return Tabular(tuple(fitted))


def check_columns(store: Store, columns: Sequence[str]) -> None:
    """Raise BadInput, with what may be meant, for a column that the store lacks."""
    for name in columns:
        if name not in store.columns:
            known = [c for c in store.columns if c != "id" and not c.startswith("has_")]
            raise BadInput(
                f"`{store.path}` has no column `{name}`", suggestion(name, known or store.columns)
            )


def _check_names(columns: Sequence[str], declared: Mapping[str, str]) -> None:
    if not columns:
        raise UsageError("no column is named", "name those that are to be used")
    for name in columns:
        if columns.count(name) > 1:
            raise UsageError(f"column `{name}` is named twice", "name each column once")
    for name, kind in declared.items():
        if name not in columns:
            raise UsageError(
                f"column `{name}` is declared {kind}, but not used", suggestion(name, columns)
            )
        if kind not in COLUMN_KINDS:
            raise UsageError(
                f"column `{name}`: no kind of column is named `{kind}`",
                suggestion(kind, COLUMN_KINDS),
            )


def _kinds(store: Store, columns: Sequence[str], declared: Mapping[str, str]) -> dict[str, str]:
    """Of each column: as declared, else as the type of the first shard that has one says."""
    kinds = dict(declared)
    for _, table in store.iter_items(columns):
        for name in columns:
            kind = table.column(name).type
            if name in kinds or pa.types.is_null(kind):
                continue
            kinds[name] = kind_of(kind)
            if not kinds[name]:
                raise BadInput(
                    f"column `{name}` of `{store.path}` holds {kind}, neither numbers nor"
                    " categories",
                    "leave it out",
                )
        if len(kinds) == len(columns):
            break
    for name in columns:
        _refuse_empty(store, name, name in kinds)
    return kinds


def _blocks(
    store: Store, columns: Sequence[str], wanted: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], pa.Table]]:
    """The wanted rows of each shard: their numbers and their columns."""
    for start, table in store.iter_items(columns):
        first, last = np.searchsorted(wanted, (start, start + table.num_rows))
        if first < last:
            here = wanted[first:last]
            yield here, table.take(pa.array(here - start))


class _Where:
    """Says of row n of a block which item it is; the ids are read only when asked for."""

    def __init__(self, store: Store, rows: NDArray[np.intp]) -> None:
        self._store, self._rows = store, rows

    def __call__(self, row: int) -> str:
        number = int(self._rows[row])
        return f"in `{self._store.path}` (item `{self._store.ids()[number]}`, row {number})"


def _refuse_empty(store: Store, name: str, has_value: bool) -> None:
    if not has_value:
        raise BadInput(
            f"column `{name}` of `{store.path}` has no value in any row of train", "leave it out"
        )
