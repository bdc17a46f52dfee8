"""`mmcli align compare`: methods side by side over the folds of a store."""

from collections.abc import Mapping
from typing import Annotated, Any

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
    words_of,
)
from mmcli.cli.output import Sink
from mmcli.cli.split_options import GroupBy, SplitFile, ValFraction

EPILOG = """\b
Examples:
  mmcli align compare store --between text,image --split-file folds.parquet
  mmcli align compare store --between text,image --method linear:ridge,linear:kernel,contrastive
  mmcli align compare store --between text,image --method dual,contrastive --paired 0.1 --json

\b
Folds come from the column fold of the store or of --split-file (mmcli data split --folds 5 makes
it). Values are means over folds and half their 95 % interval; a gain is over the table's first
row, taken fold by fold."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("compare", epilog=EPILOG)(compare)


def compare(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store, as extract writes it.")],
    between: Annotated[list[str], typer.Option("--between", help="Modalities, as in text,image.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", help="Methods, as in linear,dual:mmd. Default: all but sequences."
        ),
    ] = None,
    keys: Annotated[
        list[str] | None, typer.Option("--keys", help="Only these keys, as in text,image:NAME.")
    ] = None,
    positive_by: Annotated[
        str | None,
        typer.Option("--positive-by", help="Column whose equal values match, as in caption."),
    ] = None,
    paired: Annotated[
        float, typer.Option("--paired", help="Share of the train pairs to use.")
    ] = 1.0,
    split_file: SplitFile = None,
    val_fraction: ValFraction = 0.1,
    group_by: GroupBy = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the pairs.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of every fit.")] = 0,
    verify: Verify = "once",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Cross-validate alignment methods on the folds of a store.

    Prints one table; what a method chooses for itself it chooses on the train rows of each fold.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.align.fitting import AlignOptions
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.align.compare import CompareConfig
    from mmcli.workflows.align.compare import compare as run
    from mmcli.workflows.align.data import DataConfig

    splits = SplitOptions(
        split_file=split_file, val_fraction=val_fraction, group_by=group_by, seed=seed
    )
    settings = CompareConfig(
        store=store,
        data=DataConfig(
            between=tuple(words_of(between)),
            keys=tuple(words_of(keys)),
            positive_by=positive_by,
            paired=paired,
            splits=splits,
        ),
        methods=tuple(words_of(method)) or ("linear", "contrastive", "dual"),
        options=AlignOptions(epochs=epochs),
        seed=seed,
        device=device,
        precision=precision,
        verify=verify,
    )
    report = run(settings, sink.info)
    if json:
        sink.report(report, True)
    else:
        sink.rows([_short(row) for row in report["table"]], "table")
    return 0


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """`0.424 ± 0.041`, and the gain in a column of its own."""
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith(" ±"):
            shown[name.removesuffix(" ±")] += f" ± {value:.3f}"
        elif name.endswith(" gain"):
            shown[name] = f"{value:+.3f}"
        else:
            shown[name] = f"{value:.3f}" if name != "seconds" and name != "method" else value
    return shown
