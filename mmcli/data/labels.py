"""The labels of a store's rows: what kind they are, which classes there are, the value of each row.

The kind is read from the column unless it is given, and what cannot be learned from is refused
here, with the row that is at fault. Knows nothing about models or losses.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.cells import floats_of
from mmcli.data.label_column import LabelColumn, LabelOptions
from mmcli.data.label_kinds import (
    LABEL_KINDS,
    Lists,
    Singles,
    as_named,
    in_order,
    infer,
    lists_of,
    slip,
)
from mmcli.store.reader import Store

__all__ = ["LabelOptions", "Labels", "check_trainable", "decode", "read_labels"]

#: Warnings of one sort before the rest are counted.
_MOST_WARNINGS = 5


@dataclass(frozen=True)
class Labels:
    """The label of every row.

    kind: one of `LABEL_KINDS`. classes: in their order; () for regression. values: int64 `(rows,)`,
    -1 where there is none (binary, multiclass, ordinal); float32 `(rows, classes)` of zeros and
    ones (multilabel); float64 `(rows,)`, NaN where there is none (regression). known: bool
    `(rows,)`. source: why it is of this kind, in one phrase. strange: row -> what it says that is
    none of the classes, where these were given and others are let pass.
    """

    column: str
    kind: str
    classes: tuple[str, ...]
    values: NDArray[Any]
    known: NDArray[np.bool_]
    source: str
    strange: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def told(self) -> list[Any]:
        """What each row says, as predictions have it: None, a number, a text or a list of texts."""
        if self.kind == "regression":
            pairs = zip(self.values.tolist(), self.known.tolist(), strict=True)
            return [value if known else None for value, known in pairs]
        found: list[Any]
        if self.kind == "multilabel":
            names = np.array(self.classes, object)
            rows = zip(self.values, self.known.tolist(), strict=True)
            found = [names[row > 0].tolist() if known else None for row, known in rows]
            for row, others in self.strange.items():
                found[row] += others
        else:
            found = decode(self.classes, self.values)
            for row, others in self.strange.items():
                found[row] = others[0]
        return found

    def strange_warning(self, model: object) -> list[str]:
        """One line where rows say what a model does not know; none else."""
        if not self.strange:
            return []
        other = next(iter(self.strange.values()))[0]
        return [
            f"{len(self.strange)} rows have a label in column `{self.column}` that `{model}` does"
            f" not know, such as `{other[:60]}`: no prediction of them can be right"
        ]


def read_labels(store: Store, options: LabelOptions) -> Labels:
    """The labels of a store's column.

    Raises UsageError for options that fit no column; BadInput, naming the row where one is at
    fault, for a column that is missing, without labels, constant, or not of the kind, for a class
    that has one row only, and for a value that is no number or none of the classes.
    """
    _check_options(options)
    reading = LabelColumn(store, options)
    values = reading.values
    if options.kind == "multilabel" or (options.kind == "auto" and reading.form == "list"):
        return _multilabel(reading, values)
    if reading.form == "date" and options.kind == "auto":
        raise reading.unfit("dates can be multiclass, or ordinal with their order: say which")
    if reading.form in ("list", "other"):
        raise reading.unfit("a label is a text, a number, true or false, or a list of texts")
    column = Singles.of(values)
    if not column.found:
        raise reading.error("has no label in any row", "name a column that has values")
    kind = options.kind
    if kind == "auto":
        kind = _inferred(reading, column)
    if kind == "regression":
        return _regression(reading, values, column)
    return _classes(reading, column, kind)


def check_trainable(labels: Labels, train_rows: NDArray[Any]) -> list[str]:
    """Warnings about what the train rows cannot teach, one a class.

    Raises BadInput when they teach nothing: no label, one class only, or one number.
    """
    rows = np.asarray(train_rows, np.intp)
    rows = rows[labels.known[rows]]
    if not len(rows):
        raise BadInput(
            f"no row of train has a label in column `{labels.column}`",
            "label some, or choose another split",
        )
    values = labels.values[rows]
    if (values == values[0]).all():
        if labels.kind == "regression":
            what = f"one value (`{values[0]:g}`)"
        elif labels.kind == "multilabel":
            what = "the same classes"
        else:
            what = f"class `{labels.classes[int(values[0])]}`"
        raise BadInput(
            f"every row of train has {what} in column `{labels.column}`",
            "nothing can be learned from it: choose another split, or label more rows",
        )
    if labels.kind == "regression":
        return []
    if labels.kind == "multilabel":
        counts = values.sum(axis=0).astype(np.intp)
    else:
        counts = np.bincount(values, minlength=len(labels.classes))
    warnings = _listed(labels, np.flatnonzero(counts == 0), "has no row in train")
    if labels.kind == "multilabel":
        warnings += _listed(labels, np.flatnonzero(counts == len(rows)), "is in every row of train")
    return warnings


def decode(classes: Sequence[str], values: NDArray[Any]) -> list[str | None]:
    """The class of each number; None for -1."""
    return [classes[value] if value >= 0 else None for value in np.asarray(values).tolist()]


def _check_options(options: LabelOptions) -> None:
    kinds = ("auto", *LABEL_KINDS)
    if options.kind not in kinds:
        raise UsageError(
            f"no kind of label is named `{options.kind}`", suggestion(options.kind, kinds)
        )
    if not options.classes:
        return
    if options.kind == "regression":
        raise UsageError("a regression label has no classes", "leave them out")
    if any(not name.strip() for name in options.classes):
        raise UsageError("a class has no name", "an empty label is no label")
    if options.kind == "binary" and len(options.classes) != 2:
        raise UsageError(f"a binary label has two classes, not {len(options.classes)}", "name two")
    if options.kind != "multilabel" and len(options.classes) < 2:
        raise UsageError("one class alone is no choice", "name all classes")


def _inferred(reading: LabelColumn, column: Singles) -> str:
    if reading.options.classes:
        return "binary" if len(reading.options.classes) == 2 else "multiclass"
    stray = slip(column)
    if stray is not None:
        hint = "nearly all others are: correct it, leave it empty, or say that they are classes"
        raise reading.not_a_number(column, stray, hint)
    return infer(column)


def _regression(reading: LabelColumn, values: Any, column: Singles) -> Labels:
    numbers = column.numbers()
    if None in numbers:
        hint = "a regression label is a number: correct it, or leave it empty"
        raise reading.not_a_number(column, numbers.index(None), hint)
    if reading.form == "text":
        found = np.array([*numbers, np.nan], np.float64)[column.codes]
    else:
        found = floats_of(values)
    known = column.codes >= 0
    if found[known].min() == found[known].max() and not reading.options.lenient:
        raise reading.constant(column.names()[0])
    source = reading.source(column.phrase() + (", all numbers" if reading.form == "text" else ""))
    return Labels(reading.options.column, "regression", (), found, known, source)


def _classes(reading: LabelColumn, column: Singles, kind: str) -> Labels:
    """Labels of one class a row."""
    given = _named(reading.options.classes, column)
    names = column.names()
    numeric = column.form != "text" or None not in column.numbers()
    if kind == "ordinal" and not given and (column.form == "date" or not numeric):
        raise UsageError(
            f"column `{reading.options.column}` holds texts, whose order is not known",
            "name the classes from the lowest to the highest",
        )
    lenient = reading.options.lenient
    _refuse_other(reading, names, given, lambda value: int(np.argmax(column.codes == value)))
    if len(names) == 1 and not lenient:
        raise reading.constant(names[0])
    classes = given or in_order(names)
    if kind == "binary" and len(classes) != 2:
        raise reading.error(
            f"holds {len(classes)} different values, a binary label two",
            "take it as multiclass, or merge some",
        )
    places = {name: place for place, name in enumerate(classes)}
    values = np.array([*(places.get(name, -1) for name in names), -1], np.int64)[column.codes]
    known = values >= 0
    counts = np.bincount(values[known], minlength=len(classes))
    if not lenient:
        reading.refuse_single(classes, counts, lambda place: np.argmax(values == place))
    source = reading.source(column.phrase())
    strange = {
        int(row): (names[column.codes[row]],)
        for row in np.flatnonzero(~known & (column.codes >= 0))
    }
    return Labels(reading.options.column, kind, tuple(classes), values, known, source, strange)


def _multilabel(reading: LabelColumn, values: Any) -> Labels:
    column: Lists | None = None
    if reading.form in ("list", "text"):
        column = lists_of(values)
    if column is None:
        raise reading.unfit("a row's classes are a list of texts, or a text as in `a|b` or `a;b`")
    if not column.known.any():
        raise reading.error("has no label in any row", "name a column that has values")
    given = _named(reading.options.classes, None)
    rows, codes = column.rows, column.codes
    _refuse_other(reading, column.names, given, lambda value: int(rows[np.argmax(codes == value)]))
    classes = given or in_order(column.names)
    places = {name: place for place, name in enumerate(classes)}
    lenient = reading.options.lenient
    theirs, codes = codes, np.array([places.get(n, -1) for n in column.names], np.intp)[codes]
    strange: dict[int, tuple[str, ...]] = {}
    for at in np.flatnonzero(codes < 0).tolist():
        row = int(rows[at])
        strange[row] = (*strange.get(row, ()), column.names[theirs[at]])
    rows, codes = rows[codes >= 0], codes[codes >= 0]
    counts = np.bincount(codes, minlength=len(classes))
    if np.isin(counts, (0, int(column.known.sum()))).all() and not lenient:
        raise reading.error(
            "has the same classes in every row" if counts.any() else "has no class in any row",
            "nothing can be learned from it: name another column, or label more rows",
        )
    if not lenient:
        reading.refuse_single(classes, counts, lambda place: rows[np.argmax(codes == place)])
    found = np.zeros((len(column.known), len(classes)), np.float32)
    found[rows, codes] = 1
    noun = "texts in parts" if reading.form == "text" else "lists"
    source = reading.source(f"holds {noun} with {len(column.names)} different values")
    known = column.known
    return Labels(
        reading.options.column, "multilabel", tuple(classes), found, known, source, strange
    )


def _named(given: Sequence[str], column: Singles | None) -> list[str]:
    """The classes that the user names, as the values of the column are called."""
    names = [unicodedata.normalize("NFC", name) for name in given]
    if column is not None:
        names = [as_named(name, column) for name in names]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"class `{name}` is named twice", "name each class once")
    return names


def _refuse_other(
    reading: LabelColumn, names: Sequence[str], given: Sequence[str], row_of: Any
) -> None:
    """Raise BadInput for the first value that is none of the classes the user names."""
    if not given or reading.options.lenient:
        return
    for value, name in enumerate(names):
        if name not in given:
            raise BadInput(
                f"`{name[:60]}` of column `{reading.options.column}` of `{reading.store.path}` is"
                f" none of the classes {reading.at(row_of(value))}",
                "classes: " + ", ".join(given[:12]) + (" …" if len(given) > 12 else ""),
            )


def _listed(labels: Labels, classes: NDArray[Any], what: str) -> list[str]:
    lines = [f"class `{labels.classes[place]}` {what}" for place in classes[:_MOST_WARNINGS]]
    if len(classes) > _MOST_WARNINGS:
        lines.append(f"{len(classes) - _MOST_WARNINGS} more such classes: each {what}")
    return lines
