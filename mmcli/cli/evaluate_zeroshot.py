"""`mmcli evaluate zeroshot`: classes by their names alone."""

from typing import Annotated

import typer

from mmcli.cli.options import (
    Config,
    Device,
    Json,
    PrecisionOption,
    Quiet,
    Verbose,
    Verify,
    check_choice,
    describe_sources,
)
from mmcli.cli.output import Sink
from mmcli.cli.split_options import Fold, GroupBy, SplitColumn, SplitFile, ValFraction

EPILOG = """\b
Examples:
  mmcli evaluate zeroshot store --label category --prompt "a picture of {}"
  mmcli evaluate zeroshot store --label category --prompt "a photo of {}" --prompt "a drawing of {}"
  mmcli evaluate zeroshot store --label species --classes species.txt -o predictions
  mmcli evaluate zeroshot store --label category --key image:efficientnet-lite0 --aligner aligner

\b
Each class is its name in every prompt, encoded and averaged; a row is given the nearest class.
A file of classes has a label a line, or label, tab and the words that stand for it in a prompt.
Measures:
  accuracy           the share of rows given their own class
  balanced_accuracy  the mean over classes of the share of their rows found (recall)
  macro_f1           the mean over classes of F1; classes without a row do not count in either
  top_5_accuracy     the share of rows whose class is among the five nearest
  chance_accuracy, majority_accuracy   what guessing, and always the largest class, would reach
Intervals are 95 % bootstrap percentiles over rows, or over whole groups of --group-by.
Rows: those of the split test where the store or a file has splits, else all. Rows without a vector,
a label or a known class are not scored, and counted."""


def register(app: typer.Typer) -> None:
    """Add the command to `evaluate`."""
    app.command("zeroshot", epilog=EPILOG)(zeroshot)


def zeroshot(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store, as extract writes it.")],
    label: Annotated[str, typer.Option("--label", help="Column of the right classes.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help='Words with {} for the class. Default: "a picture of {}".'),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Key to classify. Default: the first of images.")
    ] = None,
    aligner: Annotated[
        str | None, typer.Option("--aligner", help="Map key and words through this aligner.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="File of classes. Default: every value of the column."),
    ] = None,
    class_names: Annotated[
        str | None, typer.Option("--class-names", help="Classes, as in cat,dog.")
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", help="Cosines times this give the probabilities of -o.")
    ] = 100.0,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", help="Resamples for the intervals; 0 for none.")
    ] = 1000,
    split: Annotated[
        str | None, typer.Option("--split", help="Rows to take: test, val, train, all, a name.")
    ] = None,
    split_column: SplitColumn = "split",
    split_file: SplitFile = None,
    fold: Fold = None,
    val_fraction: ValFraction = 0.1,
    group_by: GroupBy = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="Directory of predictions to write.")
    ] = None,
    html: Annotated[
        str | None, typer.Option("--html", help="Write a page with scores and confused pictures.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what -o and --html name.")
    ] = False,
    verify: Verify = "once",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of resamples and val rows.")] = 0,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Classify pictures by the names of the classes, and score it."""
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.evaluate.zeroshot import ZeroshotConfig, evaluate_zeroshot

    report = evaluate_zeroshot(
        ZeroshotConfig(
            store=store,
            label=label,
            prompts=tuple(prompt or ("a picture of {}",)),
            key=key,
            aligner=aligner,
            classes=classes,
            class_names=tuple(n.strip() for n in (class_names or "").split(",") if n.strip()),
            scale=scale,
            bootstrap=bootstrap,
            split=split,
            splits=SplitOptions(split_column, split_file, fold, val_fraction, group_by, seed),
            output=output,
            html=html,
            force=force,
            verify=verify,
            device=device,
            precision=precision,
            seed=seed,
        ),
        sink.debug,
    )
    for warning in report["warnings"]:
        sink.warn(warning)
    if json:
        sink.report(report, True)
    else:
        from mmcli.workflows.evaluate import zeroshot_tables as tables

        made = (tables.fact_rows, tables.score_rows, tables.class_rows, tables.confused_rows)
        for number, rows in enumerate(rows for rows in (make(report) for make in made) if rows):
            if number:
                print()
            sink.rows(rows, "table")
    for path in (output, html):
        if path:
            sink.info(f"wrote {path}")
    return 0
