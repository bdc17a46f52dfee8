"""The help of every command as Markdown, for `examples/commands.md`."""

from collections.abc import Iterator
from typing import Any

from mmcli.cli.main import program

#: Help is laid out for a terminal of this width, whatever the width of the one it is made on.
WIDTH = 80


def pages(command: Any = None, path: tuple[str, ...] = ("mmcli",)) -> Iterator[tuple[str, str]]:
    """(command line, help text) of the program and each command below it."""
    command = command or program()
    context = command.make_context(
        " ".join(path), [], resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
    )
    yield " ".join(path), command.get_help(context)
    for name, child in getattr(command, "commands", {}).items():
        yield from pages(child, (*path, name))


def all_pages() -> str:
    """Every page under a heading of its own."""
    return "\n".join(f"\n## {name}\n\n```text\n{text}\n```" for name, text in pages())
