"""`finetune` of a label: features once, a contest of fusions on them, then the towers end to end.

The first stage is `fuse train` on frozen features and gives the baselines; the second begins at the
head that the first has found (Kumar et al. 2022, arXiv 2202.10054). Prints nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmcli.core.errors import naming
from mmcli.fusion.model import KIND
from mmcli.fusion.registry import METHODS
from mmcli.metrics.choice import Measure
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.tasks.registry import TASKS, TaskSpec
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.curve import learning_curve
from mmcli.workflows.finetune.dry import dry_run
from mmcli.workflows.finetune.features import failure_lines, open_features
from mmcli.workflows.finetune.leave_out import OPTION as LEAVE_OUT
from mmcli.workflows.finetune.leave_out import leave_out
from mmcli.workflows.finetune.plan import Plan, fingerprint, plan_run, told
from mmcli.workflows.finetune.prepared import (
    Prepared,
    check_settings,
    check_source,
    opened,
    prepare,
)
from mmcli.workflows.finetune.report.analysis import Analysis, analyse
from mmcli.workflows.finetune.report.card import finetune_card
from mmcli.workflows.finetune.report.writing import finetune_page
from mmcli.workflows.finetune.scalars import SCALARS, scalars_file
from mmcli.workflows.finetune.tune import tune
from mmcli.workflows.finetune.tuned import Tuned
from mmcli.workflows.fuse.contest import (
    LATE_MEAN,
    ContestConfig,
    Extra,
    cautions,
    contest_plan,
    contest_report,
    describe,
    model_scores,
    scored_rows,
)
from mmcli.workflows.fuse.files import write_model
from mmcli.workflows.fuse.fit import Contest, FitRun, fit
from mmcli.workflows.fuse.parts import worth
from mmcli.workflows.fuse.race import race, raced_once
from mmcli.workflows.fuse.report import scored, verdict_lines
from mmcli.workflows.listeners import Listeners


def run(config: FinetuneConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train, judge, write a model, report.

    Raises BadInput or UsageError for data and options that do not fit, before anything is trained.
    """
    began = time.monotonic()
    listeners = listeners or Listeners()
    spec = TASKS.get(config.task)
    check_settings(config)
    plan = plan_run(config, spec)
    check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    check_source(config, spec)
    if config.dry_run:
        return dry_run(config, plan, opened(config, spec, plan))
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
            done = _train(config, spec, plan, store, writer, listeners, began)
        report, contest, tuned = done.report, done.contest, done.tuned
        report["extraction"] = extraction
        report["seconds"] = round(time.monotonic() - began, 2)
        history = [{"stage": "probe", **record} for record in contest.trained.history]
        history += tuned.history if tuned else []
        towers = tuned.write(writer) if tuned else {}
        chosen = contest.specs[report["method"]]
        writer.write(SCALARS, "", scalars_file(history))
        write_model(
            writer,
            done.network,
            contest,
            report["method"],
            report,
            store,
            done.store_sha256,
            config.command,
            told(config),
            towers=towers,
            history=history,
            task=config.task,
            page=finetune_page(report, done.analysis, history, store, config.command, told(config)),
            card=finetune_card(report, done.analysis, chosen, config.command, towers),
        )
    if "leave_out" in report:  # what is shown, and would stand in the files twice
        left_out = f"left out by {config.options[LEAVE_OUT]}"
        report["tables"] = {"": report["table"], left_out: report["leave_out"]}
    return report


@dataclass(frozen=True)
class TrainedTask:
    """What training came to. tuned: None where no tower was tuned; network: the model kept."""

    report: dict[str, Any]
    contest: Contest
    tuned: Tuned | None
    network: Any
    analysis: Analysis
    store_sha256: str


@dataclass(frozen=True)
class _Stage:
    """What both stages share: the settings, and how much of the time limit is left."""

    config: FinetuneConfig
    plan: Plan
    store: Store
    prepared: Prepared
    writer: ArtifactWriter
    listeners: Listeners
    began: float

    def seconds_left(self, share: float) -> float | None:
        """Until this share of the time limit is used."""
        return _left(self.config, self.began, share)

    def heads(self) -> FitRun:
        """How the first stage is trained."""
        config, placement = self.config, self.prepared.placement
        more = self.plan.tunes or self.prepared.turns
        return FitRun(
            seeds=tuple(range(config.seed, config.seed + config.seeds)),
            device=placement.device,
            dtype=placement.dtype,
            checkpoint=self.writer.checkpoint / "field",
            resume=self.writer.resumed,
            checkpoint_s=config.checkpoint_s,
            time_limit_s=self.seconds_left(0.4 if more else 0.9),
            progress=self.listeners.progress,
        )

    def elsewhere(self, heads: FitRun, folder: str, share: float) -> FitRun:
        """The same for other rows, with a checkpoint of its own."""
        return replace(
            heads,
            checkpoint=self.writer.checkpoint / folder,
            time_limit_s=self.seconds_left(share),
        )


def _train(
    config: FinetuneConfig,
    spec: TaskSpec,
    plan: Plan,
    store: Store,
    writer: ArtifactWriter,
    listeners: Listeners,
    began: float,
) -> TrainedTask:
    """The contest of fusions, the towers from its best head, and what all of them are worth."""
    prepared = prepare(config, spec, plan, store, listeners.message)
    data = prepared.data
    for line in (*data.warnings, describe(data, prepared.specs, prepared.placement)):
        listeners.message(line)
    told_contest = ContestConfig(
        config.data, config.output, config.seeds, config.seed, prepared.options
    )
    shown = contest_plan(told_contest, data, prepared.specs, prepared.measure, prepared.placement)
    stage = _Stage(config, plan, store, prepared, writer, listeners, began)
    raced: list[dict[str, Any]] = []
    if plan.race:
        stage, raced = _raced(stage)
    made, specs, measure = stage.prepared, stage.prepared.specs, stage.prepared.measure
    heads = stage.heads()
    with_mean = list({s.name: s for s in (*specs, METHODS.get(LATE_MEAN))}.values())
    contest = fit(data, with_mean, made.objective, measure, made.options, heads)
    left_out = _left_out(stage, heads) if made.turns else []
    rows, which = scored_rows(data)
    told_all = (told_contest, data, specs, made.objective, measure, contest, shown)
    base = contest_report(*told_all)
    tuned = extra = None
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
            made.placement,
            writer,
            stage.seconds_left(0.95),
            listeners,
        )
        extra = Extra(tuned.name, tuned.val, tuned.test, tuned.parameters)
    report = contest_report(*told_all, extra, made.others)
    report["lines"] = [scored({**report, "scored_rows": which}), *verdict_lines(report)]
    report |= {"task": config.task, "race": raced, "scored_rows": which, "data": config.data}
    report["strategy"] = dict(plan.strategies)
    if made.own is not None:
        report["unimodal"] = made.own.to_json()
    if left_out:
        report["leave_out"] = left_out
    if tuned is not None:
        report["kept_seed"] = tuned.kept_seed
        report["tuning"] = tuned.told
        contest.data = replace(contest.data, inputs=tuned.inputs)  # what the tuned towers say
        network = tuned.fusion
    else:
        network = contest.network(report["method"], report["kept_seed"] - config.seed)
    analysis = _judged(stage, contest, network, report, rows)
    if config.curve:
        report["curve"] = _curve(stage, heads, base)
    for line in (*cautions(report), *val_fell(report, tuned.name if tuned else "", measure)):
        listeners.message(f"warning: {line}")
    sha256 = file_record(store.path / MANIFEST)["sha256"]
    return TrainedTask(report, contest, tuned, network, analysis, sha256)


def val_fell(report: Mapping[str, Any], tuned: str, measure: Measure) -> list[str]:
    """What must be said of towers whose tuning made the validation rows worse.

    tuned: the name of the tuned model in the table, "" without one.
    """
    column = f"val {measure.name}"
    val = {row["model"]: row[column] for row in report["table"]}
    before, after = val.get(report["method"]), val.get(tuned)
    if before is None or after is None or measure.signed(after) >= measure.signed(before):
        return []
    return [
        f"{tuned} has {column} {after:.3f}, its head on frozen towers {before:.3f}: less"
        " tuning, or `--strategy probe`, may do better"
    ]


def _raced(stage: _Stage) -> tuple[_Stage, list[dict[str, Any]]]:
    """The stage with the finalists of a race over all methods, and the race's table."""
    config, prepared = stage.config, stage.prepared
    finalists, raced = raced_once(
        stage.writer.checkpoint / "race.json",
        lambda: race(
            prepared.data,
            prepared.objective,
            prepared.measure,
            prepared.options,
            config.seed,
            prepared.placement,
            None if config.time_limit_s is None else 0.3 * config.time_limit_s,
            stage.listeners,
        ),
    )
    return replace(stage, prepared=prepared.with_methods(finalists)), raced


def _left_out(stage: _Stage, heads: FitRun) -> list[dict[str, Any]]:
    """The contest again for each group that is left out in turn."""
    prepared = stage.prepared
    return leave_out(
        prepared.data,
        stage.store,
        prepared.turns,
        prepared.objective,
        prepared.measure,
        prepared.specs,
        prepared.options,
        stage.elsewhere(heads, "leave-out", 0.6 if stage.plan.tunes else 0.9),
        message=stage.listeners.message,
    )


def _judged(
    stage: _Stage, contest: Contest, network: Any, report: dict[str, Any], rows: Any
) -> Analysis:
    """What each modality is worth, the model's own scores, and where it is wrong."""
    config, measure, method = stage.config, stage.prepared.measure, report["method"]
    report["subsets"], report["contribution"] = worth(network, contest, method, rows, measure)
    report["model_scores"] = model_scores(network, contest, method, rows)
    analysis = analyse(
        network,
        contest,
        method,
        rows,
        measure,
        stage.store,
        task=config.task,
        split_column=config.splits.split_column,
        group_by=config.splits.group_by,
        seed=config.seed,
    )
    report["analysis"] = analysis.told
    return analysis


def _curve(stage: _Stage, heads: FitRun, base: Mapping[str, Any]) -> Any:
    """The scores of growing shares of the train rows."""
    config, prepared = stage.config, stage.prepared
    return learning_curve(
        prepared.data,
        stage.store,
        prepared.objective,
        prepared.measure,
        prepared.specs,
        prepared.options,
        stage.elsewhere(heads, "curve", 1.0),
        config.curve,
        seed=config.seed,
        group_by=config.splits.group_by,
        whole=base,
        message=stage.listeners.message,
    )


def _left(config: FinetuneConfig, began: float, share: float) -> float | None:
    """Seconds until this share of the time limit is used."""
    if config.time_limit_s is None:
        return None
    return max(1.0, share * config.time_limit_s - (time.monotonic() - began))
