"""The items of imported vectors: their ids, their columns under our names, which parts they have.

Ids are those of the column `id`, else row numbers; two equal ones are an error.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.ids import UniqueIds, normalised, numbered
from mmcli.store.slugs import slug_of
from mmcli.workflows.store.mapped_vectors import Vectors
from mmcli.workflows.store.vectors import clip_mapping

_BLOCK_ROWS = 65_536


class ImportedItems:
    """Rows of items beside vectors.

    mapping: our column -> its name there. schema: the columns of the store, without `has_`.
    """

    def __init__(self, vectors: Vectors, mapping: Mapping[str, str], name: str) -> None:
        self._spool = vectors.items
        self._rows = vectors.rows
        self._name = name
        there = [] if self._spool is None else self._spool.schema.names
        mapping = dict(mapping)
        if vectors.kind == "clip-retrieval":
            mapping = {k: v for k, v in clip_mapping(there).items() if k not in mapping} | mapping
        self._check_mapping(mapping, there)
        if self._spool is not None and self._spool.rows != self._rows:
            raise BadInput(
                f"`{name}` holds {self._rows} vectors, its items have {self._spool.rows} rows",
                "row by row they belong together",
            )
        ours = {theirs: new for new, theirs in mapping.items()}
        self._has = {f"has_{slug_of(key)}": key for key in vectors.keys}
        self._theirs = {ours.get(n, n): n for n in there if n not in self._has}
        for column in self._theirs:
            if column.startswith("has_"):
                raise BadInput(
                    f"`{name}`: the column name `{column}` is reserved",
                    f"rename it: `--map my_{column}={column}`",
                )
        fields = [pa.field("id", pa.string())]
        if self._spool is not None:
            fields += [
                pa.field(new, self._spool.schema.field(theirs).type)
                for new, theirs in self._theirs.items()
                if new != "id"
            ]
        self.schema = pa.schema(fields)
        if "id" in self._theirs:
            self._refuse_repeated()

    def has(self, key: str) -> NDArray[np.bool_] | None:
        """bool `(rows,)` of a key where the items say it; None where they do not."""
        column = f"has_{slug_of(key)}"
        if self._spool is None or column not in self._spool.schema.names:
            return None
        parts = [np.zeros(0, bool)]
        for values in self._spool.column(column):
            if not pa.types.is_boolean(values.type):
                raise BadInput(
                    f"`{self._name}`: column `{column}` is {values.type}, not bool",
                    f"it says which rows have `{key}`: write true and false, or rename it",
                )
            parts.append(values.fill_null(False).to_numpy(zero_copy_only=False))
        return np.concatenate(parts)

    def read(self, start: int, stop: int) -> pa.Table:
        """Rows `start` to `stop`, in the types of `schema`."""
        if self._spool is None:
            return pa.table({"id": pa.array(numbered(start, stop), pa.string())})
        names = list(dict.fromkeys(self._theirs.values()))
        found = self._spool.take(np.arange(start, stop, dtype=np.int64), names)
        ids = self._ids(found, start) if "id" in self._theirs else numbered(start, stop)
        columns = [
            pa.chunked_array([pa.array(ids, pa.string())])
            if field.name == "id"
            else found.column(self._theirs[field.name])
            for field in self.schema
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _ids(self, table: pa.Table, start: int) -> list[str]:
        column = table.column(self._theirs["id"])
        if pa.types.is_nested(column.type) or pa.types.is_floating(column.type):
            raise BadInput(
                f"`{self._name}`: the ids are {column.type}, not texts",
                "name another: `--map id=…`",
            )
        lines = range(start, start + table.num_rows)
        return normalised(column.cast(pa.string()).to_pylist(), lines, self._where)

    def _where(self, line: int) -> str:
        return f"`{self._name}`, row {line}"

    def _refuse_repeated(self) -> None:
        assert self._spool is not None
        ids = UniqueIds()
        for check in (False, True):
            for start in range(0, self._rows, _BLOCK_ROWS):
                rows = np.arange(start, min(start + _BLOCK_ROWS, self._rows), dtype=np.int64)
                found = self._ids(self._spool.take(rows, [self._theirs["id"]]), start)
                if not check:
                    ids.scan(found)
                else:
                    ids.check(found, range(start, start + len(found)), self._where)

    def _check_mapping(self, mapping: Mapping[str, str], there: list[str]) -> None:
        if len(set(mapping.values())) < len(mapping):
            raise UsageError("`--map` names one column twice", "map each column once")
        for ours, theirs in mapping.items():
            if theirs not in there:
                raise BadInput(
                    f"`--map {ours}={theirs}`: the items of `{self._name}` have no column"
                    f" `{theirs}`",
                    suggestion(theirs, there) if there else "`--items` names a table of them",
                )
            if ours in there and ours not in mapping.values():
                raise BadInput(
                    f"`--map {ours}={theirs}`: there is a column `{ours}` too",
                    f"give that one another name: `--map {ours}={theirs},other={ours}`",
                )
