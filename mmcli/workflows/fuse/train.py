"""`fuse train`: one or more methods beside every single modality and the simple fusions.

All of them learn from the same rows under the same budget and are judged on the same rows; the
best seed of the chosen method becomes the model. Prints nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.engine.device import place, probe
from mmcli.fusion.model import KIND
from mmcli.fusion.objective import OUTPUTS, objective_for
from mmcli.fusion.registry import METHODS
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.fuse.contest import (
    ALL,
    LATE_MEAN,
    cautions,
    check_loss,
    choose_measure,
    contest_plan,
    contest_report,
    describe,
    model_scores,
    parse_methods,
    scored_rows,
)
from mmcli.workflows.fuse.data import FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.files import write_model
from mmcli.workflows.fuse.fit import FitRun, FuseOptions, fit, refuse_idle
from mmcli.workflows.fuse.parts import worth
from mmcli.workflows.fuse.race import race, raced_once
from mmcli.workflows.fuse.text import VIEW as AS_TEXT
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.queries.plans import reference_of


@dataclass(frozen=True)
class FuseConfig:
    """What `mmcli fuse train` can be told. methods: names of the registry, or `all`."""

    store: str
    output: str
    data: FuseDataConfig
    methods: tuple[str, ...] = ("early",)
    options: FuseOptions = field(default_factory=FuseOptions)
    metric: str = "auto"
    seeds: int = 5
    seed: int = 0
    time_limit_s: float | None = None
    device: str = "auto"
    precision: str = "auto"
    verify: str = "once"
    checkpoint_s: float = 30.0
    force: bool = False
    resume: bool = False
    dry_run: bool = False
    command: str = ""


def train_fusion(config: FuseConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train and report the honest table.

    Raises BadInput or UsageError for data and options that do not fit, before anything is written.
    """
    began = time.monotonic()
    listeners = listeners or Listeners()
    specs = parse_methods(config.methods)
    if config.seeds < 1:
        raise UsageError(f"`--seeds {config.seeds}`: must be at least 1", "the default is 5")
    check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    store = Store.open(config.store, config.verify)
    wanted = replace(config.data, as_text=any(spec.view == AS_TEXT for spec in specs))
    if ALL in config.methods and config.data.tabular and _has_texts(store):
        wanted = replace(wanted, as_text=True)
    data = load_fuse_data(store, wanted, config.device, config.precision)
    kind = OUTPUTS[data.labels.kind]
    measure = choose_measure(config.metric, kind, len(data.labels.classes))
    objective = objective_for(
        data.labels.kind,
        data.labels.values[data.train],
        len(data.labels.classes),
        loss=check_loss(config.options.loss, kind),
        gamma=config.options.gamma,
        smoothing=config.options.smoothing,
        balanced=config.options.balanced,
    )
    refuse_idle(config.options, objective)
    placement = place(config.device, config.precision, probe())
    for line in (*data.warnings, describe(data, specs, placement)):
        listeners.message(line)
    plan = contest_plan(config, data, specs, measure, placement)
    if config.dry_run:
        return {"dry_run": True, **plan}
    manifest_sha = file_record(store.path / MANIFEST)["sha256"]
    with ArtifactWriter(
        config.output, KIND, _told(config), manifest_sha, force=config.force, resume=config.resume
    ) as writer:
        raced: list[dict[str, Any]] = []
        if ALL in config.methods:
            finalists, raced = raced_once(
                writer.checkpoint / "race.json",
                lambda: race(
                    data,
                    objective,
                    measure,
                    config.options,
                    config.seed,
                    placement,
                    _share(config.time_limit_s, 0.5),
                    listeners,
                ),
            )
            specs = list({spec.name: spec for spec in (*specs, *finalists)}.values())
        left = None
        if config.time_limit_s is not None:
            left = max(1.0, 0.9 * config.time_limit_s - (time.monotonic() - began))
        run = FitRun(
            seeds=tuple(range(config.seed, config.seed + config.seeds)),
            device=placement.device,
            dtype=placement.dtype,
            checkpoint=writer.checkpoint / "field",
            resume=writer.resumed,
            checkpoint_s=config.checkpoint_s,
            time_limit_s=left,
            progress=listeners.progress,
        )
        with_mean = {spec.name: spec for spec in (*specs, METHODS.get(LATE_MEAN))}
        contest = fit(data, list(with_mean.values()), objective, measure, config.options, run)
        report = contest_report(config, data, specs, objective, measure, contest, plan)
        report["race"] = raced
        chosen, seed = report["method"], report["kept_seed"]
        network = contest.network(chosen, seed - config.seed)
        rows, report["scored_rows"] = scored_rows(data)
        report["subsets"], report["contribution"] = worth(network, contest, chosen, rows, measure)
        report["model_scores"] = model_scores(network, contest, chosen, rows)
        alone = "one modality: nothing is fused, a difference is of the networks alone"
        for line in [alone] * (len(data.inputs.names) == 1) + cautions(report):
            listeners.message(f"warning: {line}")
        report["seconds"] = round(time.monotonic() - began, 2)
        write_model(
            writer,
            network,
            contest,
            chosen,
            report,
            store,
            manifest_sha,
            config.command,
            _told(config),
        )
    return report


def _has_texts(store: Store) -> bool:
    """Whether the race can enter `early:as-text`: texts, and an encoder to embed them again."""
    entry = store.keys.get("text")
    return entry is not None and "text" in store.columns and reference_of(entry) is not None


def _share(limit: float | None, share: float) -> float | None:
    return None if limit is None else share * limit


def _told(config: FuseConfig) -> dict[str, Any]:
    """What `--resume` compares, and the config keeps."""
    return {
        "methods": list(config.methods),
        "data": _plain(asdict(config.data)),
        "options": asdict(config.options),
        "metric": config.metric,
        "seeds": config.seeds,
        "seed": config.seed,
        "precision": config.precision,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
