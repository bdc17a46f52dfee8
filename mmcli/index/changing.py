"""A change to a finished index: the lock, new file names, the manifest, then the old files gone.

A process that is killed leaves either the old state or the new one, and perhaps files that no
manifest names; the next change clears those away. Knows nothing about FAISS.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mmcli.index.layout import generation_of, open_index, own_entries, remove_entry
from mmcli.store.atomic import TEMPORARY, DirectoryLock
from mmcli.store.manifest import STATE, file_record, write_manifest
from mmcli.store.slugs import generation_name


class IndexChange:
    """Used as a context manager: `manifest` is what the index is now, `commit` what it becomes.

    Raises BadInput when there is no finished index at `path`, or another process writes it. An
    error before `commit` leaves the index as it was.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest: dict[str, Any] = {}
        self.generation = 0
        self._lock = DirectoryLock(self.path)

    def __enter__(self) -> "IndexChange":
        open_index(self.path)  # before a directory is made for the lock
        self._lock.__enter__()
        try:
            self.manifest = open_index(self.path)  # another change may just have ended
            self._clear()
            used = [generation_of(entry.name) for entry in own_entries(self.path)]
            self.generation = max([int(self.manifest.get("generation") or 0), *used]) + 1
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
        if kind is not None:
            self._clear()
        self._lock.__exit__(kind, error, trace)

    def name(self, stem: str, suffix: str = "") -> str:
        """The name of a file or folder of this change: `index.g3.faiss`."""
        return generation_name(stem, self.generation, suffix)

    def commit(self, content: Mapping[str, Any], drop: Iterable[str] = ()) -> dict[str, Any]:
        """Write a manifest of this content over every file; then drop old files.

        drop: names of files and folders that are no longer part of the index. Returns the
        manifest.
        """
        gone = set(drop)
        old = self.manifest.get("files", {})
        files = {n: record for n, record in old.items() if n.split("/")[0] not in gone}
        for entry in own_entries(self.path):
            if generation_of(entry.name) != self.generation or entry.name in gone:
                continue
            inside = [f for f in entry.rglob("*") if f.is_file()] if entry.is_dir() else [entry]
            for file in inside:
                files[file.relative_to(self.path).as_posix()] = file_record(file)
        manifest = {**content, "generation": self.generation, "files": files}
        write_manifest(self.path, manifest)
        self.manifest = manifest
        self._clear()
        return manifest

    def _clear(self) -> None:
        """Drop what the manifest does not name: of this change, or of one that was killed."""
        named = {name.split("/")[0] for name in self.manifest.get("files", {})}
        for entry in own_entries(self.path):
            if entry.name not in named:
                remove_entry(entry)
        for leftover in self.path.glob(f"{TEMPORARY}*"):
            remove_entry(leftover)
        (self.path / STATE).unlink(missing_ok=True)
