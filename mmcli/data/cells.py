"""Single values of an item's columns: texts that spell numbers, names of values, blank ones.

Knows Arrow arrays, and nothing about what a column is for or which rows it has.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: Above it a float64 no longer tells a whole number from its neighbour.
_LARGEST_WHOLE = 2**53


def form_of(kind: pa.DataType) -> str:
    """What an Arrow type holds: bool, integer, number, text, date, list, none or other."""
    types = pa.types
    if types.is_dictionary(kind):
        return form_of(kind.value_type)
    forms = {
        "bool": types.is_boolean(kind),
        "integer": types.is_integer(kind),
        "number": types.is_floating(kind) or types.is_decimal(kind),
        "text": types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind),
        "date": types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind),
        "list": types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind),
        "none": types.is_null(kind),
    }
    return next((name for name, holds in forms.items() if holds), "other")


def plain(values: Any) -> Any:
    """A chunked column in its simplest type: dictionaries and decimals as their values.

    Texts come in NFC and blank ones are null; floats hold no negative zero.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    form = form_of(values.type)
    if form == "text":
        wide = pa.types.is_large_string(values.type)
        return clean_texts(values.cast(pa.large_string() if wide else pa.string()))
    if form == "number":
        half = pa.types.is_float16(values.type)
        kind = pa.float32() if half or pa.types.is_float32(values.type) else pa.float64()
        return pc.add(values.cast(kind), pa.scalar(0, kind))  # -0.0 + 0.0 is 0.0
    if form == "date":
        return values.cast(pa.string())
    return values.cast(pa.string()) if form == "none" else values


def clean_texts(values: Any) -> Any:
    """Texts in NFC; blank ones become null."""
    blank = pc.equal(pc.utf8_trim_whitespace(values), "")
    return pc.if_else(blank, pa.scalar(None, values.type), pc.utf8_normalize(values, "NFC"))


def number_of(text: str) -> float | None:
    """The finite number that a text spells in decimal digits, None when it spells none."""
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    number = float(stripped)
    return number if math.isfinite(number) else None


def text_of_number(value: float) -> str:
    """A whole number without a point, any other in the fewest digits that spell it."""
    if value == int(value) and abs(value) <= _LARGEST_WHOLE:
        return str(int(value))
    return repr(value)


def texts_of(found: Sequence[Any], kind: pa.DataType) -> list[str]:
    """What values of a plain type are called: `true`, `3`, `0.5`, a text as it is."""
    form = form_of(kind)
    if form == "bool":
        return ["true" if value else "false" for value in found]
    if form == "number":
        if pa.types.is_float32(kind):  # 0.1, not 0.10000000149011612
            found = [float(str(np.float32(value))) for value in found]
        return [text_of_number(value) for value in found]
    return [str(value) for value in found]


def floats_of(values: Any) -> NDArray[np.float64]:
    """A column of a plain bool, integer or number type; NaN where there is no value."""
    numbers = values.cast(pa.uint8()) if pa.types.is_boolean(values.type) else values
    wide = pc.cast(numbers, pa.float64(), safe=False)  # an integer above 2 ** 53 is rounded
    return pc.fill_null(wide, math.nan).to_numpy().astype(np.float64)
