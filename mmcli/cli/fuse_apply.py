"""`mmcli fuse apply`: a store's rows through a fusion, as the key `fused` of a new store."""

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
  mmcli fuse apply model store -o fused
  mmcli fuse apply model store -o fused --without image
  mmcli retrieve index fused -o index"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("apply", epilog=EPILOG)(apply)


def apply(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model, as fuse train writes it.")],
    store: Annotated[str, typer.Argument(help="A store of the encoders it was trained on.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The store to write.")],
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Modalities taken as absent.")
    ] = None,
    force: Force = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished store.")
    ] = False,
    dry_run: DryRun = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write the fused embedding of every row; a row that has none of the parts has none."""
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.fuse.apply import FuseApplyConfig, apply_fusion

    settings = FuseApplyConfig(
        model=model,
        store=store,
        output=output,
        without=tuple(words_of(without)),
        force=force,
        resume=resume,
        dry_run=dry_run,
        verify=verify,
    )
    with sink.counting("fuse") as progress:
        report = apply_fusion(settings, progress)
    for warning in report.pop("warnings"):
        sink.warn(warning)
    if json or dry_run or not quiet:
        sink.report(report, json)
    return 0
