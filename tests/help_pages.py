"""What the program says of itself as Markdown: help for `examples/commands.md`, models for
`examples/encoders.md`."""

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


def models_table() -> str:
    """A row an encoder; those that are presets are in bold."""
    from mmcli.encoders.registry import ENCODERS, PRESETS

    presets = {name for p in PRESETS if len(p.encoders) > 1 for name in p.encoders.values()}
    lines = [
        "| name | takes | checkpoint | dim | download | licence | languages |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for spec in ENCODERS:
        name = f"**{spec.name}**" if spec.name in presets and spec.hub else spec.name
        size = f"{spec.size_mb:,.0f} MB" if spec.size_mb else "-"
        checkpoint = f"[{spec.hub}]({spec.source})" if spec.hub else "a package"
        lines.append(
            f"| {name} | {', '.join(spec.modalities)} | {checkpoint} | {spec.dim} | {size} "
            f"| {spec.licence} | {spec.languages} |"
        )
    return "\n".join(lines)
