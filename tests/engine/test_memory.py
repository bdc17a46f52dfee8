"""When the C library is told to keep what was freed."""

from typing import Any

import pytest

from mmcli.engine import memory


class Library:
    """Stands for glibc; remembers what it was told."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {}

    def mallopt(self, parameter: int, value: int) -> int:
        self.told[parameter] = value
        return 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    found = Library()
    monkeypatch.setattr(memory, "_library", lambda: found)
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    return found


def test_large_pieces_come_from_the_heap_and_stay_there(library: Library) -> None:
    memory.keep_freed()
    assert library.told[-4] == 0  # M_MMAP_MAX
    assert library.told[-1] > 1 << 30  # M_TRIM_THRESHOLD


def test_the_users_own_settings_stand(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    memory.keep_freed()
    assert library.told == {}


class Other:
    """Another C library, which has neither function; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        raise AttributeError(name)


def test_another_c_library_is_left_alone(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in (None, Other()):
        monkeypatch.setattr(memory, "_library", lambda other=other: other)
        memory.keep_freed()
        memory.give_back()
    assert other.asked == ["mallopt", "malloc_trim"], "looked for once each, and not called"
    assert library.told == {}
