"""How one column of a table becomes numbers: what is learned of it, and the dimensions it gives.

A numeric column is filled by a median and standardised; a categorical one is one-hot. Knows blocks
of values, not stores; whoever calls it says in a message where a row stands.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.data.cells import floats_of, form_of, number_of, plain, texts_of
from mmcli.data.groups import encode

#: A categorical column gives a dimension to this many of its categories, the most frequent.
MOST_CATEGORIES = 50
#: Beyond it the square of a number may not fit a float64.
_SQUARABLE = 1e150

Floats = NDArray[np.float64]
#: Says in a message where row n of a block stands.
At = Callable[[int], str]


@dataclass(frozen=True)
class NumericColumn:
    """Numbers: `(value - mean) / deviation`, the median where there is none.

    missing: whether a second dimension is 1 where there is no value.
    """

    name: str
    median: float
    mean: float
    deviation: float
    missing: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Of its dimensions."""
        return (self.name, f"{self.name} missing") if self.missing else (self.name,)

    def encode(self, values: Any, at: At) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """float32 `(rows, dimensions)`, and which rows have a value."""
        numbers = read_numbers(values, self.name, at)
        known = ~np.isnan(numbers)
        with np.errstate(over="ignore"):
            scaled = (np.where(known, numbers, self.median) - self.mean) / self.deviation
            found = scaled.astype(np.float32)
        far = np.flatnonzero(~np.isfinite(found))
        if len(far):
            row = int(far[0])
            raise BadInput(
                f"{numbers[row]:g} of column `{self.name}` is too far from the numbers of train"
                f" {at(row)}",
                "correct it, or leave it empty",
            )
        columns = [found, (~known).astype(np.float32)] if self.missing else [found]
        return np.stack(columns, axis=1), known

    def to_json(self) -> dict[str, Any]:
        """All that it is."""
        return {"kind": "numeric", **vars(self)}


@dataclass(frozen=True)
class CategoricalColumn:
    """Categories: a dimension for each, one for any other value, and one for none."""

    name: str
    categories: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of its dimensions."""
        ones = (f"{self.name}={category}" for category in self.categories)
        return (*ones, f"{self.name} other", f"{self.name} missing")

    def encode(self, values: Any, at: At) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """float32 `(rows, dimensions)`, and which rows have a value."""
        codes, found = read_categories(values, self.name, at)
        other = len(self.categories)
        places = {category: place for place, category in enumerate(self.categories)}
        dimensions = [*(places.get(text, other) for text in found), other + 1]
        ones = np.zeros((len(codes), other + 2), np.float32)
        ones[np.arange(len(codes)), np.array(dimensions, np.intp)[codes]] = 1
        return ones, codes >= 0

    def to_json(self) -> dict[str, Any]:
        """All that it is."""
        return {"kind": "categorical", "name": self.name, "categories": list(self.categories)}


Column = NumericColumn | CategoricalColumn


def column_of(content: dict[str, Any]) -> Column:
    """What `to_json` gave, as a column again."""
    if content["kind"] == "numeric":
        numbers = (float(content[name]) for name in ("median", "mean", "deviation"))
        return NumericColumn(content["name"], *numbers, bool(content["missing"]))
    return CategoricalColumn(content["name"], tuple(content["categories"]))


def kind_of(kind: pa.DataType) -> str:
    """numeric or categorical, "" for a type that is neither; dictionaries are categorical."""
    if pa.types.is_dictionary(kind):
        return "categorical"
    form = form_of(kind)
    if form in ("integer", "number"):
        return "numeric"
    return "categorical" if form in ("bool", "text") else ""


def read_numbers(values: Any, name: str, at: At) -> Floats:
    """float64 `(rows,)`, NaN where there is no value.

    Raises BadInput for an infinity, a text that spells no number, or a type that holds neither.
    """
    column = plain(values)
    form = form_of(column.type)
    if form == "text":  # a column of type null is one too, without a value
        codes, texts = encode(column)
        parsed = [number_of(text) for text in texts]
        if None in parsed:
            row = int(np.argmax(codes == parsed.index(None)))
            raise BadInput(
                f"`{texts[codes[row]][:60]}` of column `{name}` is no number {at(row)}",
                "correct it, leave it empty, or declare the column categorical",
            )
        return np.array([*parsed, math.nan], np.float64)[codes]
    if form not in ("bool", "integer", "number"):
        raise BadInput(f"column `{name}` holds {values.type}, not numbers", "leave it out")
    numbers = floats_of(column)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise BadInput(
            f"column `{name}` holds an infinity {at(int(infinite[0]))}",
            "correct the number, or leave it empty",
        )
    return numbers


def read_categories(values: Any, name: str, at: At) -> tuple[NDArray[np.intp], list[str]]:
    """The number of each row's category in the list of them, -1 where there is none.

    Raises BadInput for an infinity, or a type that holds no categories.
    """
    column = plain(values)
    form = form_of(column.type)
    if form not in ("bool", "integer", "number", "text"):
        raise BadInput(f"column `{name}` holds {values.type}, not categories", "leave it out")
    if form == "number":
        numbers = read_numbers(values, name, at)
        column = pa.chunked_array([pa.array(numbers, column.type, from_pandas=True)])
    codes, found = encode(column)
    return codes, texts_of(found, column.type)


def fit_numeric(name: str, numbers: Floats) -> NumericColumn:
    """From the numbers of the train rows, NaN where there is none; one at least is a number."""
    known = numbers[~np.isnan(numbers)]
    low, high = float(known.min()), float(known.max())
    peak = max(abs(low), abs(high))
    unit = peak if peak > _SQUARABLE else 1.0
    scaled = known / unit
    mean, deviation = float(scaled.mean()) * unit, float(scaled.std()) * unit
    if low == high or deviation == 0:  # rounding may leave a constant a deviation of 1e-17
        mean, deviation = low, 1.0
    return NumericColumn(
        name, float(np.median(scaled)) * unit, mean, deviation, len(known) < len(numbers)
    )


def fit_categorical(name: str, counts: Counter[str]) -> CategoricalColumn:
    """From how many train rows have each category: the most frequent, equal ones by value."""
    order = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return CategoricalColumn(name, tuple(text for text, _ in order[:MOST_CATEGORIES]))


def looks_like_text(counts: Counter[str]) -> bool:
    """Whether more than half of the values are different, and too many to be categories."""
    return len(counts) > MOST_CATEGORIES and 2 * len(counts) > counts.total()
