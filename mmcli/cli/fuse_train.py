"""`mmcli fuse train`: does it help to combine the modalities of a store, and which carries it."""

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
from mmcli.core.bounds import TRAINING, Bounds, check_options

EPILOG = """\b
Examples:
  mmcli fuse train store -o model --label category
  mmcli fuse train store -o model --label category --method hybrid:low-rank --group-by caption
  mmcli fuse train store -o model --label price --tabular rooms,city --method early
  mmcli fuse train store -o model --label category --method late,early:tokens,hybrid:misa
  mmcli fuse train store -o model --label category --method all --time-limit 600

\b
Methods: early[:concat|concat-linear|as-text|tokens], late[:mean|weighted|vote|product|stack],
hybrid[:gated|tensor|low-rank|bilinear|attention|bottleneck|cross-modal|multi-level|misa|
combiner-gating|combiner-weighted|combiner-attention|early+late]; several with commas, the best on
val is kept; `all` races every one. `mmcli methods show fuse:low-rank` explains one.
Each modality by itself, early:concat and late:mean are trained beside them under the same budget.
An option that is not given is chosen by the number of rows and written into config.json."""

#: Lowest and highest value of each, by the name of its parameter.
_BOUNDS: dict[str, Bounds] = {
    **TRAINING,
    "modality_dropout": (0, 0.99),
    "label_smoothing": (0, 0.99),
    "focal_gamma": (0, 100),
    "width": (1, 65_536),
    "rank": (1, 1024),
    "time_limit": (1e-3, 1e9),
}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("train", epilog=EPILOG)(train)


def train(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="A store, as extract writes it.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The model to write.")],
    label: Annotated[str, typer.Option("--label", help="Column of what is to be predicted.")],
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="early, late or hybrid[:variant]; several; or all."),
    ] = None,
    label_kind: Annotated[
        str,
        typer.Option(
            "--label-kind", help="auto, binary, multiclass, multilabel, regression or ordinal."
        ),
    ] = "auto",
    classes: Annotated[
        list[str] | None,
        typer.Option("--classes", help="Classes in their order, as in low,mid,high (ordinal)."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only these modalities, as in text,image.")
    ] = None,
    keys: Keys = None,
    tabular: Annotated[
        list[str] | None,
        typer.Option("--tabular", help="Columns that make one more modality, as in price,city."),
    ] = None,
    numeric: Annotated[
        list[str] | None, typer.Option("--numeric", help="Tabular columns that are numbers.")
    ] = None,
    categorical: Annotated[
        list[str] | None, typer.Option("--categorical", help="Tabular columns that are categories.")
    ] = None,
    split_column: SplitColumn = "split",
    split_file: SplitFile = None,
    fold: Fold = None,
    val_fraction: ValFraction = 0.1,
    group_by: GroupBy = None,
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            help="What models are chosen and compared by: accuracy, balanced_accuracy, macro_f1,"
            " log_loss, roc_auc; micro_f1, label_accuracy; mae, rmse, r2, pearson.",
        ),
    ] = "auto",
    loss: Annotated[
        str, typer.Option("--loss", help="cross-entropy, focal; huber, mae, mse; auto.")
    ] = "auto",
    focal_gamma: Annotated[
        float, typer.Option("--focal-gamma", help="How much focal loss spares easy rows.")
    ] = 2.0,
    label_smoothing: Annotated[
        float, typer.Option("--label-smoothing", help="Share given to all classes alike.")
    ] = 0.0,
    class_weights: Annotated[
        bool, typer.Option("--class-weights", help="Weigh classes by rarity.")
    ] = False,
    modality_dropout: Annotated[
        float,
        typer.Option("--modality-dropout", help="How often a part is left out in training."),
    ] = 0.1,
    width: Annotated[int | None, typer.Option("--width", help="Width of hidden vectors.")] = None,
    layers: Annotated[int, typer.Option("--layers", help="Layers of Transformers.")] = 2,
    heads: Annotated[int, typer.Option("--heads", help="Heads of attention.")] = 4,
    rank: Annotated[int, typer.Option("--rank", help="Rank of low-rank fusion.")] = 8,
    dropout: Annotated[
        float | None, typer.Option("--dropout", help="Share of hidden units left out.")
    ] = None,
    epochs: Epochs = None,
    batch: Batch = None,
    lr: Annotated[float, typer.Option("--lr", help="Highest learning rate.")] = 1e-3,
    weight_decay: WeightDecay = None,
    warmup: Warmup = 0.1,
    ema: Annotated[float, typer.Option("--ema", help="Decay of averaged weights; 0: none.")] = 0.0,
    clip: Clip = 1.0,
    patience: Patience = None,
    seeds: Seeds = 5,
    seed: FirstSeed = 0,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", help="Seconds for all training.")
    ] = None,
    checkpoint: Checkpoint = 30.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished model.")
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
    """Train a fusion of a store's modalities, and say honestly whether it helps.

    The table has each modality by itself, the simple fusions and the chosen method, over several
    seeds, with intervals and paired differences. Rows of test are never looked at but to be scored;
    rows of val choose among models and when to stop.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    check_choice(
        "--label-kind",
        label_kind,
        ("auto", "binary", "multiclass", "multilabel", "regression", "ordinal"),
    )
    check_options(context.params, _BOUNDS)
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.data.labels import LabelOptions
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.fuse.data import FuseDataConfig
    from mmcli.workflows.fuse.fit import FuseOptions
    from mmcli.workflows.fuse.train import FuseConfig, train_fusion
    from mmcli.workflows.listeners import Listeners

    declared = dict.fromkeys(words_of(numeric), "numeric")
    declared |= dict.fromkeys(words_of(categorical), "categorical")
    columns = list(dict.fromkeys([*words_of(tabular), *declared]))
    settings = FuseConfig(
        store=store,
        output=output,
        data=FuseDataConfig(
            label=LabelOptions(label, label_kind, tuple(words_of(classes))),
            only=tuple(words_of(only)),
            keys=tuple(words_of(keys)),
            tabular=tuple(columns),
            declared=declared,
            splits=SplitOptions(split_column, split_file, fold, val_fraction, group_by, seed),
        ),
        methods=tuple(words_of(method)) or ("early",),
        options=FuseOptions(
            width=width,
            dropout=dropout,
            layers=layers,
            heads=heads,
            rank=rank,
            epochs=epochs,
            batch=batch,
            lr=lr,
            weight_decay=weight_decay,
            warmup=warmup,
            ema=ema,
            clip=clip,
            patience=patience,
            modality_dropout=modality_dropout,
            loss=loss,
            gamma=focal_gamma,
            smoothing=label_smoothing,
            balanced=class_weights,
        ),
        metric=metric,
        seeds=seeds,
        seed=seed,
        time_limit_s=time_limit,
        device=device,
        precision=precision,
        verify=verify,
        checkpoint_s=checkpoint,
        force=force,
        resume=resume,
        dry_run=dry_run,
        command=command_line(),
    )
    with sink.counting("fuse") as progress:
        report = train_fusion(settings, Listeners(sink.info, progress))
    if json or dry_run:
        sink.report(report, json)
    elif not quiet:
        _show(sink, report)
    return 0


def _show(sink: Sink, report: Mapping[str, Any]) -> None:
    """The honest table, the verdicts, what each modality is worth, and where the model is."""
    from mmcli.workflows.fuse.report import scored, shown_rows, verdict_lines

    sink.rows(shown_rows(report["table"]), "table")
    print()
    print(scored(report))
    for line in verdict_lines(report):
        print(line)
    worth = report["contribution"]
    if worth:
        parts = ", ".join(f"{name} {value:+.3f}" for name, value in worth["values"].items())
        print(
            f"{worth['measure']} {worth['all']:.3f} = {worth['nothing']:.3f} (nothing known)"
            f" {parts} (Shapley values)"
        )
    print()
    told = {name: report[name] for name in ("model", "method", "space", "seconds")}
    sink.report(told, as_json=False)
