"""The directory of a set of data that mmcli made: written aside, moved into place, then committed.

Everything is built in a temporary folder inside; only when it is whole are its entries moved to the
top, over those of an older set, and `manifest.json` written last. Paths are the same whatever was
there before, so equal options give equal bytes. Knows nothing about what the data are.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.store.atomic import (
    TEMPORARY,
    DirectoryLock,
    directory_exists,
    disk_errors,
    write_bytes,
)
from mmcli.store.hashes import recorded_files
from mmcli.store.manifest import (
    MANIFEST,
    STATE,
    encode_manifest,
    file_path,
    file_record,
    inspect_manifest,
    kind_of,
    refuse_newer,
    write_manifest,
)

KIND = "mmcli.data"
FORMAT = "mmcli.data/1"
STATE_FORMAT = "mmcli.data-state/1"
#: The table that stands for the whole directory where a source is wanted.
ITEMS = "items.jsonl"
_ASIDE = f"{TEMPORARY}new"


def is_data(path: str | Path) -> bool:
    """Whether mmcli made the data in this directory. Raises BadInput when a newer mmcli did."""
    try:
        manifest = inspect_manifest(Path(path))[0]
    except BadInput:  # nobody's manifest, or none
        return False
    if kind_of(manifest) != KIND:
        return False
    refuse_newer(Path(path), manifest)
    return True


def check_free(path: Path, force: bool) -> None:
    """Raise BadInput unless data may be written to `path`: it is new, empty, or to be replaced."""
    if not directory_exists(path):
        return
    names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    if not names:
        return
    if MANIFEST in names:
        kind = kind_of(inspect_manifest(path)[0])
        if kind != KIND:
            what = kind or "a manifest that is not mmcli's"
            raise BadInput(f"`{path}` holds something else ({what})", "choose another `-o`")
        if not force:
            raise BadInput(f"`{path}` already holds data", "`--force` replaces them")
    elif STATE not in names or inspect_manifest(path, STATE)[0].get("format") != STATE_FORMAT:
        raise BadInput(
            f"`{path}` is not empty and holds no data of mmcli (first file: `{names[0]}`)",
            "choose another `-o`",
        )
    elif not force:
        raise BadInput(f"`{path}` is unfinished", "`--force` makes it again")


class DataWriter:
    """Used as a context manager: files go below `folder`, and `commit` makes them the data.

    Without a commit what was there before stays as it was.
    """

    def __init__(self, path: str | Path, force: bool = False) -> None:
        self.path = Path(path)
        self.folder = self.path / _ASIDE
        self.force = force
        self._lock = DirectoryLock(self.path)
        self._new = not self.path.exists()

    def __enter__(self) -> "DataWriter":
        check_free(self.path, self.force)
        self._lock.__enter__()
        try:
            check_free(self.path, self.force)  # someone may have finished in between
            shutil.rmtree(self.folder, ignore_errors=True)
            with disk_errors(self.path):
                self.folder.mkdir()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.__exit__(kind, error, trace)
        if kind is not None and self._new and not os.listdir(self.path):
            self.path.rmdir()

    def commit(
        self, manifest: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Move everything into place and write the manifest.

        files: `bytes` and `sha256` of those that are known already; the others are read.
        """
        found = sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file()
        )
        records = {name: files.get(name) or file_record(self.folder / name) for name in found}
        content = {"format": FORMAT, **manifest, "files": records}
        if hasattr(os, "sync"):
            os.sync()  # once for thousands of small files
        with disk_errors(self.path):
            entries = self._entries()
            state = {"format": STATE_FORMAT, "entries": entries}
            write_bytes(self.path / STATE, encode_manifest(state, indent=None))
            (self.path / MANIFEST).unlink(missing_ok=True)
            for entry in entries:
                _remove(self.path / entry)
            for entry in sorted(os.listdir(self.folder)):
                os.rename(self.folder / entry, self.path / entry)
            write_manifest(self.path, content)
            (self.path / STATE).unlink()
        return content

    def _entries(self) -> list[str]:
        """What is ours at the top: of the older set, of one that was cut off, and of this one."""
        found = set(os.listdir(self.folder))
        if (self.path / MANIFEST).exists():
            files = recorded_files(self.path, inspect_manifest(self.path)[0])
            found |= {name.split("/")[0] for name in files}
        if (self.path / STATE).exists():
            names = inspect_manifest(self.path, STATE)[0].get("entries", [])
            found |= {file_path(self.path, str(name)).name for name in names}
        return sorted(found)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
