"""One column of a store that is to be a label: its values, and the words of what is wrong with it.

Every complaint names the column, and where one row is at fault its item and number. Knows nothing
about kinds of labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.data.cells import floats_of, form_of, plain
from mmcli.data.label_kinds import Singles
from mmcli.store.reader import Store


@dataclass(frozen=True)
class LabelOptions:
    """What the user says of the label.

    kind: one of `LABEL_KINDS`, or auto. classes: all there may be, in their order; () is those that
    occur. lenient: the labels are only compared with, so that any will do: few, all the same, or
    none of the classes, which counts as no label.
    """

    column: str
    kind: str = "auto"
    classes: tuple[str, ...] = ()
    lenient: bool = False


class LabelColumn:
    """The values of the column, in their plain type.

    type: as the store has it; form: as `form_of` says. Raises BadInput when the store lacks the
    column, or a float of it is NaN or an infinity.
    """

    def __init__(self, store: Store, options: LabelOptions) -> None:
        self.store = store
        self.options = options
        name = options.column
        if name not in store.columns:
            known = [c for c in store.columns if c != "id" and not c.startswith("has_")]
            raise BadInput(
                f"`{store.path}` has no column `{name}`", suggestion(name, known or store.columns)
            )
        table = store.items([name])
        self.type: pa.DataType = table.column(name).type
        self.form = form_of(self.type)
        self.values: Any = plain(table.column(name))
        if self.form == "number":
            self._refuse_infinite()

    def error(self, what: str, hint: str) -> BadInput:
        """What is wrong with the column as a whole."""
        return BadInput(f"column `{self.options.column}` of `{self.store.path}` {what}", hint)

    def unfit(self, hint: str) -> BadInput:
        """Its type makes no label of the kind."""
        return self.error(f"holds {self.type}", hint)

    def at(self, row: int) -> str:
        """Where a value stands."""
        return f"(item `{self.store.ids()[row]}`, row {row})"

    def constant(self, value: str) -> BadInput:
        """All its labels are the same."""
        return self.error(
            f"has one value only: `{value[:60]}`",
            "nothing can be learned from it: name another column, or label more rows",
        )

    def source(self, phrase: str) -> str:
        """Why a label is of its kind. phrase: what the column holds."""
        forced = self.options.kind
        asked = "" if forced == "auto" else f", taken as {forced} as asked"
        return f"column `{self.options.column}` {phrase}{asked}"

    def not_a_number(self, column: Singles, value: int, hint: str) -> BadInput:
        """A text among numbers, at the first row that has it."""
        row = int(np.argmax(column.codes == value))
        return BadInput(
            f"`{column.found[value][:60]}` of column `{self.options.column}` of"
            f" `{self.store.path}` is no number {self.at(row)}",
            hint,
        )

    def refuse_single(self, classes: Sequence[str], counts: NDArray[Any], row_of: Any) -> None:
        """Raise BadInput for the first class with one row. row_of: gives that row."""
        single = np.flatnonzero(counts == 1)
        if len(single):
            more = f" ({len(single)} classes have one row)" if len(single) > 1 else ""
            raise BadInput(
                f"class `{classes[single[0]][:60]}` of column `{self.options.column}` has one row"
                f" only {self.at(int(row_of(int(single[0]))))}",
                f"leave its label empty, or merge it with another class{more}",
            )

    def _refuse_infinite(self) -> None:
        values = floats_of(self.values)
        odd = np.flatnonzero(~np.isfinite(values) & self.values.is_valid().to_numpy())
        if len(odd):
            row = int(odd[0])
            raise self.error(
                f"holds {'NaN' if np.isnan(values[row]) else 'an infinity'} {self.at(row)}",
                "correct the number, or leave the label empty",
            )
