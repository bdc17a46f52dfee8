"""Opens one part: a regular file (a pipe or device could block for ever), or what a place names."""

import os
import stat
from typing import BinaryIO


class PartError(Exception):
    """Why one part cannot be used: a short kind for the ledger, and one line for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def open_regular(path: str, max_bytes: int) -> BinaryIO:
    """The open part, whatever its place is (see `places.py`): file, URL, member of an archive.

    Raises PartError when it is missing, no regular file, empty or too large.
    """
    if "#" in path or "://" in path:
        from mmcli.data.contents import open_place

        stream = open_place(path, max_bytes)
        if stream is not None:
            return stream
    return open_plain(path, max_bytes)


def is_plain(path: str) -> bool:
    """Whether the part is a local file of its own, which a library may open by its name."""
    if "://" in path:
        return False
    return "#" not in path or os.path.lexists(path)


def open_plain(path: str, max_bytes: int) -> BinaryIO:
    """The open local file. Raises PartError like `open_regular`."""
    try:
        _refuse_irregular(os.stat(path), max_bytes)
        # Not blocking, and looked at again: the name may stand for another file by now.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        stream = os.fdopen(descriptor, "rb")
        _refuse_irregular(os.fstat(descriptor), max_bytes)
    except FileNotFoundError as error:
        message = "is a broken link" if os.path.islink(path) else "does not exist"
        if "\\x" in path:  # how a source writes bytes that are not UTF-8
            message += ", or its name is not UTF-8"
        raise PartError("missing", message) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise PartError("unreadable", f"cannot be read: {reason.lower()}") from error
    return stream


def read_regular(path: str, max_bytes: int) -> bytes:
    """The bytes of the file, at most `max_bytes`. Raises PartError like `open_regular`."""
    with open_regular(path, max_bytes) as stream:
        try:
            return stream.read(max_bytes)
        except OSError as error:
            raise PartError("unreadable", f"cannot be read: {error.strerror}".lower()) from error


def _refuse_irregular(status: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise PartError("not-a-file", "is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise PartError("not-a-file", "is not a regular file")
    if status.st_size == 0:
        raise PartError("empty", "has no bytes")
    if status.st_size > max_bytes:
        raise PartError("too-large", f"has {status.st_size} bytes, more than {max_bytes}")
