"""What an index directory holds and how it is committed: file names, manifest, generations.

Knows nothing about FAISS or vectors. `manifest.json` is written last and names every other file;
an index that replaces another writes new file names, commits, then drops the old ones.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.store.atomic import DirectoryLock, disk_errors, write_bytes
from mmcli.store.hashes import check_files
from mmcli.store.manifest import MANIFEST, STATE, file_record, read_manifest, write_manifest
from mmcli.store.slugs import generation_name

FORMAT = "mmcli.index/1"
_OURS = re.compile(
    r"(?:index|items|query|removed|keywords|lists)(?:-built|-added)?"
    r"(?:\.g(\d+))?(?:\.faiss|\.parquet|\.npy)?"
)


def open_index(path: str | Path) -> dict[str, Any]:
    """The manifest of an index. Raises BadInput when there is no finished index at `path`."""
    folder = Path(path)
    if (folder / STATE).is_file() and not (folder / MANIFEST).exists():
        raise BadInput(f"index `{path}` is unfinished", "build it again with `--force`")
    manifest = read_manifest(folder, expect="mmcli.index")
    missing = [
        name
        for name in ("index", "items", "metric", "dim", "rows", "space")
        if name not in manifest
    ]
    if missing:
        raise BadInput(f"`{folder / MANIFEST}` lacks `{missing[0]}`", "build the index again")
    return manifest


def query_folder(top: str, modality: str) -> str:
    """Where what queries of a modality need lies; `top` is the generation's name of `query`."""
    return f"{top}/{modality}"


def query_files(manifest: Mapping[str, Any], modality: str) -> list[str]:
    """The files that a query of that modality needs, relative to the index; may be none.

    Those of the exported tower where there is one, else the tower of an aligner.
    """
    entry = manifest.get("queries", {}).get(modality, {})
    folder, tower = entry.get("folder"), entry.get("tower")
    if not folder:
        return [tower] if tower else []
    return [n for n in manifest.get("files", {}) if n.startswith(f"{folder}/") and n != tower]


def check(
    path: str | Path, manifest: Mapping[str, Any], names: Iterable[str] | None, mode: str
) -> None:
    """Compare files with their hashes in the manifest. Raises BadInput naming one that differs."""
    check_files(Path(path), dict(manifest), None if names is None else list(names), mode=mode)


class IndexWriter:
    """The lock on an index directory and the names of its next generation of files.

    Used as a context manager; an error leaves the directory as it was found, a process that is
    killed leaves its files beside a `state.json`. The index that was there before stays valid.
    """

    def __init__(self, path: str | Path, force: bool = False) -> None:
        self.path = Path(path)
        self.force = force
        self.generation = 0
        self._lock: Any = None
        self._made_directory = False

    def __enter__(self) -> "IndexWriter":
        refuse_overwrite(self.path, self.force)
        self._made_directory = not self.path.exists()
        self._lock = DirectoryLock(self.path)
        self._lock.__enter__()
        try:
            refuse_overwrite(self.path, self.force)  # someone may have finished in between
            self.generation = self._next_generation()
            state = {"format": FORMAT, "generation": self.generation}
            write_bytes(self.path / STATE, (json.dumps(state) + "\n").encode())
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
            self._drop_unfinished()
        self._lock.__exit__(kind, error, trace)
        if kind is not None and self._made_directory:
            with suppress(OSError):  # not empty: someone else put a file there
                self.path.rmdir()

    def name(self, stem: str, suffix: str = "") -> str:
        """The name of a file or folder in this generation: `index.faiss`, `index.g1.faiss`."""
        return generation_name(stem, self.generation, suffix)

    def commit(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Write the manifest over every file of this generation; drop what it does not name."""
        files = {name: file_record(self.path / name) for name in self._written()}
        full = {
            "format": FORMAT,
            **manifest,
            "generation": self.generation,
            "files": files,
        }
        write_manifest(self.path, full)
        self._drop(keep={name.split("/")[0] for name in files})
        (self.path / STATE).unlink(missing_ok=True)
        return full

    def _written(self) -> list[str]:
        found = []
        for top in own_entries(self.path):
            if generation_of(top.name) != self.generation:
                continue
            inside = top.rglob("*") if top.is_dir() else [top]
            found += [f.relative_to(self.path).as_posix() for f in inside if f.is_file()]
        return sorted(found)

    def _next_generation(self) -> int:
        used = [generation_of(p.name) for p in own_entries(self.path)]
        if (self.path / MANIFEST).exists():
            return max(used, default=0) + 1
        self._drop(keep=set())  # left behind by a build that never finished
        return 0

    def _drop_unfinished(self) -> None:
        """After an error: leave the directory as it was found."""
        for top in own_entries(self.path):
            if generation_of(top.name) == self.generation:
                remove_entry(top)
        (self.path / STATE).unlink(missing_ok=True)

    def _drop(self, keep: set[str]) -> None:
        for top in own_entries(self.path):
            if top.name not in keep:
                remove_entry(top)
        for leftover in self.path.glob(".tmp-*"):
            remove_entry(leftover)


def refuse_overwrite(path: Path, force: bool) -> None:
    """Raise BadInput unless an index may be written to `path`."""
    with disk_errors(path):
        if not path.exists():
            return
    if not path.is_dir():
        raise BadInput(f"`{path}` is a file", "give another directory to `-o`")
    names = {p.name for p in path.iterdir()} - {".lock"}
    if not names:
        return
    if MANIFEST in names:
        kind = _format_of(path / MANIFEST)
        if kind != FORMAT.partition("/")[0]:
            raise BadInput(f"`{path}` holds something else ({kind})", "give another directory")
        if not force:
            raise BadInput(f"`{path}` already holds an index", "`--force` replaces it")
    elif STATE not in names or _format_of(path / STATE) != FORMAT.partition("/")[0]:
        raise BadInput(f"`{path}` is not empty and holds no index", "give another directory")
    elif not force:
        raise BadInput(f"index `{path}` is unfinished", "build it again with `--force`")


def _format_of(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return str(found["format"]).partition("/")[0]
    except (OSError, ValueError, KeyError, TypeError):
        return "a manifest that is not mmcli's"


def own_entries(folder: Path) -> list[Path]:
    """The files and folders in `folder` that are an index's, whoever names them."""
    return [p for p in folder.iterdir() if _OURS.fullmatch(p.name)]


def generation_of(name: str) -> int:
    """The generation in a name, 0 without one."""
    found = _OURS.fullmatch(name)
    return int(found[1] or 0) if found else 0


def remove_entry(path: Path) -> None:
    """Drop a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
