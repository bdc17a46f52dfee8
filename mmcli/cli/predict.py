"""`mmcli predict`: what a model says of the rows of a store, of raw files, or of one item."""

from typing import Annotated

import typer

from mmcli.cli.options import (
    Config,
    Device,
    DryRun,
    Force,
    Json,
    PrecisionOption,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
    words_of,
)
from mmcli.cli.output import Sink
from mmcli.cli.source_options import Map, Root, Workers, number_or_auto, pairs_of
from mmcli.cli.split_options import Fold, GroupBy, SplitColumn, SplitFile, ValFraction
from mmcli.core.errors import UsageError

EPILOG = """\b
Examples:
  mmcli predict model store -o predictions
  mmcli predict model store -o predictions --split test --contributions
  mmcli predict model store -o predictions --without image
  mmcli predict model clips.csv -o predictions
  mmcli predict model --text "what a day" --image face.jpg
  mmcli evaluate predictions predictions"""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("predict", epilog=EPILOG)(predict)


def predict(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model, as fuse train writes it.")],
    data: Annotated[
        str, typer.Argument(help="A store of its encoders, or a source as of extract.")
    ] = "",
    output: Annotated[str, typer.Option("-o", "--output", help="The predictions to write.")] = "",
    text: Annotated[str | None, typer.Option("--text", help="One item instead: its words.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="One item instead: its picture.")
    ] = None,
    speech: Annotated[
        str | None, typer.Option("--speech", help="One item instead: its recording.")
    ] = None,
    video: Annotated[
        str | None, typer.Option("--video", help="One item instead: its video.")
    ] = None,
    mapping: Map = None,
    root: Root = None,
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
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run on raw files was cut off.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    verify: Verify = "once",
    workers: Workers = "auto",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Write what a model predicts of every row: id, label where known, prediction, probabilities.

    DATA may be raw files: they go through the model's own encoders first. A row may lack parts; one
    that has none gets the shares, or the mean, of the train rows.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.predict.one import predict_one
    from mmcli.workflows.predict.run import PredictConfig
    from mmcli.workflows.predict.run import predict as run
    from mmcli.workflows.predict.source import SourceConfig

    item = {"text": text, "image": image, "speech": speech, "video": video}
    one = {name: value for name, value in item.items() if value is not None}
    if bool(one) == bool(data):
        raise UsageError(
            "give DATA, or one item with `--text`, `--image`, `--speech` or `--video`",
            "as in `mmcli predict model store -o predictions`",
        )
    if data and not output:
        raise UsageError("`-o` is missing", "name the predictions to write")
    settings = PredictConfig(
        model=model,
        store=data,
        source=SourceConfig(
            mapping=pairs_of("--map", mapping, "ours=theirs, as in image=img_path"),
            root=root,
            device=device,
            precision=precision,
            workers=number_or_auto("--workers", workers),
            resume=resume,
        ),
        output=output,
        split=split,
        splits=SplitOptions(split_column, split_file, fold, val_fraction, group_by, seed),
        without=tuple(words_of(without)),
        contributions=contributions,
        verify=verify,
        force=force,
        dry_run=dry_run,
    )
    if one:
        sink.report(predict_one(settings, one), json)
        return 0
    with sink.counting("predict") as progress:
        report = run(settings, progress, sink.info)
    for warning in report.pop("warnings"):
        sink.warn(warning)
    if json or dry_run or not quiet:
        sink.report(report, json)
    return 0
