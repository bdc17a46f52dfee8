"""What a column of labels holds, and which kind of label that makes it.

Knows values, not rows of a store: whoever calls it says in a message where a value stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcli.data.cells import clean_texts, form_of, number_of, text_of_number, texts_of
from mmcli.data.groups import encode

LABEL_KINDS = ("binary", "multiclass", "multilabel", "regression", "ordinal")
#: Whole numbers with more different values than this are quantities, not classes.
MOST_CLASSES = 20
#: Texts of which this share spell numbers are numbers with a slip among them.
NUMERIC_SHARE = 0.8

_NOUNS = {
    "integer": "integers",
    "number": "numbers",
    "text": "texts",
    "date": "dates",
    "list": "lists",
}


@dataclass(frozen=True)
class Singles:
    """A column of single values.

    form: as `form_of` says. codes: `(rows,)` the number of each row's value in `found`, -1 for
    none. found: the different values, in the order in which they first occur.
    """

    form: str
    kind: pa.DataType
    codes: NDArray[np.intp]
    found: list[Any]

    @classmethod
    def of(cls, values: Any) -> "Singles":
        """Of a plain column."""
        codes, found = encode(values)
        return cls(form_of(values.type), values.type, codes, found)

    def names(self) -> list[str]:
        """What each value is called."""
        return texts_of(self.found, self.kind)

    def numbers(self) -> list[float | None]:
        """Each value as a number, None where it is none."""
        if self.form == "text":
            return [number_of(text) for text in self.found]
        if self.form == "date":
            return [None] * len(self.found)
        return [float(value) for value in self.found]

    def whole(self) -> bool:
        """Whether all are whole numbers."""
        if self.form == "number":
            return all(float(value).is_integer() for value in self.found)
        return self.form == "integer"

    def phrase(self) -> str:
        """What the column holds, to be read after its name."""
        if self.form == "bool":
            return "holds true and false"
        noun = _NOUNS[self.form]
        if self.form == "number" and self.whole():
            noun = "whole numbers"
        return f"holds {noun} with {len(self.found)} different values"


@dataclass(frozen=True)
class Lists:
    """A column of several values a row.

    known: bool `(rows,)`. rows, codes: `(pairs,)` a row and the number of a value it has in
    `names`, each pair once.
    """

    known: NDArray[np.bool_]
    rows: NDArray[np.intp]
    codes: NDArray[np.intp]
    names: list[str]


def infer(column: Singles) -> str:
    """The kind of label that values make where nobody says: binary, multiclass or regression."""
    different = len(column.found)
    if column.form == "bool":
        return "binary"
    if column.form == "text":
        quantities = different > MOST_CLASSES and None not in column.numbers()
    else:
        quantities = different > MOST_CLASSES or not column.whole()
    if quantities:
        return "regression"
    return "binary" if different == 2 else "multiclass"


def slip(column: Singles) -> int | None:
    """Which value is the first text that spells no number, where nearly all the others do."""
    if column.form != "text":
        return None
    numbers = column.numbers()
    strays = [at for at, number in enumerate(numbers) if number is None]
    if not strays or len(numbers) - len(strays) < NUMERIC_SHARE * len(numbers):
        return None
    return strays[0]


def lists_of(values: Any) -> Lists | None:
    """A column of lists of texts or integers, or of texts that `|` or `;` cut into parts.

    None when it holds anything else.
    """
    known = values.is_valid().to_numpy()
    if form_of(values.type) == "text":
        values = pc.split_pattern_regex(values, "[|;]")
    if form_of(values.type) != "list" or form_of(values.type.value_type) not in _ELEMENTS:
        return None
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
    parts = pc.list_flatten(values)
    if form_of(parts.type) == "none":
        parts = parts.cast(pa.string())
    if pa.types.is_dictionary(parts.type):
        parts = parts.cast(parts.type.value_type)
    if form_of(parts.type) == "text":
        parts = clean_texts(pc.utf8_trim_whitespace(parts.cast(pa.large_string())))
    codes, found = encode(parts)
    rows = np.repeat(np.arange(len(values)), lengths)[codes >= 0]
    width = max(1, len(found))
    pairs = np.unique(rows * width + codes[codes >= 0])
    return Lists(known, pairs // width, pairs % width, [str(value) for value in found])


_ELEMENTS = ("text", "integer", "none")


def in_order(names: Sequence[str]) -> list[str]:
    """Names by their value when all are numbers, else by code point; false before true."""
    numbers = [number_of(name) for name in names]
    if None in numbers:
        return sorted(names)
    return [name for _, name in sorted(zip(numbers, names, strict=True))]  # type: ignore[type-var]


def as_named(given: str, column: Singles) -> str:
    """A class that the user names, as the values of the column are called: 1.0 is `1`."""
    number = number_of(given) if column.form in ("integer", "number") else None
    return given if number is None else text_of_number(number)
