"""`mmcli align apply`: a store's embeddings through an aligner."""

from typing import Annotated

import typer

from mmcli.cli.options import (
    Config,
    DryRun,
    Force,
    Json,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
    words_of,
)
from mmcli.cli.output import Sink

EPILOG = """\b
Examples:
  mmcli align apply aligner store -o aligned
  mmcli align apply dual store -o as-images --direction text-to-image
  mmcli align apply aligner photos -o aligned --only image"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("apply", epilog=EPILOG)(apply)


def apply(
    context: typer.Context,
    aligner: Annotated[str, typer.Argument(help="An aligner, as align train writes it.")],
    store: Annotated[str, typer.Argument(help="A store of the same encoders.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The store to write.")],
    direction: Annotated[
        str,
        typer.Option(
            "--direction", help="One mapping of a dual aligner alone, as in text-to-image."
        ),
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Modalities to map, as in image.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished store.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Map a store's embeddings into the aligner's space.

    The new store has one key a modality, of the aligner's space; items and their columns stay.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.align.apply import ApplyConfig
    from mmcli.workflows.align.apply import apply as run

    settings = ApplyConfig(
        aligner=aligner,
        store=store,
        output=output,
        direction=direction,
        only=tuple(words_of(only)),
        force=force,
        resume=resume,
        dry_run=dry_run,
        verify=verify,
    )
    with sink.counting("apply") as progress:
        report = run(settings, progress)
    if json or dry_run or not quiet:
        sink.report(report, json)
    return 0
