"""`mmcli evaluate robustness`: how the score of a fusion falls when its inputs get worse."""

from typing import Annotated, Any

import typer

from mmcli.cli.options import (
    FORMATS,
    Config,
    Format,
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
from mmcli.core.errors import UsageError

EPILOG = """\b
Examples:
  mmcli evaluate robustness model store
  mmcli evaluate robustness model store --corruption dropped --only image --html page.html
  mmcli evaluate robustness model store --corruption noise --severities 0.5,1,2 --json
  mmcli evaluate robustness model store --metric macro_f1 --group-by caption --format tsv

\b
Corruptions, each of one modality after the other, then of all at once:
  noise    Gaussian noise on the embeddings; severity: its deviation, in standard deviations of
           each coordinate (0.25, 0.5, 1, 2, 4)
  dropped  rows lose the part; severity: the share of those that have it (0.2 to 1)
  swapped  rows get another row's part; severity: the share of those that have it (0.2 to 1)
They act on copies in memory; the store is only read. Rows have one draw a severity and seed.
Area: under the curve of the score over the grades, which stand at equal distances from 0 (clean)
to 1 (the last). Relative area: over the clean score. Drop: the mean one along the curve, and that
at the last grade; positive is always worse, whichever way the metric goes.
Intervals are 95 % bootstrap percentiles over rows, or over whole groups of --group-by; those of
drops are paired.
Rows: those of the split test where there is one, else all, without those whose label is missing
or unknown to the model. On the store that the model was trained on its own splits count, unless
options say otherwise.
Metrics: accuracy, balanced_accuracy, macro_f1, log_loss, roc_auc; micro_f1, label_accuracy; mae,
rmse, r2, pearson; auto is the one that the model was chosen by."""


def register(app: typer.Typer) -> None:
    """Add the command to `evaluate`."""
    app.command("robustness", epilog=EPILOG)(robustness)


def robustness(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model, as fuse train writes it.")],
    store: Annotated[str, typer.Argument(help="A store of the encoders it was trained on.")],
    corruption: Annotated[
        list[str] | None,
        typer.Option("--corruption", help="noise, dropped, swapped. Default: all three."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only these modalities, as in image,text.")
    ] = None,
    severities: Annotated[
        list[str] | None,
        typer.Option("--severities", help="Ascending, as in 0.5,1,2. Default: of each corruption."),
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", help="What is scored, as in macro_f1; auto.")
    ] = "auto",
    split: Annotated[
        str | None, typer.Option("--split", help="Rows to take: test, val, train, all, a name.")
    ] = None,
    split_column: SplitColumn = "split",
    split_file: SplitFile = None,
    fold: Fold = None,
    val_fraction: ValFraction = 0.1,
    group_by: GroupBy = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", help="Resamples for the intervals; 0 for none.")
    ] = 1000,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of corruptions, resamples and val rows.")
    ] = 0,
    html: Annotated[
        str | None, typer.Option("--html", help="Write a page with curves and areas.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what --html names.")] = False,
    verify: Verify = "once",
    config: Config = None,
    json: Json = False,
    format: Format = "table",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Score a fusion on inputs that get worse, grade by grade."""
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    check_choice("--format", format, FORMATS)
    numbers = _numbers(severities)
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.evaluate.robustness import RobustnessConfig, evaluate_robustness

    settings = RobustnessConfig(
        model=model,
        store=store,
        corruptions=tuple(words_of(corruption)),
        only=tuple(words_of(only)),
        severities=numbers,
        metric=metric,
        split=split,
        splits=SplitOptions(split_column, split_file, fold, val_fraction, group_by, seed),
        resamples=bootstrap,
        seed=seed,
        report=html,
        force=force,
        verify=verify,
    )
    with sink.counting("robustness") as progress:
        found = evaluate_robustness(settings, progress)
    for warning in found["warnings"]:
        sink.warn(warning)
    _show(sink, found, json, format)
    if html:
        sink.info(f"wrote {html}")
    return 0


def _numbers(words: list[str] | None) -> tuple[float, ...]:
    found = []
    for word in words_of(words):
        try:
            found.append(float(word))
        except ValueError as error:
            raise UsageError(f"`--severities {word}` is no number", "as in 0.5,1,2") from error
    return tuple(found)


def _show(sink: Sink, report: dict[str, Any], json: bool, format: str) -> None:
    """Print the report: JSON, its tables, or the scores alone in another format."""
    from mmcli.workflows.evaluate import robustness_tables as tables

    if json:
        sink.report(report, True)
        return
    if format != "table":
        sink.rows(tables.point_rows(report), format)
        return
    made = (tables.fact_rows, tables.shown_point_rows, tables.area_rows)
    for number, make in enumerate(made):
        if number:
            print()
        sink.rows(make(report), "table")
