"""`mmcli evaluate pairs`: how well the two parts of each row fit, as a column."""

from typing import Annotated

import typer

from mmcli.cli.options import (
    Config,
    Device,
    Json,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
)
from mmcli.cli.output import Sink

EPILOG = """\b
Examples:
  mmcli evaluate pairs store --query text --target image -o pairs.parquet
  mmcli evaluate pairs store --query text --target image -o pairs.parquet --rank --aligner aligner

\b
The file has a row for each of the store, in its order: id; score, the cosine of its two parts;
with --rank also rank, that of its own target among all targets (ties: the mean over all orders).
Both are null where a part is missing. Rows that score least are the first to look at when a data
set is cleaned. Splits play no part: every row is scored."""


def register(app: typer.Typer) -> None:
    """Add the command to `evaluate`."""
    app.command("pairs", epilog=EPILOG)(pairs)


def pairs(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store, as extract writes it.")],
    query: Annotated[str, typer.Option("--query", help="Key or modality of one part.")],
    target: Annotated[str, typer.Option("--target", help="Key or modality of the other part.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The Parquet file to write.")],
    aligner: Annotated[
        str | None, typer.Option("--aligner", help="Map both through this aligner first.")
    ] = None,
    rank: Annotated[
        bool, typer.Option("--rank", help="Also rank each row's own target among all targets.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    verify: Verify = "once",
    device: Device = "auto",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write how well the two parts of each row fit each other."""
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.evaluate.pairs import PairsConfig, evaluate_pairs

    settings = PairsConfig(
        store=store,
        query=query,
        target=target,
        output=output,
        aligner=aligner,
        rank=rank,
        force=force,
        verify=verify,
        device=device,
    )
    with sink.counting("rank") as progress:
        report = evaluate_pairs(settings, progress)
    if json or not quiet:
        sink.report(report, json)
    return 0
