"""Every error a user can cause, with its exit code.

Library code raises these; `cli/main.py` alone turns them into text. A message is one line, lower
case, without a full stop, that names the file, row or option; the hint says what to do next.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    DEFECT = 1
    USAGE = 2
    BAD_INPUT = 3
    MISSING = 4
    RESOURCE = 5
    PARTIAL = 6
    INTERRUPTED = 130
    TERMINATED = 143


class MmcliError(Exception):
    """An error with a message, a hint and an exit code."""

    exit_code: ExitCode = ExitCode.DEFECT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type["MmcliError"], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class UsageError(MmcliError):
    """Options that do not fit each other, or a value that an option does not take."""

    exit_code = ExitCode.USAGE


class BadInput(MmcliError):
    """Input that cannot be used as it is; also: would overwrite, verification found something."""

    exit_code = ExitCode.BAD_INPUT


class MissingResource(MmcliError):
    """A model, an extra or a program is not there."""

    exit_code = ExitCode.MISSING


class OutOfResource(MmcliError):
    """Disk or memory ran out."""

    exit_code = ExitCode.RESOURCE


class SpaceMismatch(BadInput):
    """Two artefacts whose vectors must not be compared: space, width, normalisation or metric."""


@contextmanager
def naming(hidden: object, shown: object) -> Iterator[None]:
    """Errors from inside name `shown`, which the user gave, not `hidden`, which was made of it."""
    try:
        yield
    except MmcliError as error:
        error.message = error.message.replace(str(hidden), str(shown))
        error.hint = error.hint.replace(str(hidden), str(shown))
        raise
