"""Walks a directory tree along a pattern, streaming: names only, no file is opened.

A folder is the pattern `**`. Nothing is sorted here, so that a directory of any size costs no
memory. Links are followed, except into a directory that is being walked already.
"""

import os
import re
from collections.abc import Iterator
from fnmatch import translate

from mmcli.core.errors import BadInput

Pattern = tuple[str, ...]
_Ancestors = tuple[tuple[int, int], "_Ancestors"] | None
_WILD = re.compile(r"[*?\[]")


def split_pattern(spec: str) -> tuple[str, Pattern]:
    """A glob as the directory before its first wildcard and the components from there on."""
    components = [part for part in spec.split("/") if part not in ("", ".")]
    first = next(i for i, part in enumerate(components) if _WILD.search(part))
    base = "/".join(components[:first])
    return ("/" + base if spec.startswith("/") else base or "."), tuple(components[first:])


def is_pattern(spec: str) -> bool:
    """Whether the words hold a wildcard."""
    return _WILD.search(spec) is not None


def walk(base: str, pattern: Pattern = ("**",)) -> Iterator[tuple[str, bool]]:
    """Every entry under `base` that matches: its POSIX path relative to `base`, is it a directory.

    `*`, `?` and `[…]` stay within a name, `**` spans any number of directories; names with a
    leading dot match only a component that has one. Raises BadInput when a directory on the way
    cannot be read.
    """
    parts = [None if part == "**" else re.compile(translate(part)) for part in pattern]
    dotted = [part.startswith(".") for part in pattern]
    start = _with_empty_spans(frozenset({0}), parts)
    stack: list[tuple[str, frozenset[int], _Ancestors]] = [("", start, None)]
    while stack:
        prefix, states, ancestors = stack.pop()
        directory = os.path.join(base, prefix) if prefix else base
        try:
            stat = os.stat(directory)
            entries = os.scandir(directory)
        except OSError as error:
            raise _unreadable(directory, error) from error
        identity = (stat.st_dev, stat.st_ino)
        if _holds(ancestors, identity):
            continue
        chain = (identity, ancestors)
        with entries:
            for entry in entries:
                name = entry.name
                matched, onward = _advance(name, states, parts, dotted)
                if not matched and not onward:
                    continue
                is_directory = _is_directory(entry)
                if matched:
                    yield prefix + name, is_directory
                if is_directory and onward:
                    stack.append((prefix + name + "/", _with_empty_spans(onward, parts), chain))


def _advance(
    name: str, states: frozenset[int], parts: list[re.Pattern[str] | None], dotted: list[bool]
) -> tuple[bool, frozenset[int]]:
    """Whether the name ends a match, and the components that names below it have to match."""
    matched, onward, hidden = False, set(), name.startswith(".")
    for state in states:
        if hidden and not dotted[state]:
            continue
        part = parts[state]
        following = state if part is None else state + 1
        if part is not None and not part.match(name):
            continue
        matched |= state + 1 == len(parts)
        if following < len(parts):
            onward.add(following)
    return matched, frozenset(onward)


def _with_empty_spans(
    states: frozenset[int], parts: list[re.Pattern[str] | None]
) -> frozenset[int]:
    """The states, and those behind every `**`, which may span no directory at all."""
    result = set(states)
    for state in range(len(parts) - 1):
        if state in result and parts[state] is None:
            result.add(state + 1)
    return frozenset(result)


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _holds(ancestors: _Ancestors, identity: tuple[int, int]) -> bool:
    while ancestors is not None:
        if ancestors[0] == identity:
            return True
        ancestors = ancestors[1]
    return False


def _unreadable(directory: str, error: OSError) -> BadInput:
    reason = (error.strerror or str(error)).lower()
    return BadInput(
        f"folder `{directory}` cannot be read: {reason}",
        "make it readable, or leave it out by a glob",
    )
