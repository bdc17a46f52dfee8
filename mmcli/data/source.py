"""Where items come from: opens any kind of source and spools its rows for random access.

Knows items and their columns; opens no image, sound or text file. Whatever the source, its rows
end in one Parquet file in which any run of rows can be read at the cost of that run.
"""

import errno
import os
import shutil
import sqlite3
import sys
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.core.errors import BadInput, OutOfResource, UsageError
from mmcli.core.types import PART_COLUMNS
from mmcli.data.folders import Pairing, add_listed, describe_ignored, listed_paths, printable
from mmcli.data.suffixes import TABLE_KINDS, modality_of, split_suffix
from mmcli.data.synth.directory import ITEMS, is_data
from mmcli.data.table_source import TableSource
from mmcli.data.tables import TableFile
from mmcli.data.walk import is_pattern, split_pattern, walk

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class SourceOptions:
    """What the user says of a source: SPEC, `--root`, `--map` (our names to theirs), `-0`."""

    spec: str
    root: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    null_separated: bool = False


class Source:
    """Rows of a source, by number; made by `open_source`.

    kind: folder, glob, paths, jsonl, csv, tsv or parquet. text_is_path: the text part is a file.
    modalities: the part columns in which any row has a value. ignored: files left out, by suffix.
    """

    def __init__(
        self,
        kind: str,
        root: str,
        options: SourceOptions,
        spool: Path,
        fingerprint: str,
        ignored: Mapping[str, int],
        modalities: tuple[str, ...],
    ) -> None:
        self.kind = kind
        self.root = root
        self.text_is_path = kind in ("folder", "glob", "paths")
        self.fingerprint = fingerprint
        self.ignored = dict(ignored)
        self.modalities = modalities
        self._options = options
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
        spool_dir.mkdir(parents=True, exist_ok=True)
        spool, modalities = _write_spool(spool_dir, schema, batches)
        other = copy(self)
        other._attach(spool)
        other.modalities, other.fingerprint = modalities, fingerprint()
        self.close()
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
        }

    def close(self) -> None:
        """Close and delete the spool."""
        self._file.close()
        self._spool.unlink(missing_ok=True)


def open_source(options: SourceOptions, spool_dir: Path, stdin: BinaryIO | None = None) -> Source:
    """Read the whole source once or twice, check it, and spool its rows into `spool_dir`.

    Raises BadInput that names the file and row of what is wrong, UsageError for a terminal on
    stdin and options that do not fit, OutOfResource when the disk is full.
    """
    with _disk_errors(spool_dir):
        spool_dir.mkdir(parents=True, exist_ok=True)
        if options.spec == "-":
            return _open_stdin(options, spool_dir, stdin)
        if options.null_separated:
            raise UsageError("`-0` is for paths on stdin", "name the source `-`")
        if os.path.isdir(options.spec) and is_data(options.spec):
            table = os.path.join(options.spec, ITEMS)
            return _open_file(replace(options, spec=table), spool_dir)
        if os.path.isdir(options.spec):
            return _open_tree(options, spool_dir, "folder", options.spec, ("**",))
        if os.path.lexists(options.spec):
            return _open_file(options, spool_dir)
        if is_pattern(options.spec):
            base, pattern = split_pattern(options.spec)
            if not os.path.isdir(base):
                raise BadInput(
                    f"`{printable(base)}` of `{printable(options.spec)}` is no folder",
                    "what stands before the first wildcard must be one",
                )
            return _open_tree(options, spool_dir, "glob", base, pattern)
        raise BadInput(
            f"`{printable(options.spec)}` does not exist",
            "SOURCE is a folder, a glob, a table (JSONL, CSV, TSV, Parquet) or `-`",
        )


def _open_tree(
    options: SourceOptions, spool_dir: Path, kind: str, folder: str, pattern: tuple[str, ...]
) -> Source:
    if kind == "folder" and _is_hf_dataset(folder):
        raise BadInput(
            f"`{printable(folder)}` is a saved HF dataset, which cannot be read yet",
            "export it: `dataset.to_parquet(…)`",
        )
    base = os.path.abspath(folder)
    with _pairing(options, spool_dir, base) as pairing:
        for path, is_directory in walk(base, pattern):
            pairing.add(f"{base.rstrip('/')}/{path}", is_directory)
        return _spool_items(options, spool_dir, kind, pairing)


def _open_file(options: SourceOptions, spool_dir: Path) -> Source:
    suffix = split_suffix(options.spec)[1]
    path = Path(options.spec)
    if suffix in TABLE_KINDS:
        if not path.is_file():
            raise BadInput(
                f"`{printable(options.spec)}` is not a regular file",
                "pipe it: `… | mmcli extract -`",
            )
        root = os.path.abspath(options.root or path.parent)
        table = TableFile(path, TABLE_KINDS[suffix], printable(options.spec))
        return _spool_table(options, spool_dir, table, root)
    if modality_of(suffix):
        with _pairing(options, spool_dir, os.path.abspath(path.parent)) as pairing:
            pairing.add(os.path.abspath(path))
            return _spool_items(options, spool_dir, "paths", pairing)
    hint = "SOURCE is a folder, a glob, a table (JSONL, CSV, TSV, Parquet) or `-`"
    if suffix == ".tar":
        hint = "unpack it: WebDataset archives cannot be read yet"
    elif suffix == ".json":
        hint = "one object a line, in a file named `.jsonl`: `jq -c '.[]'` makes it"
    raise BadInput(f"`{printable(options.spec)}` is no source that can be read", hint)


def _open_stdin(options: SourceOptions, spool_dir: Path, stdin: BinaryIO | None) -> Source:
    stream = stdin or getattr(sys.stdin, "buffer", None)
    if stream is None or stream.isatty():
        raise UsageError(
            "SOURCE is `-`, but stdin is a terminal",
            "pipe paths or JSONL into it: `ls *.jpg | mmcli extract - -o out`",
        )
    root = os.path.abspath(options.root or ".")
    path = spool_dir / "stdin"
    try:
        with path.open("wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
        with path.open("rb") as listing:
            head = listing.read(1 << 16)
            if head.removeprefix(_BOM).lstrip().startswith(b"{") and not options.null_separated:
                return _spool_table(options, spool_dir, TableFile(path, "jsonl", "stdin"), root)
            listing.seek(len(_BOM) if head.startswith(_BOM) else 0)
            with _pairing(options, spool_dir, root) as pairing:
                add_listed(pairing, listed_paths(listing, options.null_separated))
                return _spool_items(options, spool_dir, "paths", pairing)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _pairing(options: SourceOptions, spool_dir: Path, root: str) -> Iterator[Pairing]:
    if options.mapping:
        raise UsageError("`--map` is for tables", "files are paired by their names")
    root = os.path.abspath(options.root or root)
    pairing = Pairing(spool_dir / "source.sqlite", root)
    try:
        yield pairing
    finally:
        pairing.close()


def _spool_items(options: SourceOptions, spool_dir: Path, kind: str, pairing: Pairing) -> Source:
    if not pairing.present:
        raise _nothing_usable(options, pairing)
    batches = pairing.batches(by_id=kind != "paths")
    spool, modalities = _write_spool(spool_dir, pairing.schema(), batches)
    fingerprint = pairing.fingerprint()
    return Source(kind, pairing.root, options, spool, fingerprint, pairing.ignored, modalities)


def _spool_table(options: SourceOptions, spool_dir: Path, table: TableFile, root: str) -> Source:
    if not os.path.isdir(root):
        raise BadInput(f"`--root {printable(root)}` is no folder", "name one that exists")
    rows = TableSource(table, options.mapping)
    spool, modalities = _write_spool(spool_dir, rows.schema, rows.batches())
    return Source(table.kind, root, options, spool, rows.fingerprint, {}, modalities)


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


def _nothing_usable(options: SourceOptions, pairing: Pairing) -> BadInput:
    name = "stdin" if options.spec == "-" else f"`{printable(options.spec)}`"
    hint = "SOURCE is a folder, a glob, a table (JSONL, CSV, TSV, Parquet) or `-`"
    if pairing.ignored:
        hint = "ignored: " + describe_ignored(pairing.ignored)
        if any(suffix in TABLE_KINDS for suffix in pairing.ignored):
            hint += "; a table is a source by itself: name the file"
    return BadInput(f"{name} names no image, text, speech or video file", hint)


def _is_hf_dataset(folder: str) -> bool:
    names = ("dataset_info.json", "dataset_dict.json")
    return any(os.path.isfile(os.path.join(folder, name)) for name in names)


@contextmanager
def _disk_errors(spool_dir: Path) -> Iterator[None]:
    """Say what happened when the disk is full, whoever noticed."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if full or "is full" in str(error) or "No space left" in str(error):
            raise OutOfResource(
                f"no space left in `{spool_dir}`", "free some, or write to another disk"
            ) from error
        if isinstance(error, PermissionError) and error.filename:
            raise BadInput(
                f"`{printable(str(error.filename))}`: permission denied", "`chmod`, or another user"
            ) from error
        raise
