"""`mmcli finetune`: from raw files to a model of a task, towers and fusion together."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mmcli.cli.finetune_options import (
    Accumulate,
    Alpha,
    Average,
    Bottleneck,
    Checkpointing,
    ClassWeights,
    FocalGamma,
    From,
    HeadRate,
    Hot,
    LastN,
    LayerDecay,
    LoraDropout,
    Loss,
    Mixup,
    ModalityDropout,
    Prompts,
    Rank,
    Rate,
    Smoothing,
    Strategy,
    TimeLimit,
    check_bounds,
)
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
from mmcli.cli.source_options import (
    Image,
    Map,
    Only,
    Preset,
    Root,
    Speech,
    Text,
    Video,
    Workers,
    number_or_auto,
    numbers_of,
    pairs_of,
)
from mmcli.cli.split_options import Fold, GroupBy, SplitColumn, SplitFile, ValFraction
from mmcli.cli.training_options import (
    Batch,
    Checkpoint,
    Clip,
    Epochs,
    FirstSeed,
    Patience,
    Warmup,
    WeightDecay,
)
from mmcli.core.errors import UsageError

EPILOG = """\b
Examples:
  mmcli finetune --task sentiment clips -o model
  mmcli finetune --task classification photos.csv -o model --label category --strategy lora
  mmcli finetune --task classification store -o model --shots 1,2,4,8,16
  mmcli finetune --task event posts -o model --label damage --strategy image=frozen,text=last-n
  mmcli finetune --task vqa scenes -o model
  mmcli finetune --task pretrain pairs -o first && \\
  mmcli finetune --task sentiment clips -o model --from first
  mmcli predict model clips -o predictions

\b
Tasks: sentiment, classification, event, vqa, caption, retrieval, pretrain.
DATA is any source that extract reads, or a store. Strategies: probe (frozen towers, the default),
full, last-n, gradual, bitfit, lora, dora, ia3, adapters, prompts, frozen; for all towers, or as in
image=lora,text=frozen. `mmcli methods list` explains each. Without other words the head of the
first stage is found on frozen features, beside every single modality; towers start from there."""


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("finetune", epilog=EPILOG)(finetune)


def finetune(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help="A source, as of extract, or a store.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The model to write.")],
    task: Annotated[str, typer.Option("--task", help="What the model is for.")],
    label: Annotated[
        str, typer.Option("--label", help="Column to predict. Default: the task's own.")
    ] = "",
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
    preset: Preset = "starter",
    image: Image = None,
    text: Text = None,
    speech: Speech = None,
    video: Video = None,
    only: Only = None,
    mapping: Map = None,
    root: Root = None,
    tabular: Annotated[
        list[str] | None,
        typer.Option("--tabular", help="Columns that make one more modality, as in price,city."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="The fusion, as of fuse train; several; or all."),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layers", help="Inner layers that hybrid:multi-level reads, as in 2,4."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="A generative model: hf:ORG/REPO or local:DIR.")
    ] = "",
    pretrained: From = "",
    strategy: Strategy = None,
    last_n: LastN = 2,
    rank: Rank = 8,
    alpha: Alpha = 16.0,
    lora_dropout: LoraDropout = 0.0,
    bottleneck: Bottleneck = 32,
    prompts: Prompts = 8,
    epochs: Epochs = None,
    batch: Batch = None,
    lr: Rate = None,
    head_lr: HeadRate = 1e-3,
    layer_decay: LayerDecay = 1.0,
    weight_decay: WeightDecay = None,
    warmup: Warmup = 0.1,
    ema: Annotated[float, typer.Option("--ema", help="Decay of averaged weights; 0: none.")] = 0.0,
    average: Average = 1,
    clip: Clip = 1.0,
    patience: Patience = None,
    accumulate: Accumulate = 1,
    checkpointing: Checkpointing = False,
    label_smoothing: Smoothing = 0.0,
    mixup: Mixup = 0.0,
    modality_dropout: ModalityDropout = 0.1,
    class_weights: ClassWeights = False,
    loss: Loss = "auto",
    focal_gamma: FocalGamma = 2.0,
    split_column: SplitColumn = "split",
    split_file: SplitFile = None,
    fold: Fold = None,
    val_fraction: ValFraction = 0.1,
    group_by: GroupBy = None,
    metric: Annotated[
        str, typer.Option("--metric", help="What models are chosen by; auto is the task's own.")
    ] = "auto",
    shots: Annotated[
        list[str] | None,
        typer.Option("--shots", help="Rows of each class for a few-shot ladder, as in 1,2,4."),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", help="Draws of each rung of the ladder.")] = 5,
    curve: Annotated[
        list[str] | None,
        typer.Option("--curve", help="Shares of the train rows to learn from, as in 10%,30%."),
    ] = None,
    unimodal: Annotated[
        str,
        typer.Option(
            "--unimodal",
            help="Labels of each modality by itself (sentiment): auto, columns, self or none.",
        ),
    ] = "auto",
    unimodal_weight: Annotated[
        float, typer.Option("--unimodal-weight", help="What each of them weighs beside the whole.")
    ] = 1.0,
    leave_out: Annotated[
        str,
        typer.Option(
            "--leave-out", help="Also train without each value of a column and score on it."
        ),
    ] = "",
    between: Annotated[
        list[str] | None,
        typer.Option("--between", help="The two modalities of a pair, as in text,image."),
    ] = None,
    positive_by: Annotated[
        str,
        typer.Option("--positive-by", help="Rows of one value of this column belong together."),
    ] = "",
    hot: Hot = None,
    quality: Annotated[
        str, typer.Option("--quality", help="fast, medium or best: chooses what is not said.")
    ] = "medium",
    time_limit: TimeLimit = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Runs to train; the best on val is kept.")
    ] = None,
    seed: FirstSeed = 0,
    checkpoint: Checkpoint = 30.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished model.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    on_error: Annotated[
        str,
        typer.Option("--on-error", help="A part that cannot be read: fail, or skip (and count)."),
    ] = "fail",
    workers: Workers = "auto",
    verify: Verify = "once",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Train a model of a task from raw files, and say how good it is.

    Features are extracted once, fusions of them compete beside every single modality, and towers
    are tuned from the best head. Rows of test are never looked at but to be scored.
    """
    sink = Sink(quiet, verbose)
    check_choice("--verify", verify, ("once", "full", "none"))
    check_choice("--on-error", on_error, ("skip", "fail"))
    kinds = ("auto", "binary", "multiclass", "multilabel", "regression", "ordinal")
    check_choice("--label-kind", label_kind, kinds)
    check_choice("--unimodal", unimodal, ("auto", "columns", "self", "none"))
    check_bounds(context.params)
    for line in describe_sources(context):
        sink.debug(line)
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions, TuneOptions
    from mmcli.workflows.finetune.run import finetune as run
    from mmcli.workflows.listeners import Listeners

    encoders = {"image": image, "text": text, "speech": speech, "video": video}
    settings = FinetuneConfig(
        task=task,
        data=data,
        output=output,
        label=label,
        label_kind=label_kind,
        classes=tuple(words_of(classes)),
        preset=preset,
        encoders={m: tuple(names) for m, names in encoders.items() if names},
        only=tuple(words_of(only)),
        mapping=pairs_of("--map", mapping, "ours=theirs, as in image=img_path"),
        root=root,
        method=",".join(words_of(method)),
        model=model,
        pretrained=pretrained,
        strategy=parse_strategy(strategy),
        tune=TuneOptions(last_n, rank, alpha, lora_dropout, bottleneck, prompts),
        tricks=TrickOptions(
            epochs=epochs,
            batch=batch,
            lr=lr,
            head_lr=head_lr,
            weight_decay=weight_decay,
            warmup=warmup,
            layer_decay=layer_decay,
            ema=ema,
            clip=clip,
            patience=patience,
            accumulate=accumulate,
            checkpointing=checkpointing,
            average=average,
            smoothing=label_smoothing,
            mixup=mixup,
            modality_dropout=modality_dropout,
            balanced=class_weights,
            loss=loss,
            focal_gamma=focal_gamma,
        ),
        splits=SplitOptions(split_column, split_file, fold, val_fraction, group_by, seed),
        metric=metric,
        shots=numbers_of("--shots", shots),
        draws=draws,
        curve=parse_shares(curve),
        quality=quality,
        time_limit_s=time_limit,
        seeds=seeds,
        seed=seed,
        device=device,
        precision=precision,
        workers=number_or_auto("--workers", workers),
        on_error=on_error,
        verify=verify,
        checkpoint_s=checkpoint,
        force=force,
        resume=resume,
        dry_run=dry_run,
        command=command_line(),
        options={
            "tabular": tuple(words_of(tabular)),
            "layers": numbers_of("--layers", layers),
            **({"between": tuple(words_of(between))} if between else {}),
            **({"positive_by": positive_by} if positive_by else {}),
            **({"unimodal": unimodal} if unimodal != "auto" else {}),
            **({"unimodal_weight": unimodal_weight} if unimodal_weight != 1.0 else {}),
            **({"leave_out": leave_out} if leave_out else {}),
            **pairs_of("--set", hot, "name=value, as in max_new_tokens=20"),
        },
    )
    with sink.counting("finetune") as progress:
        report = run(settings, Listeners(sink.info, progress))
    if json or dry_run:
        sink.report(report, json)
    elif not quiet:
        show(sink, report)
    return 0


def parse_strategy(values: list[str] | None) -> dict[str, str]:
    """`lora` for all towers, `image=lora,text=frozen` by modality; both may be mixed."""
    found: dict[str, str] = {}
    for word in words_of(values):
        modality, equals, name = word.partition("=")
        key, chosen = (modality, name) if equals else ("", word)
        if not chosen or key in found:
            raise UsageError(f"`--strategy {word}`", "as in lora, or image=lora,text=frozen")
        found[key] = chosen
    return found


def parse_shares(values: list[str] | None) -> tuple[float, ...]:
    """Shares as `10%` or `0.1`, each above 0 and at most 1."""
    found = []
    for word in words_of(values):
        try:
            share = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise UsageError(f"`--curve {word}` is no share", "as in 10%,30%,100%")
        found.append(share)
    return tuple(found)


def show(sink: Sink, report: Mapping[str, Any]) -> None:
    """The tables of a report, its verdicts, and where the model is."""
    for name, rows in (report.get("tables") or {"": report.get("table", [])}).items():
        if name:
            print(name)
        if rows:
            from mmcli.workflows.fuse.report import shown_rows

            sink.rows(shown_rows(rows), "table")
            print()
    for line in report.get("lines", []):
        print(line)
    told = ("model", "task", "method", "kept", "space", "seconds")
    sink.report({name: report[name] for name in told if name in report}, as_json=False)
