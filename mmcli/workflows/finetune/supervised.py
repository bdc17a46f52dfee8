"""`finetune` of a label: features once, a contest of fusions on them, then the towers end to end.

The first stage is `fuse train` on frozen features and gives the baselines; the second begins at the
head that the first has found (Kumar et al. 2022, arXiv 2202.10054). Prints nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import UsageError, naming
from mmcli.core.registry import load_attribute, suggestion
from mmcli.data.labels import LabelOptions, check_trainable, read_labels
from mmcli.data.splits import split_rows
from mmcli.engine.device import place, probe
from mmcli.fusion.model import KIND
from mmcli.fusion.objective import OUTPUTS, objective_for
from mmcli.fusion.registry import METHODS
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.tasks.registry import TASKS, TaskSpec
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.curve import learning_curve
from mmcli.workflows.finetune.dry import dry_run
from mmcli.workflows.finetune.features import failure_lines, is_store, open_features
from mmcli.workflows.finetune.learning_keys import check_encoders
from mmcli.workflows.finetune.leave_out import OPTION as LEAVE_OUT
from mmcli.workflows.finetune.leave_out import leave_out, turns_of
from mmcli.workflows.finetune.plan import Plan, fingerprint, plan_run, told
from mmcli.workflows.finetune.report.analysis import Analysis, analyse
from mmcli.workflows.finetune.report.card import finetune_card
from mmcli.workflows.finetune.report.writing import finetune_page
from mmcli.workflows.finetune.scalars import SCALARS, scalars_file
from mmcli.workflows.finetune.source_rows import SourceRows, open_rows
from mmcli.workflows.finetune.tune import tune
from mmcli.workflows.finetune.tuned import Tuned
from mmcli.workflows.finetune.unimodal import OPTION as UNIMODAL
from mmcli.workflows.finetune.unimodal import WEIGHT as UNIMODAL_WEIGHT
from mmcli.workflows.finetune.unimodal import unimodal_labels
from mmcli.workflows.fuse.contest import (
    LATE_MEAN,
    ContestConfig,
    Extra,
    cautions,
    check_loss,
    choose_measure,
    contest_plan,
    contest_report,
    describe,
    model_scores,
    scored_rows,
)
from mmcli.workflows.fuse.data import FuseData, FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.files import write_model
from mmcli.workflows.fuse.fit import Contest, FitRun, FuseOptions, fit, refuse_idle
from mmcli.workflows.fuse.parts import worth
from mmcli.workflows.fuse.race import race, raced_once
from mmcli.workflows.fuse.report import scored, verdict_lines
from mmcli.workflows.listeners import Listeners

#: What `--set`, or an option of that name, may say.
_SETTINGS = ("tabular", "layers", LEAVE_OUT, UNIMODAL, UNIMODAL_WEIGHT)
_MEASURES = {
    "sentiment": "mmcli.tasks.sentiment:measures",
    "classification": "mmcli.tasks.classification:measures",
    "event": "mmcli.tasks.event:measures",
}


def run(config: FinetuneConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train, judge, write a model, report.

    Raises BadInput or UsageError for data and options that do not fit, before anything is trained.
    """
    began = time.monotonic()
    listeners = listeners or Listeners()
    spec = TASKS.get(config.task)
    _check_settings(config)
    plan = plan_run(config, spec)
    check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    _check_source(config, spec)
    if config.dry_run:
        return dry_run(config, plan, _opened(config, spec, plan))
    with ArtifactWriter(
        config.output,
        KIND,
        told(config),
        fingerprint(config),
        force=config.force,
        resume=config.resume,
    ) as writer:
        store, extraction = open_features(config, plan.wanted, writer.checkpoint, listeners)
        for line in failure_lines(store):
            listeners.message(line)
        with naming(store.path, config.data):
            report, contest, tuned, network, analysis, store_sha = _train(
                config, spec, plan, store, writer, listeners, began
            )
        report["extraction"] = extraction
        report["seconds"] = round(time.monotonic() - began, 2)
        history = [{"stage": "probe", **record} for record in contest.trained.history]
        history += tuned.history if tuned else []
        towers = tuned.write(writer) if tuned else {}
        chosen = contest.specs[report["method"]]
        writer.write(SCALARS, "", scalars_file(history))
        write_model(
            writer,
            network,
            contest,
            report["method"],
            report,
            store,
            store_sha,
            config.command,
            told(config),
            towers=towers,
            history=history,
            task=config.task,
            page=finetune_page(report, analysis, history, store, config.command, told(config)),
            card=finetune_card(report, analysis, chosen, config.command, towers),
        )
    if "leave_out" in report:  # what is shown, and would stand in the files twice
        left_out = f"left out by {config.options[LEAVE_OUT]}"
        report["tables"] = {"": report["table"], left_out: report["leave_out"]}
    return report


def _train(
    config: FinetuneConfig,
    spec: TaskSpec,
    plan: Plan,
    store: Store,
    writer: ArtifactWriter,
    listeners: Listeners,
    began: float,
) -> tuple[dict[str, Any], Contest, Tuned | None, Any, Analysis, str]:
    data = load_fuse_data(store, _data_config(config, spec, store), config.device, config.precision)
    check_values(config, data, store)
    check_encoders(plan, store, data)
    data, specs, own = unimodal_labels(config, data, store, plan.methods, listeners.message)
    column = str(config.options.get(LEAVE_OUT, ""))
    turns = turns_of(data, store, column, config.splits) if column else []
    kind = OUTPUTS[data.labels.kind]
    measures = load_attribute(_MEASURES[config.task])(kind)
    measure = measures[0]
    if config.metric != "auto":
        measure = choose_measure(config.metric, kind, len(data.labels.classes))
    others = [one for one in measures if one.name != measure.name]
    options = fuse_options(config)
    objective = objective_for(
        data.labels.kind,
        data.labels.values[data.train],
        len(data.labels.classes),
        loss=check_loss(options.loss, kind),
        gamma=options.gamma,
        smoothing=options.smoothing,
        balanced=options.balanced,
    )
    refuse_idle(options, objective)
    placement = place(config.device, config.precision, probe())
    for line in (*data.warnings, describe(data, specs, placement)):
        listeners.message(line)
    told_contest = ContestConfig(config.data, config.output, config.seeds, config.seed, options)
    shown = contest_plan(told_contest, data, specs, measure, placement)
    raced: list[dict[str, Any]] = []
    if plan.race:
        finalists, raced = raced_once(
            writer.checkpoint / "race.json",
            lambda: race(
                data,
                objective,
                measure,
                options,
                config.seed,
                placement,
                None if config.time_limit_s is None else 0.3 * config.time_limit_s,
                listeners,
            ),
        )
        specs = list({s.name: s for s in (*specs, *finalists)}.values())
    heads = FitRun(
        seeds=tuple(range(config.seed, config.seed + config.seeds)),
        device=placement.device,
        dtype=placement.dtype,
        checkpoint=writer.checkpoint / "field",
        resume=writer.resumed,
        checkpoint_s=config.checkpoint_s,
        time_limit_s=_left(config, began, 0.4 if plan.tunes or turns else 0.9),
        progress=listeners.progress,
    )
    contest = fit(
        data,
        list({s.name: s for s in (*specs, METHODS.get(LATE_MEAN))}.values()),
        objective,
        measure,
        options,
        heads,
    )
    left_out = []
    if turns:
        left_out = leave_out(
            data,
            store,
            turns,
            objective,
            measure,
            specs,
            options,
            replace(
                heads,
                checkpoint=writer.checkpoint / "leave-out",
                time_limit_s=_left(config, began, 0.6 if plan.tunes else 0.9),
            ),
            message=listeners.message,
        )
    rows, which = scored_rows(data)
    base = contest_report(told_contest, data, specs, objective, measure, contest, shown)
    tuned = None
    extra = None
    if plan.tunes:
        tuned = tune(
            config,
            plan,
            store,
            data,
            contest,
            base["method"],
            measure,
            rows,
            placement,
            writer,
            _left(config, began, 0.95),
            listeners,
        )
        extra = Extra(tuned.name, tuned.val, tuned.test, tuned.parameters)
    report = contest_report(
        told_contest, data, specs, objective, measure, contest, shown, extra, others
    )
    report["lines"] = [scored({**report, "scored_rows": which}), *verdict_lines(report)]
    report |= {"task": config.task, "race": raced, "scored_rows": which, "data": config.data}
    report["strategy"] = dict(plan.strategies)
    if own is not None:
        report["unimodal"] = own.to_json()
    if left_out:
        report["leave_out"] = left_out
    if tuned is not None:
        report["kept_seed"] = tuned.kept_seed
        report["tuning"] = tuned.told
        contest.data = replace(contest.data, inputs=tuned.inputs)  # what the tuned towers say
        network = tuned.fusion
    else:
        network = contest.network(report["method"], report["kept_seed"] - config.seed)
    report["subsets"], report["contribution"] = worth(
        network, contest, report["method"], rows, measure
    )
    report["model_scores"] = model_scores(network, contest, report["method"], rows)
    analysis = analyse(
        network,
        contest,
        report["method"],
        rows,
        measure,
        store,
        task=config.task,
        split_column=config.splits.split_column,
        group_by=config.splits.group_by,
        seed=config.seed,
    )
    report["analysis"] = analysis.told
    if config.curve:
        report["curve"] = learning_curve(
            data,
            store,
            objective,
            measure,
            specs,
            options,
            replace(
                heads,
                checkpoint=writer.checkpoint / "curve",
                time_limit_s=_left(config, began, 1.0),
            ),
            config.curve,
            seed=config.seed,
            group_by=config.splits.group_by,
            whole=base,
            message=listeners.message,
        )
    for line in cautions(report):
        listeners.message(f"warning: {line}")
    return report, contest, tuned, network, analysis, file_record(store.path / MANIFEST)["sha256"]


def _left(config: FinetuneConfig, began: float, share: float) -> float | None:
    """Seconds until this share of the time limit is used."""
    if config.time_limit_s is None:
        return None
    return max(1.0, share * config.time_limit_s - (time.monotonic() - began))


def _check_settings(config: FinetuneConfig) -> None:
    """Raise UsageError for a setting that these tasks do not read."""
    for name, value in config.options.items():
        if name not in _SETTINGS:
            raise UsageError(
                f"`--task {config.task}` knows no `{name}`", suggestion(name, _SETTINGS)
            )
        if name in _SETTINGS[:2] and isinstance(value, str):  # `--set`, which has no lists
            raise UsageError(f"`--set {name}={value}`", f"write `--{name} {value}`")


def _check_source(config: FinetuneConfig, spec: TaskSpec) -> None:
    """Raise for splits and labels that nothing can be learned from, before anything is embedded."""
    if is_store(config.data) or config.data == "-":
        return
    with open_rows(config.data, config.root, config.mapping) as source:
        rows: Any = SourceRows(source, config.data)
        told = _data_config(config, spec, rows)
        train = split_rows(rows, told.splits, train=True).rows("train")
        check_trainable(read_labels(rows, told.label), train)


def _opened(config: FinetuneConfig, spec: TaskSpec, plan: Plan) -> tuple[Store, FuseData] | None:
    """A store that is given as the data, checked as for a run; None for a source."""
    if not is_store(config.data):
        return None
    store = Store.open(config.data, config.verify)
    data = load_fuse_data(store, _data_config(config, spec, store), config.device, config.precision)
    check_values(config, data, store)
    check_encoders(plan, store, data)
    return store, data


def _data_config(config: FinetuneConfig, spec: TaskSpec, store: Store) -> FuseDataConfig:
    label = config.label or next((c for c in spec.label if c in store.columns), "")
    if not label:
        raise UsageError(
            f"`{config.data}` has none of the columns {', '.join(spec.label)}",
            "name the label with `--label`",
        )
    tabular = config.options.get("tabular", ())
    assert isinstance(tabular, tuple)
    return FuseDataConfig(
        label=LabelOptions(label, config.label_kind, config.classes),
        only=config.only,
        tabular=tabular,
        splits=config.splits,
    )


def check_values(config: FinetuneConfig, data: FuseData, store: Store) -> None:
    """What the task itself asks of the label's values."""
    if config.task == "sentiment" and data.labels.kind == "regression":
        from mmcli.tasks.sentiment import check_scores

        check_scores(np.asarray(data.labels.values), store.ids(), data.labels.column)


def fuse_options(config: FinetuneConfig) -> FuseOptions:
    """The tricks that the head's first stage shares with the second."""
    tricks = config.tricks
    return FuseOptions(
        lr=tricks.head_lr,
        warmup=tricks.warmup,
        ema=tricks.ema,
        clip=tricks.clip,
        modality_dropout=tricks.modality_dropout,
        loss=tricks.loss,
        gamma=tricks.focal_gamma,
        smoothing=tricks.smoothing,
        balanced=tricks.balanced,
        **plan_sizes(config),
    )


def plan_sizes(config: FinetuneConfig) -> Mapping[str, Any]:
    """Epochs, batch and so on of the first stage, where no tower is tuned after it."""
    if any(s not in ("probe", "frozen") for s in config.strategy.values()):
        return {}
    told_tricks = asdict(config.tricks)
    names = ("epochs", "batch", "weight_decay", "patience")
    return {name: told_tricks[name] for name in names if told_tricks[name] is not None}
