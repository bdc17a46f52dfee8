"""Recomputes every hash of a directory that mmcli wrote, of whatever kind, and lists what is wrong.

Goes on after the first problem. For a store it also compares rows, widths and counts, and looks at
its ids and vectors.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.store.atomic import LOCK, TEMPORARY
from mmcli.store.hashes import check_files, hash_complaints, recorded_files, size_complaint
from mmcli.store.manifest import (
    MANIFEST,
    STATE,
    file_path,
    inspect_manifest,
    kind_of,
    read_manifest,
)
from mmcli.store.survey import KIND

__all__ = ["Problem", "VerifyReport", "check_files", "verify_directory"]


@dataclass(frozen=True)
class Problem:
    """A file that is not as it should be."""

    file: str
    message: str


@dataclass(frozen=True)
class VerifyReport:
    """What verification found.

    kind: `store`, `index` …; files, bytes: how much was read; warnings: what is odd but harmless.
    """

    path: Path
    kind: str
    files: int
    bytes: int
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.problems


def verify_directory(path: str | Path) -> VerifyReport:
    """Check the manifest and every file that it names.

    Raises BadInput when there is no manifest to go by, or a newer mmcli wrote it.
    """
    path = Path(path)
    manifest, complaint = inspect_manifest(path)
    if not complaint:
        read_manifest(path)  # its format
    problems = [Problem(MANIFEST, complaint)] if complaint else []
    files = recorded_files(path, manifest)
    sound = []
    for name in sorted(files):
        wrong = size_complaint(path, name, files[name])
        if wrong:
            problems.append(Problem(name, wrong))
        else:
            sound.append(name)
    for name, wrong in zip(sound, hash_complaints(path, files, sound), strict=True):
        if wrong:
            problems.append(Problem(name, wrong))
    read = sum(file_path(path, name).stat().st_size for name in sound)
    if not files:
        problems.append(Problem(MANIFEST, "names no files, so nothing can be verified"))
    if not problems and kind_of(manifest) == KIND:
        problems += _store_problems(path, manifest)
    warnings = [Problem(n, "is not named in the manifest") for n in _unlisted(path, files)]
    if not problems and kind_of(manifest) == KIND:
        warnings += _store_warnings(path)
    kind = kind_of(manifest).removeprefix("mmcli.")
    return VerifyReport(path, kind, len(sound) + 1, read, problems, warnings)


def _store_problems(path: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    import pyarrow.compute as pc  # for stores only, as the reader is

    from mmcli.store.reader import Store
    from mmcli.store.vector_checks import vector_problems

    try:
        store = Store.open(path, verify="none")
        unhashed = {n for s in store.shards for n in (s.items, *s.keys.values())}
        for name in sorted(unhashed - set(manifest["files"])):
            yield Problem(name, "has no hash in the manifest")
        store.check_structure()
        failures = store.failures()
    except BadInput as error:
        yield Problem(MANIFEST, error.message)
        return
    counts = [manifest.get(name) for name in ("ok", "partial", "failed")]
    known = [count for count in counts if isinstance(count, int)]
    if len(known) == len(counts) and sum(known) != store.rows:
        yield Problem(MANIFEST, f"ok + partial + failed is {sum(known)}, rows {store.rows}")
    for name, wrong in chain(vector_problems(store), store.id_problems()):
        yield Problem(name, wrong)
    try:
        ids = store.items(["id"]).column("id")
    except BadInput:  # which is among the problems
        return
    named = failures.column("id")
    strange = named.filter(pc.invert(pc.is_in(named, value_set=ids)))
    if len(strange):
        yield Problem("failures.parquet", f"names an item that the store lacks: `{strange[0]}`")


def _store_warnings(path: Path) -> Iterator[Problem]:
    from mmcli.store.reader import Store
    from mmcli.store.vector_checks import parts_not_said

    for name, odd in parts_not_said(Store.open(path, verify="none")):
        yield Problem(name, odd)


def _unlisted(path: Path, files: dict[str, Any]) -> list[str]:
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            relative = Path(folder, name).relative_to(path).as_posix()
            if relative in (MANIFEST, STATE, LOCK) or name.startswith(TEMPORARY):
                continue
            if relative not in files:
                found.append(relative)
    return sorted(found)
