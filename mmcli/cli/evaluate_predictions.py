"""`mmcli evaluate predictions`: how good what a model said is, whatever the model."""

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
)
from mmcli.cli.output import Sink
from mmcli.cli.split_options import GroupBy

EPILOG = """\b
Examples:
  mmcli evaluate predictions predictions
  mmcli evaluate predictions predictions --against baseline --html page.html
  mmcli evaluate predictions predictions --slice voice --group-by caption --items store
  mmcli evaluate predictions test --calibrate-on val
  mmcli evaluate predictions predictions --task sentiment --scale sims --json
  mmcli evaluate predictions other_program.csv

\b
The directory has manifest.json with "format": "mmcli.predictions/1" and items.parquet with id,
label (null where unknown) and prediction; probability_CLASS columns where there are some. Instead
of it, a JSONL, CSV, TSV or Parquet table with these columns.
Tasks: classification, multilabel, regression, ordinal; auto takes the manifest's, else lists are
multilabel, fractions regression, all else classification.
Measures, those of probabilities where there are some:
  classification  accuracy, balanced_accuracy, macro_f1 and weighted_f1; of two classes precision,
                  recall and f1 of the positive one; top_5_accuracy, log_loss, brier_score, ece
                  (calibration error in --bins), roc_auc, average_precision (means over classes)
  ordinal         also within_1, steps_off, quadratic_kappa
  multilabel      micro_f1, macro_f1, weighted_f1, samples_f1, subset_accuracy, hamming_loss; and
                  as above
  regression      mae, rmse, pearson, spearman, r2
  sentiment       mosi: has0_ (negative against the rest), non0_ (without neutral rows) accuracy
                  and f1, mult_acc_5, mult_acc_7, mae, corr; sims: mult_acc_2, 3, 5, f1, mae, corr
  event           map (mean average precision over temporal overlaps of 0.3 to 0.7), event_f1 with
                  a collar, by class too; the directory has events.parquet with id,
                  class, start_s, end_s, score, and its items label: the true ones, as a list
  vqa             accuracy of ten annotators, by type of question
Means over classes leave out classes without a row. Intervals are 95 % bootstrap percentiles over
rows, or over whole groups of --group-by; resampling adds to ece, so its own may lie above it.
--against gives the difference on the rows that both predict: this minus the other.
--calibrate-on fits a temperature, and the threshold of the positive class or of each label, on
other rows, and reports the measures before and after."""


def register(app: typer.Typer) -> None:
    """Add the command to `evaluate`."""
    app.command("predictions", epilog=EPILOG)(predictions)


def predictions(
    context: typer.Context,
    predictions: Annotated[str, typer.Argument(help="Directory or table of predictions.")],
    task: Annotated[
        str,
        typer.Option(
            "--task",
            help="auto, classification, multilabel, regression, ordinal, sentiment, event or vqa.",
        ),
    ] = "auto",
    scale: Annotated[
        str | None, typer.Option("--scale", help="Of sentiment: mosi (also MOSEI) or sims.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Other predictions of the same ids: test the difference."),
    ] = None,
    calibrate_on: Annotated[
        str | None,
        typer.Option("--calibrate-on", help="Predictions of other rows to fit calibration on."),
    ] = None,
    slice_by: Annotated[
        list[str] | None,
        typer.Option("--slice", help="Column: also score the rows of each of its values."),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option("--items", help="Store or Parquet whose columns are joined by id."),
    ] = None,
    group_by: GroupBy = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", help="Resamples for the intervals; 0 for none.")
    ] = 1000,
    bins: Annotated[
        int, typer.Option("--bins", help="Bins of the calibration error and its diagram.")
    ] = 15,
    html: Annotated[
        str | None, typer.Option("--html", help="Write a page with scores and diagrams.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what --html names.")] = False,
    verify: Verify = "once",
    seed: Annotated[int, typer.Option("--seed", help="Seed of resamples.")] = 0,
    config: Config = None,
    json: Json = False,
    format: Format = "table",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Score predictions against labels: any model, any task."""
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    check_choice("--format", format, FORMATS)
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.workflows.evaluate.predictions import PredictionsConfig, evaluate_predictions
    from mmcli.workflows.evaluate.tasks import evaluate_special, special_task

    settings = PredictionsConfig(
        predictions=predictions,
        task=task,
        scale=scale,
        against=against,
        calibrate_on=calibrate_on,
        slices=tuple(slice_by or ()),
        items=items,
        group_by=group_by,
        bootstrap=bootstrap,
        bins=bins,
        html=html,
        force=force,
        verify=verify,
        seed=seed,
    )
    special = special_task(settings)
    if special:
        report = evaluate_special(special, settings, sink.debug)
    else:
        report = evaluate_predictions(settings, sink.debug)
    for warning in report["warnings"]:
        sink.warn(warning)
    if special:
        show_special(sink, report, json, format)
    else:
        show(sink, report, json, format)
    if html:
        sink.info(f"wrote {html}")
    return 0


def show_special(sink: Sink, report: dict[str, Any], json: bool, format: str) -> None:
    """Print a report of events or answers: JSON, its tables, or the measures alone."""
    from mmcli.workflows.evaluate.tasks import special_tables
    from mmcli.workflows.fuse.report import shown_rows

    if json:
        sink.report(report, True)
        return
    tables = special_tables(report)
    if format != "table":
        sink.rows(tables[0], format)
        return
    for number, rows in enumerate(tables):
        if number:
            print()
        sink.rows(shown_rows(rows), "table")


def show(sink: Sink, report: dict[str, Any], json: bool, format: str) -> None:
    """Print the report: JSON, its tables, or the measures alone in another format."""
    from mmcli.workflows.evaluate.zeroshot_tables import confused_rows
    from mmcli.workflows.predictions import tables

    if json:
        sink.report(report, True)
        return
    if format != "table":
        sink.rows(tables.measure_rows(report), format)
        return
    confused = confused_rows(report) if "confusion" in report else []
    found = [
        tables.fact_rows(report),
        tables.shown_measure_rows(report),
        tables.class_rows(report),
        confused,
        tables.slice_rows(report),
        tables.calibration_facts(report),
        tables.calibration_rows(report),
        tables.against_rows(report),
    ]
    for number, rows in enumerate(rows for rows in found if rows):
        if number:
            print()
        sink.rows(rows, "table")
