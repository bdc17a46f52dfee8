"""Where a verb's words go: data to stdout, log and progress to stderr.

Rows print as table, JSON, JSON lines or TSV; reports as text or JSON. Neither depends on the width
of a terminal, and JSON is strict: a number that JSON lacks becomes null.
"""

import json
import math
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

#: Wider cells of a table are cut, so that a caption cannot push the columns apart.
MAX_CELL = 60


class Sink:
    """Takes what a verb says; `quiet` silences log and progress, never data."""

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose and not quiet

    def info(self, message: str) -> None:
        """A line of log."""
        if not self.quiet:
            print(message, file=sys.stderr)

    def debug(self, message: str) -> None:
        """A line of log for `-v`."""
        if self.verbose:
            print(message, file=sys.stderr)

    def warn(self, message: str) -> None:
        """Something the user should know, though the command goes on."""
        self.info(f"warning: {message}")

    def rows(
        self, rows: Iterable[Mapping[str, Any]], format: str, columns: Sequence[str] | None = None
    ) -> None:
        """Print rows. JSON lines and TSV print as they come; a table and JSON want them all."""
        if format == "jsonl":
            for row in rows:
                print(to_json(row))
        elif format == "json":
            print(to_json(list(rows), indent=1))
        elif format == "tsv":
            _print_tsv(rows, columns)
        else:
            _print_table(list(rows), columns)

    def report(self, report: Mapping[str, Any], as_json: bool) -> None:
        """Print a report: JSON, or one `name  value` line each."""
        if as_json:
            print(to_json(report, indent=1))
            return
        flat = list(_flatten(report))
        width = max((len(name) for name, _ in flat), default=0)
        for name, value in flat:
            print(f"{name.ljust(width)}  {_cell(value)}")

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar with rate and time left, on a terminal only; yields `set(done)`."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda done: None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total, rate="")

            def update(done: int) -> None:
                speed = bar.tasks[0].speed
                bar.update(task, completed=done, rate=f"{speed:.1f} items/s" if speed else "")

            yield update

    @contextmanager
    def counting(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """A progress bar for a total that is known only at the first report; `set(done, total)`."""
        with ExitStack() as stack:
            bar: list[Callable[[int], None]] = []

            def update(done: int, total: int) -> None:
                if not bar:
                    bar.append(stack.enter_context(self.progress(label, total)))
                bar[0](done)

            yield update


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON, keys as given, text as it is."""
    return json.dumps(_strict(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if value is None or isinstance(value, str | int | bool):
        # a lone surrogate (an undecodable file name) has no UTF-8 form
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
    if hasattr(value, "item"):
        return _strict(value.item())
    return str(value)


def _flatten(report: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in report.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10 else f"{value:.1f}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    text = str(value).encode("utf-8", "replace").decode()
    return " ".join(text.split())


def _columns(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None) -> list[str]:
    if columns is not None:
        return list(columns)
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return list(names)


def _print_table(rows: list[Mapping[str, Any]], columns: Sequence[str] | None) -> None:
    names = _columns(rows, columns)
    cells = [[_shorten(_cell(row.get(name))) for name in names] for row in rows]
    widths = [max([_width(n), *(_width(line[i]) for line in cells)]) for i, n in enumerate(names)]
    for line in [names, *cells]:
        padded = (
            text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=True)
        )
        print("  ".join(padded).rstrip())


def _print_tsv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None) -> None:
    names: list[str] | None = None
    for row in rows:
        if names is None:
            names = list(columns or row)
            print("\t".join(names))
        print("\t".join(_tsv_cell(row.get(name)) for name in names))
    if names is None and columns:
        print("\t".join(columns))


def _tsv_cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value)
    text = text.encode("utf-8", "replace").decode()
    for raw, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(raw, escaped)
    return text


def _shorten(text: str) -> str:
    if _width(text) <= MAX_CELL:
        return text
    kept = ""
    for char in text:
        if _width(kept) + _width(char) > MAX_CELL - 1:
            break
        kept += char
    return kept + "…"


def _width(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
