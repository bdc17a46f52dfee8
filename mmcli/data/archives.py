"""Which archives a source names: one tar, several by braces (`{000..099}`) or by a glob, local or
by URL. Names only.
"""

import os
from collections import Counter

from mmcli.core.errors import BadInput
from mmcli.data.places import is_url
from mmcli.data.walk import is_pattern, split_pattern, walk

#: Suffixes of archives whose members cannot be read by offset.
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.zstd")
#: More archives than this are a slip in the braces.
_MOST = 1_000_000


def archives_of(spec: str) -> list[str] | None:
    """The tar archives that a source stands for, None when it is something else.

    Raises BadInput for one that does not exist, and for compressed ones.
    """
    if not is_url(spec) and os.path.lexists(spec):
        _refuse_compressed(spec)
        return [spec] if spec.lower().endswith(".tar") and not os.path.isdir(spec) else None
    lowered = spec.lower()
    if not lowered.endswith((".tar", "}", *_COMPRESSED)):
        return None
    names = _expand_braces(spec)
    found: list[str] = []
    for name in names:
        _refuse_compressed(name)
        if not name.lower().endswith(".tar"):
            return None
        matches = _matching(name) if is_pattern(name) else [name]
        if not matches:
            raise BadInput(f"`{name}` matches no archive", "check the pattern")
        found += matches
    for name in found:
        if not is_url(name) and not os.path.isfile(name):
            where = f"`{name}` of `{spec}`" if name != spec else f"`{spec}`"
            raise BadInput(f"{where} does not exist", "name the archives that are there")
    name, count = Counter(found).most_common(1)[0]
    if count > 1:
        raise BadInput(f"`{name}` is named twice by `{spec}`", "name each archive once")
    return found


def _expand_braces(spec: str) -> list[str]:
    if "{" not in spec:
        return [spec]
    from itertools import islice

    from braceexpand import UnbalancedBracesError, braceexpand

    try:
        names = list(islice(braceexpand(spec), _MOST + 1))
    except UnbalancedBracesError as error:
        raise BadInput(f"`{spec}`: a brace is not closed", "write {000..099}") from error
    if len(names) > _MOST:
        raise BadInput(f"`{spec}` stands for more than {_MOST} files", "narrow the braces")
    return names


def _matching(pattern: str) -> list[str]:
    if is_url(pattern):
        from mmcli.data.remote import matching

        return matching(pattern)
    base, parts = split_pattern(pattern)
    if not os.path.isdir(base):
        raise BadInput(
            f"`{base}` of `{pattern}` is no folder",
            "what stands before the first wildcard must be one",
        )
    prefix = "" if base == "." else base.rstrip("/") + "/"
    return sorted(prefix + name for name, is_directory in walk(base, parts) if not is_directory)


def _refuse_compressed(name: str) -> None:
    if name.lower().endswith(_COMPRESSED):
        raise BadInput(
            f"`{name}` is compressed: its members cannot be read one by one",
            "unpack the compression alone (`gunzip`, `unzstd`); media gain nothing by it",
        )
