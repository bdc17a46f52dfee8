"""Files that appear whole or not at all, and the lock of a directory's one writer.

A file is written under a temporary name beside its place, flushed to the disk, then renamed. Knows
nothing about what the files hold.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mmcli.core.errors import BadInput, OutOfResource

if TYPE_CHECKING:
    from filelock import BaseFileLock

TEMPORARY = ".tmp-"
LOCK = ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: What the file system says of a name it does not take, whoever is at fault.
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EIO),
)


@contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error that names the directory.

    Raises OutOfResource when the disk or a quota is full, BadInput when it does not let us write.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfResource(
                f"no space left to write in `{directory}`",
                "free some space and run it again (`extract` goes on with `--resume`)",
            ) from error
        if error.errno in _REFUSED:
            reason = os.strerror(error.errno or 0).lower()
            raise BadInput(
                f"cannot write in `{directory}`: {reason}", "choose another place for the output"
            ) from error
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends without an error.

    Raises OutOfResource when the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(TEMPORARY + path.name)
    with disk_errors(path.parent):
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by these bytes."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def remove(path: Path) -> None:
    """Drop a file that may already be gone."""
    with suppress(FileNotFoundError):
        path.unlink()


def make_directory(path: Path) -> None:
    """Create a directory and its parents. Raises BadInput when a file is in the way."""
    with disk_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise BadInput(f"`{path}` is not a directory", "choose another `-o`") from None


def directory_exists(path: Path) -> bool:
    """Whether a directory lies there. Raises BadInput for anything else there, or on the way.

    Raises OSError for a name that nothing can have.
    """
    path.exists()
    for place in (path, *path.parents):
        if os.path.isdir(place):
            return place == path
        if os.path.lexists(place):
            raise BadInput(f"`{path}` is not a directory", "choose another `-o`")
    return False


def sync_directory(path: Path) -> None:
    """Flush the names of a directory, where the system can (Windows cannot)."""
    with suppress(PermissionError, IsADirectoryError):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


class DirectoryLock:
    """Held by the one process that writes a directory; the system drops it when that one dies.

    wait_s: how long to wait for a writer that is just leaving.
    """

    def __init__(self, directory: Path, wait_s: float = 0.5) -> None:
        self.directory = Path(directory)
        self.wait_s = wait_s
        self._lock: BaseFileLock | None = None

    def __enter__(self) -> "DirectoryLock":
        """Create the directory when needed. Raises BadInput when another process writes it."""
        from filelock import FileLock, Timeout  # 0.1 s to import, and only writers need it

        make_directory(self.directory)
        lock = FileLock(str(self.directory / LOCK))
        with disk_errors(self.directory):
            try:
                lock.acquire(timeout=self.wait_s, poll_interval=0.05)
            except Timeout:
                raise BadInput(
                    f"`{self.directory}` is being written by another process",
                    "wait until it is done, or choose another `-o`",
                ) from None
        self._lock = lock
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Unlinked while it is still held: filelock looks, once it has a lock, whether the file
        # it locked is still the one of that name.
        with suppress(OSError):
            (self.directory / LOCK).unlink()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
