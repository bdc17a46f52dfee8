"""Members of a tar archive, from its headers alone: names, offsets and sizes; nothing is unpacked.

Refuses what an archive must not hold, and one that was cut short, wherever the cut is: Python's
tarfile takes an archive that ends between two members for a whole one.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from mmcli.core.errors import BadInput

_BLOCK = tarfile.BLOCKSIZE
_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\0": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
_AGAIN = "get it again, or pack it again"
#: WebDataset's own entries, which belong to no sample.
_META = re.compile(r"__[^/]*__($|/)")
#: WebDataset: the key ends at the first dot of the last component.
_KEY = re.compile(r"((?:.*/|)[^./][^./]*)[.]([^/]*)", re.DOTALL)


@dataclass(frozen=True)
class Member:
    """A file in an archive. name: its path under the root, without `./`."""

    name: str
    offset: int
    size: int
    is_link: bool = False


def read_members(stream: BinaryIO, archive: str) -> Iterator[Member]:
    """Every file and link of an open archive, in order.

    archive: what messages call it. Raises BadInput for a compressed archive, one that is cut
    short or no tar at all, and a member whose name leads out of the root.
    """
    _refuse_compressed(stream, archive)
    try:
        with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would remember every one
                name = _name_inside(info.name, archive)
                if info.issparse():
                    raise BadInput(
                        f"`{archive}`: member `{name}` is sparse", "pack it without `--sparse`"
                    )
                if name and (info.isreg() or info.issym() or info.islnk()):
                    yield Member(name, info.offset_data, info.size, not info.isreg())
            stream.seek(tar.offset)
            _refuse_cut(stream.read(_BLOCK), archive)
    except tarfile.TarError as error:
        raise _broken(archive, str(error)) from error


def key_and_suffix(name: str) -> tuple[str, str] | None:
    """Key and lower-case suffix of a member as WebDataset has them (`a.b/x.seg.PNG` is `a.b/x`
    and `seg.png`); None for what belongs to no item."""
    found = None if _META.search(name) else _KEY.fullmatch(name)
    return None if found is None else (found[1], found[2].lower())


def _name_inside(name: str, archive: str) -> str:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise BadInput(
            f"`{archive}`: member `{name}` lies outside the archive's root",
            "do not trust it; names in an archive are relative and without `..`",
        )
    return "/".join(part for part in parts if part not in ("", "."))


def _refuse_compressed(stream: BinaryIO, archive: str) -> None:
    head = stream.read(6)
    stream.seek(0)
    for magic, program in _COMPRESSED.items():
        if head.startswith(magic):
            raise BadInput(
                f"`{archive}` is compressed: its members cannot be read one by one",
                f"`{program}` it; media gain nothing by it",
            )


def _refuse_cut(block: bytes, archive: str) -> None:
    """What stands where no member begins: zeros, unless the archive is not whole."""
    if not block:
        raise _broken(archive, "its end mark is missing")
    if block.strip(b"\0") or len(block) < _BLOCK:
        raise _broken(archive, "no header stands where one should")


def _broken(archive: str, reason: str) -> BadInput:
    if reason in ("unexpected end of data", "its end mark is missing", "empty file"):
        return BadInput(f"`{archive}` is cut short: {reason}", _AGAIN)
    return BadInput(f"`{archive}` is no sound tar archive: {reason}", _AGAIN)
