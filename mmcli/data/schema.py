"""Column types, learned from every value of a table and kept in bounded memory.

A `CellColumn` reads text cells (CSV, TSV), a `ValueColumn` parsed values (JSONL), an `ArrowColumn`
what has a type already (Parquet). All three `see` each batch once, then `convert` each batch.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from mmcli.core.errors import BadInput
from mmcli.core.types import PART_COLUMNS

Where = Callable[[int], str]
#: Columns that are strings whatever their cells look like.
STRING_COLUMNS = frozenset(("id", *PART_COLUMNS))
#: What a value that does not fit an Arrow type raises.
_MISFITS = (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError)


class Column(Protocol):
    """One column of a table: what type do all its values have?"""

    def see(self, values: Any, lines: Sequence[int]) -> None:
        """Widen the type to these values. Raises BadInput naming the first row that cannot fit."""

    def arrow_type(self) -> pa.DataType:
        """The type of all values seen."""

    def convert(self, values: Any, lines: Sequence[int]) -> pa.Array:
        """The values in that type."""


class CellColumn:
    """Text cells: int64, else float64, else bool, else string; an empty cell is null.

    A number with a leading zero or with more digits than its type keeps is no number but a code.
    """

    #: Fifteen digits survive a float64 whatever they are.
    _PATTERNS: ClassVar[dict[str, str]] = {
        "int64": r"^-?(0|[1-9][0-9]{0,18})$",
        "double": r"^-?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$",
        "bool": r"^(?i:true|false)$",
    }

    def __init__(self, name: str, where: Where) -> None:
        self._possible = [] if name in STRING_COLUMNS else list(self._PATTERNS)
        self._blank = True

    def see(self, values: Any, lines: Sequence[int]) -> None:
        if not self._possible:
            return
        cells = pa.array(values, pa.string()).drop_null()
        self._blank &= len(cells) == 0
        self._possible = [kind for kind in self._possible if self._fits(cells, kind)]

    def arrow_type(self) -> pa.DataType:
        kind = "string" if self._blank or not self._possible else self._possible[0]
        return pa.type_for_alias(kind)

    def convert(self, values: Any, lines: Sequence[int]) -> pa.Array:
        cells = pa.array(values, pa.string())
        kind = self.arrow_type()
        return pc.utf8_lower(cells).cast(kind) if pa.types.is_boolean(kind) else cells.cast(kind)

    def _fits(self, cells: pa.Array, kind: str) -> bool:
        if not pc.all(pc.match_substring_regex(cells, self._PATTERNS[kind]), min_count=0).as_py():
            return False
        try:
            numbers = pc.cast(cells, kind) if kind != "bool" else None
        except pa.ArrowInvalid:
            return False
        return kind != "double" or pc.all(pc.is_finite(numbers), min_count=0).as_py() is True


class ValueColumn:
    """JSON values: one type for all rows, where an integer may stand in a column of floats.

    Ids may be strings or integers and become strings; parts are strings, and `""` is absent.
    exploded: the column is a list a row, of which each element will be a row; one value is a list
    of one.
    """

    _SCALARS: ClassVar[dict[type, pa.DataType]] = {
        str: pa.string(),
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
    }

    def __init__(self, name: str, where: Where, exploded: bool = False) -> None:
        self._name = name
        self._where = where
        self._type: pa.DataType = pa.null()
        self._fixed = name in STRING_COLUMNS and not exploded
        self._exploded = exploded

    def see(self, values: Any, lines: Sequence[int]) -> None:
        values = self._listed(values)
        kinds = set(map(type, values)) - {type(None)}
        if self._fixed:
            allowed: set[type] = {str, int} if self._name == "id" else {str}
            if kinds - allowed:
                self._refuse_part(values, lines, allowed)
            self._type = pa.string()
            return
        if not kinds:
            return
        self._refuse_unsound(values, lines, kinds)
        try:
            merged = merge_types(self._type, self._infer(values, kinds))
        except _MISFITS:
            merged = None
        self._type = merged if merged is not None else self._merge_singly(values, lines)

    def arrow_type(self) -> pa.DataType:
        if pa.types.is_null(self._type) or _holds_empty_struct(self._type):
            return pa.string()
        return self._type

    def convert(self, values: Any, lines: Sequence[int]) -> pa.Array:
        values, kind = self._values(self._listed(values)), self.arrow_type()
        try:
            return pa.array(values, kind)
        except _MISFITS:
            for value, line in zip(values, lines, strict=True):
                try:
                    pa.array([value], kind)
                except _MISFITS as error:
                    raise self._bad(line, f"cannot hold {_shown(value)} as {kind}") from error
            raise

    def _values(self, values: Any) -> list[Any]:
        """The values as `pa.array` takes them for this column's type."""
        if self._name == "id":
            return [str(v) if type(v) is int else v for v in values]
        if self._fixed:
            return [v or None for v in values]
        if pa.types.is_floating(self._type):
            return [v if v is None else float(v) for v in values]
        if _holds_empty_struct(self._type):  # Parquet cannot write one: kept as JSON text
            return [v if v is None else json.dumps(v, ensure_ascii=False) for v in values]
        return list(values)

    def _listed(self, values: Any) -> Any:
        if not self._exploded:
            return values
        return [v if v is None or type(v) is list else [v] for v in values]

    def _infer(self, values: Any, kinds: set[type]) -> pa.DataType | None:
        if kinds == {int, float}:
            return pa.float64()
        if len(kinds) > 1:
            return None
        kind = next(iter(kinds))
        return self._SCALARS[kind] if kind in self._SCALARS else pa.infer_type(values)

    def _merge_singly(self, values: Any, lines: Sequence[int]) -> pa.DataType:
        """The merged type row by row, so that the row that breaks it can be named."""
        for value, line in zip(values, lines, strict=True):
            if value is None:
                continue
            try:
                merged = merge_types(self._type, self._infer([value], {type(value)}))
            except _MISFITS:
                merged = None
            if merged is None:
                raise self._bad(line, f"is {self._type} in earlier rows, here {_shown(value)}")
            self._type = merged
        return self._type

    def _refuse_part(self, values: Any, lines: Sequence[int], allowed: set[type]) -> None:
        for value, line in zip(values, lines, strict=True):
            if value is not None and type(value) not in allowed:
                words = "a string or an integer" if int in allowed else "a string or null"
                error = self._bad(line, f"must be {words}, here {_shown(value)}")
                if type(value) is list:
                    error.hint = f"`--explode {self._name}` makes each element a row"
                raise error

    def _refuse_unsound(self, values: Any, lines: Sequence[int], kinds: set[type]) -> None:
        """Refuse numbers that no column type holds."""
        if int not in kinds and float not in kinds:
            return
        for value, line in zip(values, lines, strict=True):
            if type(value) is float and not math.isfinite(value):
                raise self._bad(line, "holds a number too large for a float64")
            if type(value) is int and not -(2**63) <= value < 2**63:
                raise self._bad(line, f"holds {value}, too large for an int64")

    def _bad(self, line: int, message: str) -> BadInput:
        return BadInput(
            f'{self._where(line)}: column "{self._name}" {message}',
            "a column has one type in all rows; null stands for a missing value",
        )


class ArrowColumn:
    """Arrays that have a type; ids may be integers, dictionaries of strings become strings."""

    def __init__(self, name: str, where: Where, kind: pa.DataType, exploded: bool = False) -> None:
        self._name = name
        self._where = where
        self._plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        self._fixed = name in STRING_COLUMNS and not exploded
        texts = pa.types.is_string(self._plain) or pa.types.is_large_string(self._plain)
        texts |= pa.types.is_string_view(self._plain) or pa.types.is_null(self._plain)
        if self._fixed and not (texts or (name == "id" and pa.types.is_integer(self._plain))):
            hint = "parts are paths or text; `--map` names other columns"
            if pa.types.is_list(kind) or pa.types.is_large_list(kind):
                hint = f"`--explode {name}` makes each element a row"
            raise BadInput(f'{where(0)}: column "{name}" holds {kind}, not strings', hint)

    def see(self, values: Any, lines: Sequence[int]) -> None:
        """Nothing to learn: the file says the type."""

    def arrow_type(self) -> pa.DataType:
        return pa.string() if self._fixed or pa.types.is_string_view(self._plain) else self._plain

    def convert(self, values: Any, lines: Sequence[int]) -> pa.Array:
        array = values.cast(self._plain).cast(self.arrow_type())
        if pa.types.is_string(array.type):
            self._refuse_bad_text(array, lines)
        if self._fixed and self._name != "id":
            array = pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
        return array

    def _refuse_bad_text(self, array: pa.Array, lines: Sequence[int]) -> None:
        """Parquet does not promise that strings are UTF-8."""
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            for i, line in enumerate(lines):
                try:
                    array[i].as_py()
                except UnicodeDecodeError as error:
                    message = f'{self._where(line)}: column "{self._name}" is not UTF-8'
                    raise BadInput(message, "write the table again as UTF-8") from error
            raise


def merge_types(left: pa.DataType, right: pa.DataType | None) -> pa.DataType | None:
    """The type that holds the values of both, None when there is none."""
    if right is None or left == right or pa.types.is_null(right):
        return None if right is None else left
    if pa.types.is_null(left):
        return right
    if {left, right} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_list(left) and pa.types.is_list(right):
        inner = merge_types(left.value_type, right.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_struct(left) and pa.types.is_struct(right):
        fields = {field.name: field.type for field in left}
        for field in right:
            inner = merge_types(fields.get(field.name, pa.null()), field.type)
            if inner is None:
                return None
            fields[field.name] = inner
        return pa.struct(list(fields.items()))
    return None


def _holds_empty_struct(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_holds_empty_struct(field.type) for field in kind)
    return pa.types.is_list(kind) and _holds_empty_struct(kind.value_type)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
