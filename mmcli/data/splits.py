"""Which rows of a store train, validate and test: the one answer for every verb that asks.

A split file wins, then `--fold`, then the split column. Knows nothing about models; how a split
file comes about is in `partition.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.groups import encode, fill, group_rows, refuse_nested
from mmcli.data.split_file import FOLD_COLUMN, SPLIT_COLUMN, SplitFile
from mmcli.store.reader import Store

#: Splits that mean something to training; any other is a test set of that name.
USUAL = ("train", "val", "test")
_MOST_NAMED = 4
#: What other programs call `val`.
_VAL_ELSEWHERE = {"validation", "valid", "dev", "eval"}


@dataclass(frozen=True)
class SplitOptions:
    """What the user says of splits: the options of `cli/split_options.py`.

    seed: of the validation rows taken from train, nothing else.
    """

    split_column: str = SPLIT_COLUMN
    split_file: str | None = None
    fold: int | None = None
    val_fraction: float = 0.1
    group_by: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Splits:
    """The split of every row.

    names: `(rows,)`, as in `train`; "" for a row that is in none. source: how they came about, in
    one phrase.
    """

    names: NDArray[np.str_]
    source: str

    def rows(self, name: str) -> NDArray[np.intp]:
        """The numbers of its rows, ascending; none when no row is in it."""
        return np.flatnonzero(self.names == name)

    def has(self, name: str) -> bool:
        """Whether any row is in it."""
        return bool((self.names == name).any())

    def asked_rows(self, name: str, where: str | Path) -> NDArray[np.int64]:
        """The rows of a split that the user named, of the data at `where`.

        Raises BadInput when no row is in it.
        """
        if not self.has(name):
            raise BadInput(
                f"no row of `{where}` is `{name}` ({self.source})", suggestion(name, self.counts())
            )
        return self.rows(name).astype(np.int64)

    def counts(self) -> dict[str, int]:
        """Rows of each split, by name; rows in none are not counted."""
        found, counts = np.unique(self.names, return_counts=True)
        return {str(n): int(c) for n, c in zip(found, counts, strict=True) if n}


def split_rows(store: Store, options: SplitOptions, *, train: bool) -> Splits:
    """The split of every row of a store.

    train: whether something is to be trained. Then rows are `train` where nothing says otherwise,
    and where no row is `val`, `val_fraction` of the train rows become it, whole groups at a time in
    the order of a hash of seed and group. Without it, a store that says nothing has every row in
    none. Raises BadInput when what the options name is missing or unusable, when nothing is left to
    train on, or when a group lies in two splits; UsageError for a fraction outside [0, 1).
    """
    if not 0 <= options.val_fraction < 1:
        raise UsageError(f"`--val-fraction {options.val_fraction}` is not a share", "as in 0.1")
    if store.rows == 0:
        raise BadInput(f"`{store.path}` has no rows", "extract a source that has some")
    names, source = _given(store, options, train)
    if not train:
        return Splits(names, source)
    if not (names == "train").any():
        others = ", ".join(Splits(names, source).counts()) or "none"
        raise BadInput(
            f"no row of `{store.path}` is `train` ({source})", f"splits with rows: {others}"
        )
    if options.group_by is not None:
        _refuse_crossing(store, names, options.group_by)
    if options.val_fraction and not (names == "val").any():
        names = _with_val(store, names, options)
        source += f"; {options.val_fraction:g} of train as val"
        if options.group_by:
            source += f", by {options.group_by}"
    return Splits(names, source + _others(Splits(names, source)))


def split_pictures(table: Any, options: SplitOptions, *, train: bool) -> Splits:
    """As `split_rows`, with the rows of one picture in one split where val is taken from train.

    Unless the user groups them otherwise, or has put them into different splits already. table: a
    store, or what gives `path`, `rows`, `columns`, `items` and `ids` as one does.
    """
    if options.group_by is None and "image" in table.columns:
        try:
            return split_rows(table, replace(options, group_by="image"), train=train)
        except BadInput:  # pictures that cross, or something that is said again below
            pass
    return split_rows(table, options, train=train)


def _others(splits: Splits) -> str:
    """A phrase that names the test sets which training does not look at; "" without any."""
    counts = splits.counts()
    others = [f"{n} rows `{name}`" for name, n in counts.items() if name not in USUAL]
    if not others:
        return ""
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    slip = ", `val` is the name of rows to choose models by" if _VAL_ELSEWHERE & set(counts) else ""
    return "; test sets left alone: " + ", ".join(others[:_MOST_NAMED]) + more + slip


def fold_numbers(store: Store, options: SplitOptions) -> list[int]:
    """The folds that `--fold` can name, ascending: of the split file, else of the store's column.

    Raises BadInput where there are none.
    """
    if options.split_file is not None:
        file = SplitFile(options.split_file)
        where = options.split_file
        values = file.values(FOLD_COLUMN) if FOLD_COLUMN in file.columns else None
    else:
        where = str(store.path)
        there = FOLD_COLUMN in store.columns
        values = store.items([FOLD_COLUMN]).column(FOLD_COLUMN) if there else None
    hint = "`mmcli data split --folds 5` writes them: give the file as `--split-file`"
    if values is None:
        raise BadInput(f"`{where}` has no column `{FOLD_COLUMN}`", hint)
    if not pa.types.is_integer(values.type):
        raise BadInput(f"column `{FOLD_COLUMN}` of `{where}` holds {values.type}", hint)
    found = sorted(pc.unique(values.drop_null()).to_pylist())
    if len(found) < 2:
        raise BadInput(f"`{where}` has {len(found)} folds", hint)
    return found


def _given(store: Store, options: SplitOptions, train: bool) -> tuple[NDArray[np.str_], str]:
    """The splits as file or columns have them, and which of these it was."""
    if options.split_file is not None:
        return _from_file(store, options)
    if options.fold is not None:
        if FOLD_COLUMN not in store.columns:
            raise BadInput(
                f"`{store.path}` has no column `{FOLD_COLUMN}`, which `--fold` needs",
                "`mmcli data split --folds 5` writes one: give it as `--split-file`",
            )
        values = store.items([FOLD_COLUMN]).column(FOLD_COLUMN)
        return _of_fold(values, options.fold, str(store.path)), _fold_phrase(options.fold)
    column = options.split_column
    if column in store.columns:
        values = store.items([column]).column(column)
        return _of_values(values, column, str(store.path)), f"column {column}"
    if column != SPLIT_COLUMN:
        raise BadInput(
            f"`{store.path}` has no column `{column}`", suggestion(column, store.columns)
        )
    name = "train" if train else ""
    return np.full(store.rows, name, f"<U{max(1, len(name))}"), "no split is given"


def _from_file(store: Store, options: SplitOptions) -> tuple[NDArray[np.str_], str]:
    file = SplitFile(options.split_file or "")
    path, wanted = file.path, options.split_column if options.fold is None else FOLD_COLUMN
    ids, told = file.rows(wanted)
    places = pc.index_in(store.id_column(), value_set=ids.combine_chunks())
    unnamed = places.null_count
    if unnamed == store.rows:
        raise BadInput(
            f"`{path}` names no item of `{store.path}`", "it belongs to another store: split again"
        )
    values = told.take(places)
    if options.fold is None:
        names, source = _of_values(values, wanted, str(path)), f"{wanted} of {path}"
    else:
        names = _of_fold(values, options.fold, str(path))
        source = f"{_fold_phrase(options.fold)} of {path}"
    return names, source + (f", which does not name {unnamed} rows" if unnamed else "")


def _fold_phrase(fold: int) -> str:
    return f"fold {fold} as test, the others as train"


def _of_values(values: Any, column: str, where: str) -> NDArray[np.str_]:
    """Names from strings or integers; a row without a value is in none."""
    plain = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    texts = pa.types.is_string(plain) or pa.types.is_large_string(plain)
    if not (texts or pa.types.is_integer(plain) or pa.types.is_null(plain)):
        raise BadInput(
            f"column `{column}` of `{where}` holds {plain}, not names of splits",
            "train, val, test, or the name of another test set",
        )
    codes, found = encode(values.cast(pa.string()))
    names = np.array([*found, ""], np.str_)  # the last is that of code -1
    return names[codes]


def _of_fold(values: Any, fold: int, where: str) -> NDArray[np.str_]:
    """`test` where the value is `fold`, `train` where it is another, "" where there is none."""
    if not pa.types.is_integer(values.type):
        raise BadInput(
            f"column `{FOLD_COLUMN}` of `{where}` holds {values.type}, not integers",
            "`mmcli data split --folds 5` writes folds",
        )
    codes, found = encode(values)
    if fold not in found:
        raise BadInput(f"no row of `{where}` is in fold {fold}", f"folds: {_listed(found)}")
    names = np.array([*("test" if value == fold else "train" for value in found), ""], np.str_)
    return names[codes]


def _listed(values: Sequence[int], most: int = 12) -> str:
    ordered = sorted(values)
    return ", ".join(map(str, ordered[:most])) + (" …" if len(ordered) > most else "")


def _refuse_crossing(store: Store, names: NDArray[np.str_], column: str) -> None:
    """Raise BadInput when two rows of one group lie in two splits."""
    values = _group_values(store, column)
    codes, found = encode(values)
    _, numbers = np.unique(names, return_inverse=True)
    placed = np.flatnonzero((codes >= 0) & (names != ""))
    first = np.full(len(found), -1, np.intp)
    first[codes[placed]] = placed
    crossing = placed[numbers[placed] != numbers[first[codes[placed]]]]
    if len(crossing):
        row = int(crossing[0])
        other = int(first[codes[row]])
        raise BadInput(
            f"`{str(found[codes[row]])[:60]}` of column `{column}` is in `{names[row]}` and in"
            f" `{names[other]}`",
            f"split it anew: `mmcli data split STORE --group-by {column}`, or leave `--group-by`",
        )


def _group_values(store: Store, column: str) -> Any:
    values = store.items([column]).column(column)
    refuse_nested(values, column)
    return values


def _with_val(store: Store, names: NDArray[np.str_], options: SplitOptions) -> NDArray[np.str_]:
    """The names, with a share of the train rows as `val`."""
    column = options.group_by
    ids = pa.array(store.ids(), pa.string())
    values = None if column is None else _group_values(store, column)
    rows = np.flatnonzero(names == "train")
    groups = group_rows(ids, values, column or "").among(rows)
    if len(groups) < 2:
        what = f"one group of `{column}`" if column else "one row"
        raise BadInput(
            f"train has {what} only, so none can be taken as val",
            "add rows, name some `val`, or give `--val-fraction 0`",
        )
    order = groups.order(options.seed).tolist()
    taken = fill(order, groups.sizes, options.val_fraction * len(rows))
    mine = np.isin(groups.codes, np.array(taken, np.intp))
    names = names.astype(f"<U{max(3, names.dtype.itemsize // 4)}")
    names[rows[mine]] = "val"
    return names
