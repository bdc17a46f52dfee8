"""`mmcli align train`: a map between the modalities of a store, beside its baselines."""

from collections.abc import Mapping
from typing import Annotated, Any

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
    command_line,
    describe_sources,
    words_of,
)
from mmcli.cli.output import Sink
from mmcli.cli.split_options import Fold, GroupBy, SplitColumn, SplitFile, ValFraction
from mmcli.cli.training_options import (
    Batch,
    Checkpoint,
    Clip,
    Epochs,
    FirstSeed,
    Keys,
    Patience,
    Seeds,
    Warmup,
    WeightDecay,
)

EPILOG = """\b
Examples:
  mmcli align train store -o aligner --between text,image
  mmcli align train store -o aligner --between text,image --fold 0 --group-by caption
  mmcli align train store -o aligner --between text,image,speech --method contrastive --seeds 5
  mmcli align train store -o aligner --between text,image --method dual --unpaired more
  mmcli align train store -o aligner --between text,image --method cross-attention

\b
Methods: linear[:ridge|kernel|procrustes|cca], contrastive[:infonce|sigmoid],
dual[:mmd|moments|transport], cross-attention. What the modalities share before and the closed form
are always scored beside it.
An option that is not given is chosen by the number of rows and written into config.json."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("train", epilog=EPILOG)(train)


def train(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store, as extract writes it.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The aligner to write.")],
    between: Annotated[
        list[str], typer.Option("--between", help="Modalities, as in text,image or text,speech.")
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method", help="linear, contrastive, dual or cross-attention; NAME:VARIANT."
        ),
    ] = "linear",
    keys: Keys = None,
    positive_by: Annotated[
        str | None,
        typer.Option("--positive-by", help="Column whose equal values match, as in caption."),
    ] = None,
    paired: Annotated[
        float,
        typer.Option(
            "--paired", help="Share of the train pairs to use; dual uses the rest unpaired."
        ),
    ] = 1.0,
    unpaired: Annotated[
        str | None,
        typer.Option("--unpaired", help="A store of more rows without partners (dual)."),
    ] = None,
    split_column: SplitColumn = "split",
    split_file: SplitFile = None,
    fold: Fold = None,
    val_fraction: ValFraction = 0.1,
    group_by: GroupBy = None,
    anchor: Annotated[
        str | None, typer.Option("--anchor", help="Modality whose space stays as it is (linear).")
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", help="Width of a space of its own (contrastive).")
    ] = None,
    tower: Annotated[str, typer.Option("--tower", help="linear, mlp or auto.")] = "auto",
    hidden: Annotated[int | None, typer.Option("--hidden", help="Width of hidden layers.")] = None,
    layers: Annotated[
        int, typer.Option("--layers", help="Layers of cross-attention each way.")
    ] = 2,
    heads: Annotated[int, typer.Option("--heads", help="Heads of cross-attention.")] = 4,
    dropout: Annotated[
        float | None, typer.Option("--dropout", help="Share of inputs left out.")
    ] = (None),
    epochs: Epochs = None,
    batch: Batch = None,
    chunk: Annotated[
        int | None, typer.Option("--chunk", help="Rows of the score matrix held at a time.")
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Highest learning rate.")] = None,
    weight_decay: WeightDecay = None,
    warmup: Warmup = 0.1,
    ema: Annotated[
        float | None, typer.Option("--ema", help="Decay of averaged weights; 0 for none.")
    ] = None,
    clip: Clip = 1.0,
    patience: Patience = None,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Where the learned temperature starts.")
    ] = 0.07,
    hard_negatives: Annotated[
        int, typer.Option("--hard-negatives", help="Mined rows that join each row's batch.")
    ] = 0,
    cycle_weight: Annotated[
        float | None, typer.Option("--cycle-weight", help="Weight of going there and back (dual).")
    ] = None,
    match_weight: Annotated[
        float | None, typer.Option("--match-weight", help="Weight of matched distributions (dual).")
    ] = None,
    seeds: Seeds = 1,
    seed: FirstSeed = 0,
    checkpoint: Checkpoint = 30.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished aligner.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    verify: Verify = "once",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Train a map between modalities on the pairs of a store.

    Pairs are the rows that have both parts. Rows of test are never looked at but to be scored; rows
    of val choose settings and when to stop.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    check_choice("--tower", tower, ("auto", "linear", "mlp"))
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.align.fitting import AlignOptions
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.align.data import DataConfig
    from mmcli.workflows.align.train import TrainConfig
    from mmcli.workflows.align.train import train as run
    from mmcli.workflows.listeners import Listeners

    settings = TrainConfig(
        store=store,
        output=output,
        data=DataConfig(
            between=tuple(words_of(between)),
            keys=tuple(words_of(keys)),
            positive_by=positive_by,
            paired=paired,
            unpaired=unpaired,
            splits=SplitOptions(split_column, split_file, fold, val_fraction, group_by, seed),
        ),
        method=method,
        options=AlignOptions(
            dim=dim,
            hidden=hidden,
            dropout=dropout,
            tower=tower,
            anchor=anchor,
            epochs=epochs,
            batch=batch,
            lr=lr,
            weight_decay=weight_decay,
            warmup=warmup,
            ema=ema,
            clip=clip,
            patience=patience,
            temperature=temperature,
            hard_negatives=hard_negatives,
            chunk=chunk,
            cycle_weight=cycle_weight,
            match_weight=match_weight,
            layers=layers,
            heads=heads,
        ),
        seed=seed,
        seeds=seeds,
        device=device,
        precision=precision,
        verify=verify,
        checkpoint_s=checkpoint,
        force=force,
        resume=resume,
        dry_run=dry_run,
        command=command_line(),
    )
    with sink.counting("align") as progress:
        report = run(settings, Listeners(sink.info, progress))
    if json or dry_run:
        sink.report(report, json)
    elif not quiet:
        _show(sink, report)
    return 0


def _show(sink: Sink, report: Mapping[str, Any]) -> None:
    """The scores beside the baselines', then where the aligner is."""
    sink.rows([_short(row) for row in report["scores"]], "table")
    print()
    told = {name: report[name] for name in ("aligner", "space", "dim", "seconds")}
    sink.report({k: v for k, v in told.items() if v is not None}, as_json=False)


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """Three decimals, and the interval beside its value."""
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith(" ±"):
            shown[name.removesuffix(" ±")] += f" ± {value:.3f}"
        else:
            shown[name] = f"{value:.3f}" if isinstance(value, float) else value
    return shown
