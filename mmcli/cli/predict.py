"""`mmcli predict`: what a model says of the rows of a store."""

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
from mmcli.cli.split_options import Fold, GroupBy, SplitColumn, SplitFile, ValFraction

EPILOG = """\b
Examples:
  mmcli predict model store -o predictions
  mmcli predict model store -o predictions --split test --contributions
  mmcli predict model store -o predictions --without image
  mmcli evaluate predictions predictions"""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("predict", epilog=EPILOG)(predict)


def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model, as fuse train writes it.")],
    store: Annotated[str, typer.Argument(help="A store of the encoders it was trained on.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The predictions to write.")],
    split: Annotated[
        str, typer.Option("--split", help="Only rows of this split, as in test. Default: all.")
    ] = "",
    split_column: SplitColumn = "split",
    split_file: SplitFile = None,
    fold: Fold = None,
    val_fraction: ValFraction = 0.1,
    group_by: GroupBy = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Modalities taken as absent.")
    ] = None,
    contributions: Annotated[
        bool,
        typer.Option("--contributions", help="Shapley values of the modalities, a row each."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the rows taken as val.")] = 0,
    force: Force = False,
    dry_run: DryRun = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write what a model predicts of every row: id, label where known, prediction, probabilities.

    A row may lack parts; one that has none gets the shares, or the mean, of the train rows.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.predict import PredictConfig
    from mmcli.workflows.predict import predict as run

    settings = PredictConfig(
        model=model,
        store=store,
        output=output,
        split=split,
        splits=SplitOptions(split_column, split_file, fold, val_fraction, group_by, seed),
        without=tuple(words_of(without)),
        contributions=contributions,
        verify=verify,
        force=force,
        dry_run=dry_run,
    )
    with sink.counting("predict") as progress:
        report = run(settings, progress)
    for warning in report.pop("warnings"):
        sink.warn(warning)
    if json or dry_run or not quiet:
        sink.report(report, json)
    return 0
