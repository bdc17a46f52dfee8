"""The columns of a predictions table as arrays, checked: classes, sets of labels, numbers, shares.

Whatever does not fit is refused with the file and the row (from 1). Knows nothing about manifests.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcli.core.errors import BadInput

Array = NDArray[Any]
#: Probabilities may leave 0 to 1, and their sum 1, by no more than rounding.
_OUTSIDE, _SUM = 1e-6, 1e-3


def at_row(path: Path, row: int) -> str:
    """The file and the row, numbered from 0 here and from 1 in messages."""
    return f"{path}:row {row + 1}"


def unique_ids(path: Path, column: pa.ChunkedArray) -> list[str]:
    """The ids of all rows. Raises BadInput for one that is missing or stands twice."""
    if not is_text(column.type):
        raise BadInput(f"`{path}`: column `id` holds {column.type}", "an id is a text")
    ids: list[str] = column.to_pylist()
    first: dict[str, int] = {}
    for row, identity in enumerate(ids):
        if identity is None:
            raise BadInput(f"{at_row(path, row)}: it has no id", "every row has one")
        before = first.setdefault(identity, row)
        if before != row:
            raise BadInput(
                f"{at_row(path, row)}: id `{identity}` is already that of row {before + 1}",
                "an id stands once",
            )
    return ids


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this Arrow type are texts."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this Arrow type are lists."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def as_texts(path: Path, name: str, column: pa.ChunkedArray) -> pa.Array:
    """Class names: texts as they are, whole numbers and truth values as texts, null where none."""
    kind = column.type
    if pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        column = column.cast(pa.string())
    elif not is_text(kind):
        raise BadInput(
            f"`{path}`: column `{name}` holds {kind}, not names of classes",
            "choose another `--task`: lists are multilabel, fractions are regression",
        )
    return _whole(column.cast(pa.string()))


def as_sets(path: Path, name: str, column: pa.ChunkedArray) -> tuple[pa.Array, Array, Array]:
    """Lists of class names: the names in them one after the other, the row of each, which rows have
    a list at all `(rows,)`.
    """
    if not is_list(column.type) and not pa.types.is_null(column.type):
        raise BadInput(
            f"`{path}`: column `{name}` holds {column.type}, not lists of labels",
            "a multilabel column holds a list a row; choose another `--task`",
        )
    lists = _whole(column)
    known = lists.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_null(column.type):
        return pa.array([], pa.string()), np.zeros(0, np.int64), known
    parts = as_texts(path, name, pa.chunked_array([pc.list_flatten(lists)]))
    rows = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    return parts, rows, known


def as_numbers(path: Path, name: str, column: pa.ChunkedArray) -> Array:
    """float64 `(rows,)`, NaN where there is none. Raises BadInput for one that is infinite."""
    kind = column.type
    if not (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        raise BadInput(
            f"`{path}`: column `{name}` holds {kind}, not numbers",
            "choose another `--task`: texts are classes, lists are multilabel",
        )
    found = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy().astype(np.float64)
    endless = np.flatnonzero(np.isinf(found))
    if len(endless):
        raise BadInput(
            f"{at_row(path, int(endless[0]))}: `{name}` is infinite", "leave it empty if unknown"
        )
    return found


def distinct_texts(columns: Iterable[pa.Array]) -> list[str]:
    """Every text that stands in one of the columns, sorted."""
    found: set[str] = set()
    for column in columns:
        found.update(text for text in pc.unique(column).to_pylist() if text is not None)
    return sorted(found)


def codes_of(texts: pa.Array, classes: Sequence[str]) -> Array:
    """int64: the number of each text among the classes; -1 for null, -2 for what is no class."""
    found = pc.index_in(texts, value_set=pa.array(list(classes), pa.string()))
    codes = pc.fill_null(found, -2).to_numpy(zero_copy_only=False).astype(np.int64)
    codes[pc.is_null(texts).to_numpy(zero_copy_only=False)] = -1
    return codes


def shares_of(path: Path, table: pa.Table, columns: Sequence[str], needed: Array) -> Array:
    """float64 `(rows, classes)`: probabilities; rows that are not needed may lack them.

    needed: bool `(rows,)`. Raises BadInput for one that is missing, or not between 0 and 1.
    """
    found = np.empty((table.num_rows, len(columns)), np.float64)
    for i, name in enumerate(columns):
        column = table.column(name)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise BadInput(
                f"`{path}`: column `{name}` holds {column.type}, not numbers",
                "a probability is a number from 0 to 1",
            )
        values = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
        wrong = needed & ~((values >= -_OUTSIDE) & (values <= 1 + _OUTSIDE))
        if wrong.any():
            row = int(np.argmax(wrong))
            given = "missing" if np.isnan(values[row]) else f"{values[row]:.6g}"
            raise BadInput(
                f"{at_row(path, row)}: `{name}` is {given}", "a probability is between 0 and 1"
            )
        found[:, i] = np.clip(values, 0, 1)
    return found


def check_sums(path: Path, shares: Array, needed: Array) -> None:
    """Raise BadInput, naming the row, unless the probabilities of each needed row sum to 1."""
    sums = shares.sum(axis=1)
    wrong = needed & ~(np.abs(sums - 1) <= _SUM)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadInput(
            f"{at_row(path, row)}: its probabilities sum to {sums[row]:.6g}",
            "those of all classes sum to 1; classes that do not exclude each other are multilabel",
        )


def _whole(column: Any) -> pa.Array:
    """One array of what may be several chunks."""
    if isinstance(column, pa.Array):
        return column
    joined = column.combine_chunks()
    if isinstance(joined, pa.ChunkedArray):  # of no rows, or of more than one array can hold
        return pa.concat_arrays(joined.chunks) if joined.num_chunks else pa.array([], joined.type)
    return joined
