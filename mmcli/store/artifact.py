"""A directory that a training run writes: its files, its unfinished state, its commit.

Knows names, generations and `state.json`; nothing about models. Until the manifest is there a run
that was cut off leaves `state.json` and `checkpoint/`, from which `--resume` goes on.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.store.atomic import DirectoryLock, directory_exists, remove, write_bytes
from mmcli.store.manifest import (
    MANIFEST,
    STATE,
    file_record,
    inspect_manifest,
    kind_of,
    read_manifest,
    write_manifest,
)
from mmcli.store.slugs import generation_name
from mmcli.store.survey import differences

CHECKPOINT = "checkpoint"


class ArtifactWriter:
    """The one writer of an aligner or a model; a context manager that holds its directory's lock.

    kind: `mmcli.aligner` …; noun: what messages call it. options, fingerprint: of this run;
    `--resume` refuses others. resumed: whether an unfinished run is being continued.

    Entering raises BadInput when the directory holds something that was not to be replaced, or
    was begun with other options. After an error the directory is as it was found, unless there is
    a checkpoint to go on from.
    """

    def __init__(
        self,
        path: str | Path,
        kind: str,
        options: Mapping[str, Any],
        fingerprint: str,
        *,
        force: bool = False,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self.kind = kind
        self.noun = kind.removeprefix("mmcli.")
        self.options = dict(options)
        self.fingerprint = fingerprint
        self.force = force
        self.resume = resume
        self.resumed = False
        self.generation = 0
        self._written: set[str] = set()
        self._lock = DirectoryLock(self.path)

    @property
    def checkpoint(self) -> Path:
        """Where checkpoints of the unfinished run lie; dropped by `commit`."""
        return self.path / CHECKPOINT

    def __enter__(self) -> "ArtifactWriter":
        self._made_directory = not self.path.exists()
        check_artifact_output(self.path, self.kind, self.force, self.resume)
        self._lock.__enter__()
        try:
            check_artifact_output(self.path, self.kind, self.force, self.resume)
            self._open()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def _open(self) -> None:
        state = _state_of(self.path) if (self.path / STATE).exists() else None
        if (self.path / MANIFEST).exists():
            self.generation = int(read_generation(self.path)) + 1
        if self.resume and state is not None:
            self._check_same(state)
            self.generation = int(state["generation"])
            self.resumed = True
            return
        shutil.rmtree(self.checkpoint, ignore_errors=True)
        content = {
            "format": f"{self.kind}-state/1",
            "generation": self.generation,
            "options": self.options,
            "fingerprint": self.fingerprint,
            "versions": {"mmcli": "state"},  # so that the hash of itself is required
        }
        write_manifest(self.path, content, STATE)

    def _check_same(self, state: Mapping[str, Any]) -> None:
        hint = "give the same options, or use `--force` to start again"
        changed = differences(state.get("options", {}), self.options)
        if changed:
            message = f"`{self.path}` was begun with other options: {'; '.join(changed)}"
            raise BadInput(message, hint)
        if state.get("fingerprint") != self.fingerprint:
            raise BadInput(f"the data has changed since `{self.path}` was begun", "use `--force`")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        begun = self.checkpoint.is_dir() and any(self.checkpoint.iterdir())
        if kind is not None and not begun:
            for name in self._written:
                remove(self.path / name)
            remove(self.path / STATE)
            shutil.rmtree(self.checkpoint, ignore_errors=True)
        self._lock.__exit__(kind, error, trace)
        if kind is not None and not begun and self._made_directory and self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)

    def name(self, stem: str, suffix: str) -> str:
        """The name of a file in this generation: `model.safetensors`, `model.g1.safetensors`."""
        return generation_name(stem, self.generation, suffix)

    def file(self, stem: str, suffix: str) -> Path:
        """Where to write a file that the manifest shall name."""
        name = self.name(stem, suffix)
        self._written.add(name)
        return self.path / name

    def write(self, stem: str, suffix: str, content: bytes | str) -> str:
        """Write such a file whole; its name."""
        path = self.file(stem, suffix)
        write_bytes(path, content.encode() if isinstance(content, str) else content)
        return path.name

    def commit(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Write the manifest over every file of this generation; drop what it does not name."""
        before = read_manifest_files(self.path)
        files = {name: file_record(self.path / name) for name in sorted(self._written)}
        full = {
            "format": f"{self.kind}/1",
            **manifest,
            "generation": self.generation,
            "files": files,
        }
        write_manifest(self.path, full)
        remove(self.path / STATE)
        shutil.rmtree(self.checkpoint, ignore_errors=True)
        for name in before - set(files):
            remove(self.path / name)
        return full


def check_artifact_output(path: Path, kind: str, force: bool, resume: bool) -> None:
    """Raise BadInput unless a directory of that kind may be written to `path`."""
    noun = kind.removeprefix("mmcli.")
    article = "an" if noun[0] in "aeiou" else "a"
    if not directory_exists(path):
        return
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    if MANIFEST in names:
        content, _ = inspect_manifest(path)
        if kind_of(content) != kind:
            read_manifest(path, kind)  # says what it is
        if not force and not (resume and STATE in names):
            raise BadInput(
                f"`{path}` already holds {article} {noun}",
                "use `--force` to replace it, or choose another `-o`",
            )
    elif STATE in names:
        if _state_of(path).get("format") != f"{kind}-state/1":
            raise BadInput(
                f"`{path}` holds something unfinished that is no {noun}", "choose another `-o`"
            )
        if not force and not resume:
            raise BadInput(
                f"`{path}` holds an unfinished {noun}",
                "use `--resume` to continue it, or `--force` to start again",
            )
    elif names:
        first = min(names)
        raise BadInput(
            f"`{path}` is not empty and holds no {noun} (first file: `{first}`)",
            "choose another `-o`",
        )


def read_generation(path: Path) -> int:
    """The generation of a finished directory, or the highest in its files' names if damaged."""
    content, _ = inspect_manifest(path)
    found = (re.search(r"\.g(\d+)\.\w+$", entry.name) for entry in path.iterdir())
    return max([int(content.get("generation", 0)), *(int(m[1]) for m in found if m)])


def read_manifest_files(path: Path) -> set[str]:
    """The files that the manifest of a directory names now; none when there is no manifest."""
    if not (path / MANIFEST).exists():
        return set()
    files = inspect_manifest(path)[0].get("files", {})
    return {name for name in files if "/" not in name} if isinstance(files, dict) else set()


def _state_of(path: Path) -> dict[str, Any]:
    return read_state(path)[0]


def read_state(path: Path) -> tuple[dict[str, Any], str]:
    """The state of an unfinished run, and what is wrong with its own hash ("" when it fits)."""
    return inspect_manifest(path, STATE)
