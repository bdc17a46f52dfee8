"""`mmcli runs`: models and aligners side by side."""

from typing import Annotated

import typer

from mmcli.cli.options import FORMATS, Format, Quiet, check_choice
from mmcli.cli.output import Sink

EPILOG = """\b
Examples:
  mmcli runs models/*
  mmcli runs experiments --format tsv | sort -k9"""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("runs", epilog=EPILOG)(runs)


def runs(
    paths: Annotated[list[str], typer.Argument(help="Models, or folders that hold some.")],
    format: Format = "table",
    quiet: Quiet = False,
) -> int:
    """Compare runs: task, method, score with its interval, size and seconds, a row each."""
    check_choice("--format", format, FORMATS)
    from mmcli.workflows.fuse.report import shown_rows
    from mmcli.workflows.runs import compare_runs

    rows = compare_runs(paths)
    Sink(quiet).rows(shown_rows(rows) if format == "table" else rows, format)
    return 0
