"""What a file looked like when it was read: size, time and a hash of its bytes.

Light enough for a decoding worker, which takes them from the bytes that it decodes anyway.
"""

import hashlib
import os
from typing import NamedTuple

from mmcli.data.contents import open_place
from mmcli.data.files import PartError, open_plain
from mmcli.data.places import container_of, is_url

_BLOCK = 1 << 20
_MOST_BYTES = 1 << 62


class Seen(NamedTuple):
    """place: where a file lies. stat: its size and time. content: the SHA-256 of it, in hex."""

    place: str
    stat: str
    content: str


def stat_of(place: str) -> str:
    """Size and time of a file, or of what contains it; of a URL nothing is asked."""
    if is_url(place):
        return "url"
    try:
        status = os.stat(place if os.path.exists(place) else container_of(place))
    except (OSError, ValueError):
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def content_of(content: bytes) -> str:
    """The hash of what was read of a file."""
    return hashlib.sha256(content).hexdigest()


def content_at(place: str) -> str:
    """The same of a file that is read for it, a block at a time; never raises."""
    digest = hashlib.sha256()
    try:
        with open_place(place, _MOST_BYTES) or open_plain(place, _MOST_BYTES) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except (OSError, ValueError, PartError):
        return "unreadable"
    return digest.hexdigest()
