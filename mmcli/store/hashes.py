"""Files against the bytes and sha256 that a manifest names, once per version of a file.

What was found good is remembered in the user's cache by size, times and inode, so that a search
does not hash its index again. Knows nothing about what the files hold. Standard library only.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, UsageError
from mmcli.store.manifest import MANIFEST, file_path, file_record

MODES = ("once", "full", "none")
_HINT = "the file was changed or damaged; make the directory again"
#: A file changed this recently could change again without its times showing it.
_SETTLED_NS = 100_000_000


def check_files(
    directory: Path,
    manifest: Mapping[str, Any],
    names: Iterable[str] | None = None,
    mode: str = "once",
) -> None:
    """Raise BadInput, naming the file, unless every file is as its manifest says.

    names: only these files. mode: `once` skips files that were found good before and have not
    changed since, `full` reads all, `none` looks at nothing.
    """
    if mode not in MODES:
        raise UsageError(f"`--verify {mode}` is unknown", "use " + ", ".join(MODES))
    if mode == "none":
        return
    directory = Path(directory)
    files = recorded_files(directory, manifest)
    wanted = sorted(files) if names is None else list(names)
    known = _load(directory) if mode == "once" else {}
    todo = []
    for name in wanted:
        if name not in files:
            raise BadInput(f"`{directory / MANIFEST}` has no hash of `{name}`", _HINT)
        complaint = size_complaint(directory, name, files[name])
        if complaint:
            raise BadInput(complaint, _HINT)
        if known.get(name) != _seen(directory, name, files[name]):
            todo.append(name)
    before = {name: _seen(directory, name, files[name]) for name in todo}
    for complaint in hash_complaints(directory, files, todo):
        if complaint:
            raise BadInput(complaint, _HINT)
    if todo:
        now = time.time_ns()
        settled = {n: s for n, s in before.items() if max(s[1], s[2]) < now - _SETTLED_NS}
        _remember(directory, {n: s for n, s in _load(directory).items() if n in files} | settled)


def recorded_files(directory: Path, manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`files` of a manifest, when it is a mapping of safe names to bytes and sha256."""
    files = manifest.get("files", {})
    if not isinstance(files, dict):
        raise BadInput(f"`{Path(directory) / MANIFEST}`: `files` is not an object", _HINT)
    for name, record in files.items():
        file_path(directory, name)
        if not isinstance(record, dict) or not {"bytes", "sha256"} <= set(record):
            raise BadInput(
                f"`{Path(directory) / MANIFEST}`: `{name}` has no bytes and sha256", _HINT
            )
    return files


def size_complaint(directory: Path, name: str, record: Mapping[str, Any]) -> str:
    """What is wrong with a file's being there and its size; "" when nothing is."""
    path = file_path(directory, name)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return f"`{path}` is missing"
    except OSError as error:
        return f"`{path}` cannot be read: {(error.strerror or '').lower()}"
    if not stat.S_ISREG(found.st_mode):
        return f"`{path}` is not a regular file"
    if found.st_size != record["bytes"]:
        return f"`{path}` has {found.st_size} bytes, its manifest says {record['bytes']}"
    return ""


def hash_complaints(
    directory: Path, files: Mapping[str, Mapping[str, Any]], names: Iterable[str]
) -> list[str]:
    """What is wrong with the content of each file, "" for a good one; two are read at a time."""
    names = list(names)

    def complaint(name: str) -> str:
        path = file_path(directory, name)
        try:
            found = file_record(path)["sha256"]
        except BadInput as error:
            return error.message
        return "" if found == files[name]["sha256"] else f"`{path}` does not fit its sha256"

    if len(names) < 2:
        return [complaint(name) for name in names]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(complaint, names))


def cache_directory() -> Path:
    """`$MMCLI_CACHE_DIR`, else `mmcli` in the user's cache."""
    own = os.environ.get("MMCLI_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmcli"


def _seen(directory: Path, name: str, record: Mapping[str, Any]) -> list[Any]:
    found = os.stat(file_path(directory, name))
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, record["sha256"]]


def _memory(directory: Path) -> Path:
    key = hashlib.sha256(os.fsencode(os.path.realpath(directory))).hexdigest()[:32]
    return cache_directory() / "verified" / f"{key}.json"


def _load(directory: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(_memory(directory).read_bytes())
    except (OSError, ValueError, RuntimeError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(directory: Path, seen: Mapping[str, list[Any]]) -> None:
    """Keep what was found good; a cache that cannot be written is done without."""
    try:
        path = _memory(directory)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
        temporary.write_text(json.dumps(seen), "utf-8")
        os.replace(temporary, path)
    except (OSError, ValueError, RuntimeError):
        pass
