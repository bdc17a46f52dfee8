"""The options that every store tool has, and how its report is shown."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from mmcli.cli.output import Sink
from mmcli.core.errors import UsageError

StoreOutput = Annotated[str, typer.Option("-o", "--output", help="The store to write.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an unfinished store.")]
ShardSize = Annotated[int, typer.Option("--shard-size", help="Rows in a shard at most.")]
Keys = Annotated[
    list[str] | None, typer.Option("--keys", help="Only these embeddings, as in image,text.")
]
#: As `workflows/store_output.py` has it, which help must not import.
SHARD_ROWS = 65_536


def run_and_report(
    sink: Sink,
    label: str,
    run: Callable[[Callable[[int, int], None]], dict[str, Any]],
    json: bool,
    dry_run: bool,
) -> dict[str, Any]:
    """Run a workflow with a progress bar, print its warnings and its report."""
    with sink.counting(label) as progress:
        report = run(progress)
    for warning in report.get("warnings", ()):
        sink.warn(warning)
    if json:
        sink.report(report, as_json=True)
    elif dry_run or not sink.quiet:
        sink.report({k: v for k, v in report.items() if k != "warnings"}, as_json=False)
    return report


def positive(option: str, value: int) -> int:
    """The value, if it is 1 or more."""
    if value < 1:
        raise UsageError(f"`{option} {value}` is too small", "give 1 or more")
    return value
