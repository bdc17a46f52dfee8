"""The items of a source or a store, a run of rows at a time, and the parts that they name.

One shape for both, so that what looks at data need not ask which it has. Reads no media.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa

from mmcli.core.errors import UsageError
from mmcli.core.types import PART_COLUMNS
from mmcli.data.decode import PartTask
from mmcli.data.places import locate
from mmcli.data.source import SourceOptions, open_source
from mmcli.data.synth.directory import is_data
from mmcli.engine.decoding import worker_count
from mmcli.store.manifest import MANIFEST
from mmcli.store.reader import Store
from mmcli.store.rows import StoreRows

#: Rows looked at in one go.
BLOCK_ROWS = 4_096


class Rows(Protocol):
    """Rows by number, as a source has them."""

    schema: pa.Schema

    def rows(self, start: int, stop: int) -> pa.Table: ...


@dataclass(frozen=True)
class Items:
    """Items and where their parts lie.

    kind: folder, csv …, or store. parts: the part columns in which any row may have a value.
    """

    spec: str
    kind: str
    n_items: int
    root: str | None
    text_is_path: bool
    parts: tuple[str, ...]
    reader: Rows
    ignored: Mapping[str, int]
    store: Store | None = None
    here_only: bool = False

    @property
    def columns(self) -> list[str]:
        """Columns beside the id and the parts."""
        names = self.reader.schema.names
        return [name for name in names if name != "id" and name not in PART_COLUMNS]

    def blocks(self) -> Iterator[tuple[int, pa.Table]]:
        """First row and rows, in order."""
        for start in range(0, self.n_items, BLOCK_ROWS):
            yield start, self.reader.rows(start, min(start + BLOCK_ROWS, self.n_items))

    def tasks(self, start: int, table: pa.Table) -> Iterator[PartTask]:
        """The parts of some rows, row by row. A part without a value is none."""
        columns = {part: table.column(part).to_pylist() for part in self.parts}
        for row in range(table.num_rows):
            for part, values in columns.items():
                value = values[row]
                if value is None or not value.strip():
                    continue
                is_path = part != "text" or self.text_is_path
                where = locate(self.root, value) if is_path else value
                yield PartTask(start + row, part, where, is_path)

    def workers(self, requested: int | None) -> int:
        """How many processes look at files."""
        files = len(self.parts) - ("text" in self.parts and not self.text_is_path)
        return 0 if self.here_only else worker_count(requested, self.n_items * files)

    def named(self, rows: Any, columns: list[str]) -> list[dict[str, Any]]:
        """Columns of some rows, in the order given; for what is said of few of them."""
        found: dict[int, dict[str, Any]] = {}
        wanted = np.unique(np.asarray(rows, np.int64))
        for block in np.split(wanted, np.flatnonzero(np.diff(wanted // BLOCK_ROWS)) + 1):
            if not len(block):
                continue
            start = int(block[0]) // BLOCK_ROWS * BLOCK_ROWS
            table = self.reader.rows(start, min(start + BLOCK_ROWS, self.n_items)).select(columns)
            taken = table.take(pa.array(block - start)).to_pylist()
            found |= dict(zip(block.tolist(), taken, strict=True))
        return [found[int(row)] for row in rows]


class _StoreItems:
    """The items of a store as rows by number."""

    def __init__(self, store: Store) -> None:
        self._rows = StoreRows(store, {})
        self.schema = self._rows.schema

    def rows(self, start: int, stop: int) -> pa.Table:
        return self._rows.items(np.arange(start, stop, dtype=np.int64))


@contextmanager
def open_items(
    spec: str,
    mapping: Mapping[str, str] | None = None,
    root: str | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Items]:
    """Open a store, or whatever `extract` takes."""
    path = Path(spec)
    if spec != "-" and (path / MANIFEST).is_file() and not is_data(path):
        if mapping or root:
            raise UsageError("`--map` and `--root` are for sources", f"`{path}` is finished")
        store = Store.open(path)
        reader = _StoreItems(store)
        parts = tuple(part for part in PART_COLUMNS if _is_text(reader.schema, part))
        yield Items(spec, "store", store.rows, store.source_root, False, parts, reader, {}, store)
        return
    with tempfile.TemporaryDirectory(prefix="mmcli-") as spool:
        source = open_source(SourceOptions(spec, root, mapping or {}), Path(spool), stdin)
        try:
            yield Items(
                spec,
                source.kind,
                source.n_items,
                source.root,
                source.text_is_path,
                source.modalities,
                source,
                source.ignored,
                here_only=getattr(source, "in_this_process", False),
            )
        finally:
            source.close()


def _is_text(schema: pa.Schema, name: str) -> bool:
    return name in schema.names and pa.types.is_string(schema.field(name).type)
