"""Names and what they stand for, declared as data and loaded only when used.

Knows nothing about what is registered. An entry names its code as `package.module:attribute`;
listing a registry imports none of it.
"""

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from mmcli.core.errors import MissingResource, UsageError


class Entry(Protocol):
    """Anything with a name can be registered."""

    @property
    def name(self) -> str: ...


E = TypeVar("E", bound=Entry)


class Registry(Generic[E]):
    """An ordered set of named entries; unknown names are answered with the nearest known ones."""

    def __init__(self, kind: str, entries: Iterable[E], plugin_group: str = "") -> None:
        self.kind = kind
        self.plugin_group = plugin_group
        self._entries = {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[E]:
        return iter(self._entries.values())

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """Every registered name, in registration order."""
        return list(self._entries)

    def get(self, name: str) -> E:
        """The entry of that name; other packages' entry points are looked at only when needed.

        Raises UsageError with the nearest names when nobody knows it.
        """
        if name not in self._entries and self.plugin_group:
            from importlib.metadata import entry_points  # 20 ms that help need not pay

            for point in entry_points(group=self.plugin_group, name=name):
                self._entries[name] = point.load()
        if name not in self._entries:
            raise UsageError(f"no {self.kind} is named `{name}`", suggestion(name, self.names()))
        return self._entries[name]


def suggestion(name: str, known: Iterable[str]) -> str:
    """A hint that names what the user may have meant, else what there is."""
    import difflib

    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(f"`{n}`" for n in near) + "?"
    return "known: " + ", ".join(known[:12]) + (" …" if len(known) > 12 else "")


def load_attribute(path: str, needs: str = "") -> Any:
    """The object at `package.module:attribute`.

    needs: the extra that brings the packages this code imports. Raises MissingResource when an
    import fails because a package is not installed.
    """
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "mmcli":
            raise
        extra = f"pip install 'mmcli[{needs}]'" if needs else f"pip install {error.name}"
        raise MissingResource(f"package `{error.name}` is not installed", extra) from error
