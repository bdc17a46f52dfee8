"""Files named by a URL (`s3://`, `https://`, `memory://`, `file://` …), through fsspec.

fsspec brings the protocols; the package of a protocol (s3fs, gcsfs, aiohttp) is the user's. What
can be missing is asked for before a run begins, and named.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from mmcli.core.errors import BadInput, MissingResource
from mmcli.data.files import PartError
from mmcli.data.places import is_url

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
#: What fsspec needs for a protocol, by the names on the package index.
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp",
    "https": "aiohttp", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs", "hf": "huggingface_hub",
    "sftp": "paramiko", "ssh": "paramiko", "hdfs": "pyarrow", "webdav": "webdav4",
    "oss": "ossfs", "gdrive": "gdrivefs", "box": "boxfs", "dropbox": "dropboxdrivefs",
}  # fmt: skip
_CHUNK = 1 << 22
#: Files up to this size are fetched at once, larger ones block by block.
_MOST_HELD = 1 << 26
#: What changes when a remote file does, under the names that filesystems give it.
_MARKS = ("size", "ETag", "etag", "mtime", "LastModified", "updated", "last_modified", "created")


def protocol_of(url: str) -> str:
    """`s3` of `s3://bucket/key`; empty for a path."""
    found = _PROTOCOL.match(url)
    return found.group(1).lower() if found else ""


def filesystem_of(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and the path in it.

    Raises MissingResource when its package is not installed, BadInput for an unknown protocol.
    """
    protocol = protocol_of(url)
    try:
        import fsspec
    except ImportError as error:
        raise MissingResource(f"`{url}` needs the package fsspec", "pip install fsspec") from error
    if "::" in url:
        raise BadInput(f"`{url}`: chained URLs are not read", "name the file itself")
    try:
        return fsspec.core.url_to_fs(protocol + url[len(protocol) :])
    except ImportError as error:
        package = _PACKAGES.get(protocol, f"of `{protocol}` for fsspec")
        hint = f"pip install {package}" if protocol in _PACKAGES else "install it"
        raise MissingResource(
            f"`{url}`: {protocol}:// needs the package {package}", hint
        ) from error
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise BadInput(f"`{url}`: {_reason(error)}", "correct the URL") from error
        raise BadInput(
            f"`{url}`: no filesystem is known for {protocol}://",
            "s3, gs, https, file, memory … are; a package of fsspec may add it",
        ) from error


def check_protocols(urls: Iterable[str]) -> None:
    """Raise for the first protocol of these URLs that cannot be opened here."""
    seen: set[str] = set()
    for url in urls:
        protocol = protocol_of(url)
        if protocol not in seen:
            seen.add(protocol)
            filesystem_of(url)


def open_part(url: str, max_bytes: int) -> BinaryIO:
    """A remote file, open for reading from any place. Raises PartError like `open_regular`."""
    try:
        filesystem, path = filesystem_of(url)
        info = filesystem.info(path)
        size = info.get("size")
        if info.get("type") == "directory":
            raise PartError("not-a-file", "is a directory")
        if size == 0:
            raise PartError("empty", "has no bytes")
        if size is not None and size > max_bytes:
            raise PartError("too-large", f"has {size} bytes, more than {max_bytes}")
        if size is not None and size > _MOST_HELD:
            return filesystem.open(path, "rb")
        content = filesystem.cat_file(path)  # one request, and servers without ranges do
        if not content or len(content) > max_bytes:
            kind = "too-large" if content else "empty"
            raise PartError(kind, f"has {len(content)} bytes")
        return io.BytesIO(content)
    except FileNotFoundError as error:
        raise PartError("missing", "does not exist") from error
    except (BadInput, MissingResource) as error:
        raise PartError("unreadable", f"cannot be read: {error.message}") from error
    except PartError:
        raise
    except Exception as error:  # every filesystem has errors of its own
        raise PartError("unreadable", f"cannot be read: {_reason(error)}") from error


def read_part(url: str, max_bytes: int, start: int | None = None, size: int = 0) -> bytes:
    """The bytes of a remote file, or `size` of them from `start`. Raises PartError."""
    if start is None:
        with open_part(url, max_bytes) as stream:
            return stream.read(max_bytes)
    try:
        filesystem, path = filesystem_of(url)
        return bytes(filesystem.cat_file(path, start=start, end=start + size))
    except FileNotFoundError as error:
        raise PartError("missing", "does not exist") from error
    except (BadInput, MissingResource) as error:
        raise PartError("unreadable", f"cannot be read: {error.message}") from error
    except Exception as error:  # every filesystem has errors of its own
        raise PartError("unreadable", f"cannot be read: {_reason(error)}") from error


def open_source_file(url: str) -> BinaryIO:
    """A remote table or archive. Raises BadInput when it is missing or cannot be read."""
    filesystem, path = filesystem_of(url)
    try:
        return filesystem.open(path, "rb")
    except FileNotFoundError as error:
        raise BadInput(f"`{url}` does not exist", "check the address") from error
    except Exception as error:  # every filesystem has errors of its own
        raise BadInput(
            f"`{url}` cannot be read: {_reason(error)}", "check the address and your rights"
        ) from error


def copy_here(url: str, target: Path) -> Path:
    """A copy of a remote file, for what has to be read more than once."""
    with open_source_file(url) as stream, target.open("wb") as copy:
        try:
            while chunk := stream.read(_CHUNK):
                copy.write(chunk)
        except OSError as error:
            if error.errno is not None and error.filename in (None, str(target)):
                raise
            raise BadInput(f"`{url}` cannot be read: {_reason(error)}", "try again") from error
    return target


def file_mark(url: str) -> str:
    """What changes when the remote file does, as far as its filesystem says."""
    filesystem, path = filesystem_of(url)
    try:
        info = filesystem.info(path)
    except Exception as error:  # every filesystem has errors of its own
        raise BadInput(f"`{url}` cannot be read: {_reason(error)}", "check the address") from error
    told = [f"{name}={info[name]}" for name in _MARKS if info.get(name) is not None]
    return hashlib.sha256("\0".join([url, *told]).encode()).hexdigest()


def matching(pattern: str) -> list[str]:
    """The URLs that match a glob, sorted."""
    filesystem, path = filesystem_of(pattern)
    try:
        found = filesystem.glob(path)
    except Exception as error:  # every filesystem has errors of its own
        raise BadInput(
            f"`{pattern}` cannot be listed: {_reason(error)}", "name the files one by one"
        ) from error
    return sorted(filesystem.unstrip_protocol(one) for one in found)


def parent_of(place: str) -> str:
    """The folder of a file, as a URL or an absolute path."""
    if is_url(place):
        return place.rsplit("/", 1)[0]
    return os.path.dirname(os.path.abspath(place))


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
