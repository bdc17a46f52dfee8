"""`manifest.json`, the commit point of every directory that mmcli writes, and its own hash.

Knows the format line, the self-hash and how a file is recorded; nothing about what a store, an
index or a model holds. Standard library only.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.store.atomic import write_bytes

MANIFEST = "manifest.json"
STATE = "state.json"
#: The major version of every format that this mmcli writes and reads.
MAJOR = 1
SELF_HASH = "manifest_sha256"
_BLANK = "0" * 64
_AGAIN = "make the directory again"
_AT_END = re.compile(rb'"manifest_sha256": "([0-9a-f]{64})"\s*}\s*\Z')
_FORMAT = re.compile(r"([a-z][a-z0-9_.-]*)/(\d+)(\.\d+)*")


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def encode_manifest(content: Mapping[str, Any], indent: int | None = 1) -> bytes:
    """The bytes of a manifest: sorted keys, then its own sha256.

    That hash is taken over these bytes with sixty-four zeros in its place.
    """
    ordered = json.loads(json.dumps(content, sort_keys=True, allow_nan=False))
    ordered.pop(SELF_HASH, None)
    ordered[SELF_HASH] = _BLANK
    try:
        raw = json.dumps(ordered, indent=indent, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a file name that is not Unicode
        raw = json.dumps(ordered, indent=indent).encode() + b"\n"
    digest = hashlib.sha256(raw).hexdigest().encode()
    at = raw.rindex(_BLANK.encode())
    return raw[:at] + digest + raw[at + len(digest) :]


def write_manifest(directory: Path, content: Mapping[str, Any], name: str = MANIFEST) -> None:
    """Replace the manifest; from then on the directory holds what it says."""
    indent = 1 if name == MANIFEST else None  # the state is written often, and indenting is slow
    write_bytes(Path(directory) / name, encode_manifest(content, indent))


def read_manifest(
    directory: Path, expect: str | None = None, name: str = MANIFEST
) -> dict[str, Any]:
    """The manifest of a directory, checked.

    expect: `mmcli.store`, `mmcli.index` … when only that kind will do. Raises BadInput when it is
    missing, damaged, of another kind, or written by a newer mmcli.
    """
    content, complaint = inspect_manifest(directory, name)
    _check_format(Path(directory), content, expect)
    if complaint:
        raise BadInput(f"`{Path(directory) / name}` {complaint}", _AGAIN)
    return content


def inspect_manifest(directory: Path, name: str = MANIFEST) -> tuple[dict[str, Any], str]:
    """The manifest of a directory and what is wrong with its own hash ("" when it fits).

    Raises BadInput when there is none, or it is not a JSON object.
    """
    path = Path(directory) / name
    raw = _read(Path(directory), path)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"`{path}` is damaged: {reason}", _AGAIN) from None
    if not isinstance(content, dict):
        raise BadInput(f"`{path}` is not a JSON object", _AGAIN)
    return content, _self_hash_complaint(raw, content)


def refuse_newer(directory: Path, content: Mapping[str, Any]) -> None:
    """Raise BadInput when a manifest has a format of a later major version."""
    written = str(content.get("format"))
    found = _FORMAT.fullmatch(written)
    if found is not None and found[1].startswith("mmcli.") and int(found[2]) > MAJOR:
        raise BadInput(
            f"`{directory}` was written by a newer mmcli (`{written}`)",
            "upgrade it: pip install -U mmcli",
        )


def kind_of(content: Mapping[str, Any]) -> str:
    """`mmcli.store` of `"format": "mmcli.store/1"`; "" when there is no such line."""
    found = _FORMAT.fullmatch(str(content.get("format", "")))
    return found[1] if found else ""


def file_record(path: Path) -> dict[str, Any]:
    """`{"bytes", "sha256"}` of a file, read in blocks.

    Raises BadInput when it is missing or not a regular file (a FIFO is never opened).
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise BadInput(f"`{path}` is not a regular file", _AGAIN)
        with open(path, "rb", buffering=0) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise BadInput(f"`{path}` is missing", _AGAIN) from None
    except OSError as error:
        raise _unreadable(path, error) from error
    return {"bytes": found.st_size, "sha256": digest}


def file_path(directory: Path, name: str) -> Path:
    """Where a file named in a manifest lies; a name that leads out of the directory is refused."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise BadInput(
            f"`{Path(directory) / MANIFEST}` names a file outside it: `{name}`",
            "the files of a directory lie inside it",
        )
    return Path(directory).joinpath(*parts)


def _read(directory: Path, path: Path) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadInput(f"`{path}` is not a regular file", _AGAIN)
        return path.read_bytes()
    except NotADirectoryError:
        raise BadInput(
            f"`{directory}` is not a directory", "give a directory that mmcli wrote"
        ) from None
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unreadable(path, error) from error
    if not directory.exists():
        raise BadInput(f"`{directory}` does not exist", "give a directory that mmcli wrote")
    if (directory / STATE).exists():
        raise BadInput(f"`{directory}` is unfinished", "continue it with `--resume`")
    raise BadInput(
        f"`{directory}` was not written by mmcli: it has no `{path.name}`",
        "give a directory that mmcli wrote",
    )


def _unreadable(path: Path, error: OSError) -> BadInput:
    reason = (error.strerror or "").lower()
    return BadInput(f"`{path}` cannot be read: {reason}", "make it readable for this user")


def _self_hash_complaint(raw: bytes, content: Mapping[str, Any]) -> str:
    found = _AT_END.search(raw)
    if found is None:
        versions = content.get("versions")
        ours = isinstance(versions, dict) and "mmcli" in versions
        if ours or SELF_HASH in content:
            return "is damaged: it has no valid hash of itself"
        return ""  # another program wrote it
    blanked = raw[: found.start(1)] + _BLANK.encode() + raw[found.end(1) :]
    if hashlib.sha256(blanked).hexdigest().encode() != found[1]:
        return "is damaged: its content does not fit its own hash"
    return ""


def _check_format(directory: Path, content: Mapping[str, Any], expect: str | None) -> None:
    written = content.get("format")
    found = _FORMAT.fullmatch(str(written))
    if found is None or not found[1].startswith("mmcli."):
        raise BadInput(
            f"`{directory}` has no mmcli format line (`format` is {json.dumps(written)})",
            "give a directory that mmcli wrote",
        )
    if expect is not None and found[1] != expect:
        raise BadInput(
            f"`{directory}` is {_noun(found[1])}, not {_noun(expect)}",
            f"give the directory of {_noun(expect)}",
        )
    refuse_newer(directory, content)


def _noun(kind: str) -> str:
    name = kind.removeprefix("mmcli.")
    return ("an " if name[0] in "aeiou" else "a ") + name
