"""The spooled rows of a source: one Parquet file in which any run of rows costs that run only.

Knows items and their columns; how a source is read is `source.py`'s.
"""

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmcli.core.types import PART_COLUMNS
from mmcli.data.explode import explode, exploded_schema
from mmcli.data.folders import printable
from mmcli.data.places import is_url

_PROTOCOL = r"^(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://"


@dataclass(frozen=True)
class SourceOptions:
    """What the user says of a source: SPEC, `--root`, `--map` (our names to theirs), `-0`,
    `--explode`."""

    spec: str
    root: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    null_separated: bool = False
    explode: str | None = None


class Rows(Protocol):
    """What a source is read from: columns and batches of rows. fingerprint and ignored are asked
    once the batches are read."""

    text_is_path: bool

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def ignored(self) -> Mapping[str, int]: ...

    def batches(self) -> Iterator[pa.Table]: ...


class Source:
    """Rows of a source, by number; made by `open_source`.

    kind: folder, glob, paths, jsonl, csv, tsv, parquet, tar or hf-dataset. root: what the parts'
    places are relative to. text_is_path: the text part is a file. modalities: the part columns in
    which any row has a value. ignored: files left out, by suffix. in_this_process: parts lie in
    this process's memory (`memory://`), where no worker finds them.
    """

    def __init__(
        self, kind: str, root: str, options: SourceOptions, rows: Rows, spool_dir: Path
    ) -> None:
        self.kind = kind
        self.root = root
        self.text_is_path = rows.text_is_path
        self._options = options
        schema, batches = rows.schema, rows.batches()
        if options.explode:
            schema = exploded_schema(schema, options.explode, printable(options.spec))
            batches = explode(batches, options.explode, schema)
        urls = _Urls(root, self.text_is_path)
        spool, self.modalities = _write_spool(spool_dir, schema, urls.seen(batches))
        self.in_this_process = urls.in_this_process
        self.fingerprint = rows.fingerprint
        self.ignored = dict(rows.ignored)
        self._attach(spool)

    def _attach(self, spool: Path) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._file = pq.ParquetFile(spool, pre_buffer=False)
        metadata = self._file.metadata
        groups = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        self._starts = [0, *accumulate(groups)]
        self.n_items: int = self._starts[-1]
        self.schema: pa.Schema = self._file.schema_arrow

    def rows(self, start: int, stop: int) -> pa.Table:
        """Rows `start` to `stop` (excluded), reading only the row groups that hold them."""
        start, stop = max(0, start), min(stop, self.n_items)
        if start >= stop:
            return self.schema.empty_table()
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, stop - 1)
        with self._lock:
            table = self._file.read_row_groups(list(range(first, last)), use_threads=False)
        return table.slice(start - self._starts[first], stop - start)

    def respooled(
        self,
        schema: pa.Schema,
        batches: Iterator[pa.Table],
        spool_dir: Path,
        fingerprint: Callable[[], str],
    ) -> "Source":
        """The same source with other rows, spooled into another folder; this one is closed.

        fingerprint: asked once the batches are read.
        """
        other = self.picked(schema, batches, spool_dir)
        other.fingerprint = fingerprint()
        self.close()
        return other

    def picked(self, schema: pa.Schema, batches: Iterator[pa.Table], spool_dir: Path) -> "Source":
        """The same source with other rows, spooled into another folder; this one stays open."""
        spool_dir.mkdir(parents=True, exist_ok=True)
        spool, modalities = _write_spool(spool_dir, schema, batches)
        other = copy(self)
        other._attach(spool)
        other.modalities = modalities
        return other

    def describe(self) -> dict[str, Any]:
        """What a manifest says of the source."""
        return {
            "kind": self.kind,
            "spec": printable(self._options.spec),
            "mapping": dict(self._options.mapping),
            "n_items": self.n_items,
            "modalities": list(self.modalities),
            "ignored": dict(sorted(self.ignored.items())),
            "fingerprint": self.fingerprint,
            **({"explode": self._options.explode} if self._options.explode else {}),
        }

    def close(self) -> None:
        """Close and delete the spool."""
        self._file.close()
        self._spool.unlink(missing_ok=True)


class _Urls:
    """Watches the parts go by: a protocol whose package is missing ends the run before it begins.

    Raises MissingResource for it.
    """

    def __init__(self, root: str, text_is_path: bool) -> None:
        self._parts = [p for p in PART_COLUMNS if p != "text" or text_is_path]
        self._protocols: set[str] = set()
        if is_url(root):
            self._take(root)

    @property
    def in_this_process(self) -> bool:
        return "memory" in self._protocols

    def seen(self, batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """The batches as they are."""
        for batch in batches:
            for part in self._parts:
                if part in batch.schema.names:
                    self._look(batch.column(part))
            yield batch

    def _look(self, values: pa.ChunkedArray) -> None:
        found = pc.struct_field(pc.extract_regex(values, _PROTOCOL), "protocol")
        for protocol in pc.unique(found.drop_null()).to_pylist():
            if protocol.lower() not in self._protocols:
                self._take(values[pc.index(found, protocol).as_py()].as_py())

    def _take(self, url: str) -> None:
        from mmcli.data.remote import check_protocols, protocol_of

        check_protocols([url])
        self._protocols.add(protocol_of(url))


def _write_spool(
    spool_dir: Path, schema: pa.Schema, batches: Iterator[pa.Table]
) -> tuple[Path, tuple[str, ...]]:
    """One row group a batch; also the parts of which any row has one."""
    path = spool_dir / "source.parquet"
    present: set[str] = set()
    with pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=1, use_dictionary=False,
        write_statistics=False,
    ) as writer:  # fmt: skip
        for batch in batches:
            writer.write_table(batch, row_group_size=len(batch))
            for part in PART_COLUMNS:
                if part in schema.names and batch.column(part).null_count < len(batch):
                    present.add(part)
    return path, tuple(part for part in PART_COLUMNS if part in present)
