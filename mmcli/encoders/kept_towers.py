"""Text towers that were exported before, in the user's cache: another index needs no torch for one.

Only of encoders whose weights are a package of this installation, and pinned: what such a name and
its settings stand for never changes. Never imports torch.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmcli.core.errors import MmcliError
from mmcli.encoders.registry import resolve
from mmcli.store.hashes import cache_directory
from mmcli.store.manifest import file_record

#: How many are kept; the least used goes.
MOST = 4
#: Raised when the files of a tower change in what they mean.
_RECIPE_VERSION = 2
_FILES = "files.json"


def tower_key(reference: str, settings: Mapping[str, Any]) -> str:
    """The name of a tower among those kept, of an encoder with settings that decide its graph.

    Empty for an encoder that is not of a package.
    """
    try:
        if resolve(reference, "text").scheme != "package":
            return ""
        made_by = {name: version(name) for name in ("torch", "transformers", "onnx")}
    except (MmcliError, PackageNotFoundError):
        return ""
    told = json.dumps([_RECIPE_VERSION, made_by, reference, dict(settings)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def fetch_tower(key: str, directory: Path) -> bool:
    """Copy a tower's files into an existing directory; False where there is no sound one."""
    kept = _folder() / key
    copied: list[Path] = []
    try:
        files = json.loads((kept / _FILES).read_text("utf-8"))
        for name in files:
            copied.append(Path(shutil.copyfile(kept / name, directory / name)))
        sound = bool(files) and all(file_record(path) == files[path.name] for path in copied)
        os.utime(kept)
    except (OSError, ValueError, TypeError):
        sound = False
    if not sound:
        for path in copied:
            path.unlink(missing_ok=True)
        if (kept / _FILES).exists():  # the next export puts a sound one there
            shutil.rmtree(kept, ignore_errors=True)
    return sound


def keep_tower(key: str, directory: Path) -> None:
    """Keep the files of a directory; a cache that cannot be written is done without."""
    folder = _folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder))
        try:
            files = {}
            for path in sorted(directory.iterdir()):
                shutil.copyfile(path, made / path.name)
                files[path.name] = file_record(made / path.name)
            (made / _FILES).write_text(json.dumps(files), "utf-8")
            os.rename(made, folder / key)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        _drop_old(folder)


def _drop_old(folder: Path) -> None:
    """All but the last used; and what a process that was killed has left."""
    used = {path: path.stat().st_mtime for path in folder.iterdir()}
    towers = sorted((path for path in used if path.name[0] != "."), key=used.__getitem__)
    left = [path for path in used if path.name[0] == "." and used[path] < time.time() - 3600]
    for path in [*towers[:-MOST], *left]:
        shutil.rmtree(path, ignore_errors=True)


def _folder() -> Path:
    return cache_directory() / "towers"
