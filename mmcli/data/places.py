"""Where a part lies, in one line of text: a path, a URL, or a span of bytes inside a container.

    photos/cat.jpg                        a file, relative to the source's root
    s3://bucket/cat.jpg                   a URL that fsspec opens
    train-000.tar#1536+20480:a/cat.jpg    20,480 bytes from byte 1,536 of a file, called a/cat.jpg
    train.parquet#17.2+20480:cat.jpg      row 17 of column 2 of a Parquet file, as many bytes
    train-000.tar#link:a/cat.jpg          a link in an archive, which nobody follows

Names only: nothing is opened here. The name stands last, so that it gives the suffix.
"""

import os
import re
from dataclasses import dataclass

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_INSIDE = re.compile(
    r"(?P<file>.+?)#(?:(?P<link>link)|(?P<offset>\d+)\+(?P<size>\d+)"
    r"|(?P<row>\d+)\.(?P<column>\d+)\+(?P<bytes>\d+)):(?P<name>.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Inside:
    """A part inside a container. offset: in the file, or None for a Parquet row or a link."""

    file: str
    size: int
    name: str
    offset: int | None = None
    row: int | None = None
    column: int = 0

    @property
    def is_link(self) -> bool:
        """Whether it is a link in an archive."""
        return self.offset is None and self.row is None


def is_url(place: str) -> bool:
    """Whether it names a file by a URL, or a part inside one."""
    return _URL.match(place) is not None


def inside(place: str) -> Inside | None:
    """The container and what of it is meant; None for a plain file or URL."""
    found = _INSIDE.fullmatch(place) if "#" in place else None
    if found is None:
        return None
    file, name = found["file"], found["name"]
    if found["link"]:
        return Inside(file, 0, name)
    if found["offset"]:
        return Inside(file, int(found["size"]), name, offset=int(found["offset"]))
    return Inside(
        file, int(found["bytes"]), name, row=int(found["row"]), column=int(found["column"])
    )


def bytes_place(file: str, offset: int, size: int, name: str) -> str:
    """The place of `size` bytes of a file."""
    return f"{file}#{offset}+{size}:{name}"


def row_place(file: str, row: int, column: int, size: int, name: str) -> str:
    """The place of one cell of a Parquet file that holds `size` bytes."""
    return f"{file}#{row}.{column}+{size}:{name}"


def link_place(file: str, name: str) -> str:
    """The place of a link in an archive."""
    return f"{file}#link:{name}"


def locate(root: str | None, place: str) -> str:
    """A place as it is opened from anywhere; root: what relative ones are relative to."""
    if is_url(place):
        return place
    if root is None or not is_url(root):
        return os.path.join(root or "", place)
    return f"{root.rstrip('/')}/{place}" if not place.startswith("/") else place


def container_of(place: str) -> str:
    """The file that holds a part: itself unless it is inside another."""
    found = inside(place)
    return place if found is None else found.file
