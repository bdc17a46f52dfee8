"""Reads a text file: UTF-8, any script, with or without a byte order mark."""

from functools import lru_cache

from mmcli.data.files import PartError, read_regular

#: More than any encoder reads, and little enough to keep one in every worker.
MAX_TEXT_BYTES = 16_000_000


def read_text(path: str) -> str:
    """The file's text without its byte order mark. Raises PartError."""
    return decode_text(read_regular(path, MAX_TEXT_BYTES))


def read_span(path: str, start: int, end: int) -> str:
    """Characters `start` to `end` of a file's text; one file is kept, as its spans come in turn."""
    return _last_read(path)[start:end]


@lru_cache(maxsize=1)
def _last_read(path: str) -> str:
    return read_text(path)


def decode_text(content: bytes) -> str:
    """Bytes as text. Raises PartError: `encoding` when they are none, `empty` when all blank."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PartError("encoding", f"is not UTF-8 at byte {error.start}") from error
    if "\0" in text:
        raise PartError("encoding", "holds NUL characters: no text")
    if not text.strip():
        raise PartError("empty", "holds no text")
    return text
