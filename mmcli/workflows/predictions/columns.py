"""Columns by which predictions are sliced and grouped: their own, or joined by id."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.data.groups import encode, group_rows, refuse_nested
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.store.prediction_values import unique_ids
from mmcli.store.predictions import NEEDED, Predictions
from mmcli.store.reader import Store

Rows = NDArray[np.int64]


class ItemColumns:
    """The columns of the scored rows of predictions; items: a store or a Parquet file, or None.

    Raises BadInput when the items lack ids, or share none with the predictions.
    """

    def __init__(self, predictions: Predictions, items: str | None, verify: str) -> None:
        self.predictions = predictions
        self.path = items
        self.missing = 0
        self._place: pa.Array | None = None
        self._table: Any = None
        if items is None:
            return
        self._table = Store.open(items, verify) if Path(items).is_dir() else _Parquet(Path(items))
        ids = unique_ids(Path(items), self._table.items(["id"]).column("id"))
        scored = pa.array([predictions.ids[row] for row in predictions.scored], pa.string())
        self._place = pc.index_in(scored, value_set=pa.array(ids, pa.string()))
        self.missing = self._place.null_count
        if self.missing == len(scored):
            raise BadInput(
                f"`{items}` has no item that is scored in `{predictions.path}`",
                "items are joined by their `id`",
            )

    def values(self, name: str) -> pa.ChunkedArray:
        """A column of the scored rows, null where an item lacks it. Raises BadInput without it."""
        own = (*self.predictions.columns, *NEEDED)
        if name in own:
            column = self.predictions.column(name).take(pa.array(self.predictions.scored))
        elif self._table is not None and name in self._table.columns:
            column = self._table.items([name]).column(name).take(self._place)
        else:
            known = [*self.predictions.columns, *(self._table.columns if self._table else ())]
            where = f"`{self.predictions.items}`" + (f" or `{self.path}`" if self.path else "")
            hint = "`--items STORE` brings in the columns of a store"
            raise BadInput(
                f"there is no column `{name}` in {where}",
                suggestion(name, known) if known else hint,
            )
        refuse_nested(column, name)
        return column

    def codes(self, name: str) -> tuple[Rows, list[Any]]:
        """The number of each scored row's value, -1 where it has none, and the values."""
        codes, values = encode(self.values(name))
        return codes.astype(np.int64), values

    def groups(self, name: str) -> Rows:
        """The group of each scored row, numbered from 0; a row without a value is one itself."""
        ids = pa.array([self.predictions.ids[row] for row in self.predictions.scored], pa.string())
        return group_rows(ids, self.values(name), name).codes.astype(np.int64)


class _Parquet:
    """A Parquet file that is read as a store's items are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = list(open_parquet(path).schema_arrow.names)
        if "id" not in self.columns:
            raise BadInput(f"`{path}` has no column `id`", "items are joined by their `id`")

    def items(self, columns: list[str]) -> pa.Table:
        return read_rows(open_parquet(self.path), self.path, columns)
