"""The rows of a source, read as a store's are: what splits and labels look at before anything is
embedded. Opens no model.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.core.registry import suggestion
from mmcli.data.source import Source, SourceOptions, open_source

_BLOCK_ROWS = 4096


class SourceRows:
    """Columns and ids of every row. path: what messages call the source."""

    def __init__(self, source: Source, spec: str) -> None:
        self.path, self.rows = Path(spec), source.n_items
        self.columns = list(source.schema.names)
        self._source = source

    def items(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all rows. Raises BadInput for one that is not there."""
        for name in columns:
            if name not in self.columns:
                raise BadInput(
                    f"`{self.path}` has no column `{name}`", suggestion(name, self.columns)
                )
        blocks = range(0, max(1, self.rows), _BLOCK_ROWS)
        return pa.concat_tables(
            self._source.rows(at, at + _BLOCK_ROWS).select(list(columns)) for at in blocks
        )

    def ids(self) -> list[str]:
        """The id of every row."""
        found: list[str] = self.items(["id"]).column("id").to_pylist()
        return found


@contextmanager
def open_rows(spec: str, root: str | None, mapping: Mapping[str, str]) -> Iterator[Source]:
    """A source, spooled into a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mmcli-") as spool:
        source = open_source(SourceOptions(spec, root, dict(mapping)), Path(spool))
        try:
            yield source
        finally:
            source.close()
