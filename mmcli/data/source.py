"""Where items come from: opens any kind of source and spools its rows for random access.

Knows kinds of sources; opens no image, sound or text file. Whatever the source, its rows end in
one Parquet file in which any run of rows can be read at the cost of that run.
"""

import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from mmcli.core.errors import BadInput, OutOfResource, UsageError
from mmcli.data.archives import archives_of
from mmcli.data.folders import Pairing, add_listed, describe_ignored, listed_paths, printable
from mmcli.data.places import is_url
from mmcli.data.remote import check_protocols, copy_here, parent_of
from mmcli.data.saved_dataset import SavedDataset, is_saved
from mmcli.data.spool import Source, SourceOptions
from mmcli.data.suffixes import TABLE_KINDS, modality_of, split_suffix
from mmcli.data.synth.directory import ITEMS, is_data
from mmcli.data.table_source import Table, TableSource
from mmcli.data.tables import TableFile
from mmcli.data.tar_source import TarSource
from mmcli.data.walk import is_pattern, split_pattern, walk

__all__ = ["Source", "SourceOptions", "open_source"]

_BOM = b"\xef\xbb\xbf"
_KINDS = (
    "SOURCE is a folder, a glob, a table (JSONL, CSV, TSV, Parquet), a .tar, a saved HF dataset,"
    " a URL or `-`"
)


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
        if options.spec.startswith("file://"):
            options = replace(options, spec=options.spec.removeprefix("file://"))
        archives = archives_of(options.spec)
        if archives is not None:
            return _open_archives(options, spool_dir, archives)
        if is_url(options.spec):
            return _open_url(options, spool_dir)
        if os.path.isdir(options.spec) and is_data(options.spec):
            table = os.path.join(options.spec, ITEMS)
            return _open_file(replace(options, spec=table), spool_dir)
        if os.path.isdir(options.spec) and is_saved(options.spec):
            return _open_saved(options, spool_dir)
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
            _KINDS,
        )


def _open_tree(
    options: SourceOptions, spool_dir: Path, kind: str, folder: str, pattern: tuple[str, ...]
) -> Source:
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
        root = _root_of(options, path.parent)
        place = _place_in(root, path)
        table = TableFile(path, TABLE_KINDS[suffix], printable(options.spec), place)
        return _spool_table(options, spool_dir, table, root)
    if modality_of(suffix):
        with _pairing(options, spool_dir, os.path.abspath(path.parent), by_id=False) as pairing:
            pairing.add(os.path.abspath(path))
            return _spool_items(options, spool_dir, "paths", pairing)
    hint = _KINDS
    if suffix == ".json":
        hint = "one object a line, in a file named `.jsonl`: `jq -c '.[]'` makes it"
    raise BadInput(f"`{printable(options.spec)}` is no source that can be read", hint)


def _open_saved(options: SourceOptions, spool_dir: Path) -> Source:
    folder = Path(options.spec)
    root = _root_of(options, folder)
    table = SavedDataset(folder, printable(options.spec), _place_in(root, folder))
    return _spool_table(options, spool_dir, table, root)


def _open_archives(options: SourceOptions, spool_dir: Path, archives: Sequence[str]) -> Source:
    if options.root is not None:
        raise UsageError("`--root` is for tables and lists", "names in an archive are its own")
    parents = list(dict.fromkeys(parent_of(archive) for archive in archives))
    root = parents[0]  # what lies elsewhere on a remote is named whole
    if len(parents) > 1 and not is_url(root):
        root = os.path.commonpath(parents)
    rows = TarSource(archives, root, options.mapping, spool_dir / "source.sqlite", options.explode)
    try:
        return Source("tar", root, options, rows, spool_dir)
    finally:
        rows.close()


def _open_url(options: SourceOptions, spool_dir: Path) -> Source:
    url = options.spec
    check_protocols([url])
    name = url.partition("?")[0]
    suffix = split_suffix(name)[1]
    if suffix in TABLE_KINDS:
        path = copy_here(url, spool_dir / f"table{suffix}")
        try:
            root = _root_of(options, parent_of(name))
            place = name[len(root) + 1 :] if name == url and name.startswith(root + "/") else url
            table = TableFile(path, TABLE_KINDS[suffix], url, place)
            return _spool_table(options, spool_dir, table, root)
        finally:
            path.unlink(missing_ok=True)
    if modality_of(suffix):
        with _pairing(options, spool_dir, parent_of(name), by_id=False) as pairing:
            pairing.add(url)
            return _spool_items(options, spool_dir, "paths", pairing)
    raise BadInput(
        f"`{url}` is no table, archive or media file",
        "name its files one a line on stdin: `… | mmcli extract -`",
    )


def _root_of(options: SourceOptions, folder: Path | str) -> str:
    """What the places of a table are relative to."""
    root = str(folder) if options.root is None else options.root
    return root.rstrip("/") if is_url(root) else os.path.abspath(root)


def _place_in(root: str, path: Path) -> str:
    """A file as the items name it: relative where it lies under their root."""
    full = os.path.abspath(path)
    inside = not is_url(root) and full.startswith(root.rstrip("/") + "/")
    if not inside:
        return "" if full == root else printable(full)
    return printable(full[len(root.rstrip("/")) + 1 :])


def _open_stdin(options: SourceOptions, spool_dir: Path, stdin: BinaryIO | None) -> Source:
    stream = stdin or getattr(sys.stdin, "buffer", None)
    if stream is None or stream.isatty():
        raise UsageError(
            "SOURCE is `-`, but stdin is a terminal",
            "pipe paths or JSONL into it: `ls *.jpg | mmcli extract - -o out`",
        )
    root = _root_of(options, ".")
    path = spool_dir / "stdin"
    try:
        with path.open("wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
        with path.open("rb") as listing:
            head = listing.read(1 << 16)
            if head.removeprefix(_BOM).lstrip().startswith(b"{") and not options.null_separated:
                return _spool_table(options, spool_dir, TableFile(path, "jsonl", "stdin"), root)
            listing.seek(len(_BOM) if head.startswith(_BOM) else 0)
            with _pairing(options, spool_dir, root, by_id=False) as pairing:
                add_listed(pairing, listed_paths(listing, options.null_separated))
                return _spool_items(options, spool_dir, "paths", pairing)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _pairing(
    options: SourceOptions, spool_dir: Path, root: str, by_id: bool = True
) -> Iterator[Pairing]:
    if options.mapping:
        raise UsageError("`--map` is for tables", "files are paired by their names")
    pairing = Pairing(spool_dir / "source.sqlite", _root_of(options, root), by_id)
    try:
        yield pairing
    finally:
        pairing.close()


def _spool_items(options: SourceOptions, spool_dir: Path, kind: str, pairing: Pairing) -> Source:
    if not pairing.present:
        raise _nothing_usable(options, pairing)
    return Source(kind, pairing.root, options, pairing, spool_dir)


def _spool_table(options: SourceOptions, spool_dir: Path, table: Table, root: str) -> Source:
    if not is_url(root) and not os.path.isdir(root):
        raise BadInput(f"`--root {printable(root)}` is no folder", "name one that exists")
    rows = TableSource(table, options.mapping, options.explode)
    return Source(table.kind, root, options, rows, spool_dir)


def _nothing_usable(options: SourceOptions, pairing: Pairing) -> BadInput:
    name = "stdin" if options.spec == "-" else f"`{printable(options.spec)}`"
    hint = _KINDS
    if pairing.ignored:
        hint = "ignored: " + describe_ignored(pairing.ignored)
        if any(suffix in TABLE_KINDS for suffix in pairing.ignored):
            hint += "; a table is a source by itself: name the file"
        elif ".tar" in pairing.ignored:
            hint += "; archives are a source by themselves: `FOLDER/*.tar`"
        elif ".arrow" in pairing.ignored:
            hint += "; save the dataset: `dataset.save_to_disk(…)`"
    return BadInput(f"{name} names no image, text, speech or video file", hint)


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
