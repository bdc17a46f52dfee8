"""What an output directory holds before a store is written to it, and whether that may be.

Decides between starting, continuing and refusing; writes nothing.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmcli.core.errors import BadInput
from mmcli.store.atomic import TEMPORARY, directory_exists, disk_errors
from mmcli.store.manifest import (
    MANIFEST,
    STATE,
    canonical,
    inspect_manifest,
    kind_of,
    read_manifest,
)

KIND = "mmcli.store"
FORMAT = "mmcli.store/1"
STATE_FORMAT = "mmcli.store-state/1"
_LONGEST_SHOWN = 80
#: Why a finished store is opened to be written: not at all, or as in `check_output`.
Again = Literal["", "retry", "update"]


@dataclass(frozen=True)
class Found:
    """The manifest and the state of a directory, where they are there and readable."""

    manifest: dict[str, Any] | None = None
    state: dict[str, Any] | None = None
    damaged: str = ""

    @property
    def unfinished(self) -> bool:
        """A run was cut off: there is a state that the manifest does not include."""
        if self.state is None or self.manifest is None:
            return self.state is not None
        return bool(self.state.get("generation") != self.manifest.get("generation", 0))


def check_output(
    path: Path, *, force: bool = False, resume: bool = False, again: Again = ""
) -> Found:
    """What `path` holds, when a store may be written there.

    again: a finished store is to be there: `retry` writes shards anew, `update` follows the source.
    Raises BadInput when it holds something else, or a store that was not to be replaced.
    """
    path = Path(path)
    with disk_errors(path):
        found = survey(path)
    if force:
        return found
    if found.damaged:
        raise BadInput(found.damaged, "use `--force` to make the store again")
    cut = found.state["mode"] if found.unfinished and found.state else ""
    if cut == "update" and again != "update":
        raise BadInput(f"an update of `{path}` was cut off", "`extract --update` continues it")
    if again:
        if found.manifest is None:
            read_manifest(path, KIND)  # says what is the matter
        if cut == "write":
            raise BadInput(f"`{path}` is being replaced by a run that was cut off", _HOW_ON)
    elif found.manifest is not None and not resume:
        raise BadInput(
            f"`{path}` already holds a store",
            "use `--force` to replace it, `--resume` to continue, or choose another `-o`",
        )
    elif found.unfinished and not resume:
        raise BadInput(f"`{path}` holds an unfinished store", _HOW_ON)
    return found


_HOW_ON = "use `--resume` to continue it, or `--force` to start again"


def survey(path: Path) -> Found:
    """What `path` holds. Raises BadInput when that is anything but a store, or nothing."""
    if not directory_exists(path):
        return Found()
    names = sorted(os.listdir(path))
    if MANIFEST in names:
        manifest, damaged = _manifest(path)
        state, damaged_state = _state(path) if STATE in names else (None, "")
        return Found(manifest, state, damaged or damaged_state)
    if STATE in names:
        state, damaged = _state(path)
        return Found(None, state, damaged)
    visible = [n for n in names if not n.startswith(".")]
    if visible:
        raise BadInput(
            f"`{path}` is not empty and holds no store (first file: `{visible[0]}`)",
            "choose another `-o`",
        )
    return Found()


def _manifest(path: Path) -> tuple[dict[str, Any], str]:
    manifest, damaged = _inspected(path, MANIFEST, b'"mmcli.store/')
    if manifest is None:
        return {"format": FORMAT}, damaged
    if kind_of(manifest) != KIND:
        read_manifest(path, KIND)  # says what it is
    return manifest, damaged


def _state(path: Path) -> tuple[dict[str, Any] | None, str]:
    state, damaged = _inspected(path, STATE, b'"mmcli.store-state/')
    if state is not None and state.get("format") != STATE_FORMAT:
        raise BadInput(f"`{path / STATE}` was not written by this mmcli", "choose another `-o`")
    return state, damaged


def _inspected(path: Path, name: str, mark: bytes) -> tuple[dict[str, Any] | None, str]:
    """A manifest or state, and what is wrong with it; None for one that cannot be read.

    Raises BadInput when it cannot be read and does not hold the mark of ours either.
    """
    try:
        found, complaint = inspect_manifest(path, name)
    except BadInput as error:
        if mark not in (path / name).read_bytes():
            raise
        return None, error.message
    return found, f"`{path / name}` {complaint}" if complaint else ""


def check_same(
    path: Path,
    before: Mapping[str, Any],
    keys: Mapping[str, Any],
    options: Mapping[str, Any],
    fingerprint: str | None,
) -> None:
    """Refuse to continue a store with other options, encoders or another source.

    before: its `state.json`, or the like made of its manifest. fingerprint: None when the source
    may have changed. Raises BadInput that names each option with both values.
    """
    hint = "give the same options, or use `--force` to start again"
    changed = differences(before.get("options", {}), options)
    if changed:
        raise BadInput(f"`{path}` was made with other options: " + "; ".join(changed), hint)
    for key in sorted(set(before.get("keys", {})) | set(keys)):
        old, new = before.get("keys", {}).get(key), keys.get(key)
        if old is None or new is None:
            state = "has no" if old is None else "has a"
            raise BadInput(f"`{path}` {state} key `{key}`, unlike this run", hint)
        changed = differences(old, new)
        if changed:
            raise BadInput(f"key `{key}` of `{path}` was made otherwise: {changed[0]}", hint)
    if fingerprint is not None and before.get("fingerprint") != fingerprint:
        raise BadInput(f"the source has changed since `{path}` was begun", "use `--force`")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One phrase an entry that differs, with both values."""
    return [
        f"`{name}` was {_shown(old, name)}, now {_shown(new, name)}"
        for name in sorted(set(old) | set(new))
        if canonical(old.get(name)) != canonical(new.get(name))
    ]


def _shown(values: Mapping[str, Any], name: str) -> str:
    text = canonical(values[name]) if name in values else "not set"
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def own_files(path: Path, slugs: Iterable[str]) -> list[str]:
    """Names in `path` that a writer of these keys makes, whoever lists them."""
    stems = "|".join(re.escape(s) for s in {"items", "failures", "sources", *slugs})
    pattern = re.compile(rf"({stems})(-\d{{5,}})?(\.g\d+)?\.(parquet|safetensors)")
    return sorted(n for n in os.listdir(path) if n.startswith(TEMPORARY) or pattern.fullmatch(n))


def last_generation(path: Path) -> int:
    """The highest generation number in the file names of a directory; 0 without one."""
    found = (re.search(r"\.g(\d+)\.(parquet|safetensors)$", n) for n in os.listdir(path))
    return max((int(m[1]) for m in found if m), default=0)
