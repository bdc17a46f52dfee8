"""`fuse train`: one or more methods beside every single modality and the simple fusions.

All of them learn from the same rows under the same budget and are judged on the same rows; the
best seed of the chosen method becomes the model. Prints nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion
from mmcli.engine.device import Placement, place, probe
from mmcli.fusion.model import KIND, probabilities
from mmcli.fusion.network import CONCAT
from mmcli.fusion.objective import OUTPUTS, Objective, objective_for
from mmcli.fusion.registry import METHODS, FusionSpec, fusion_method
from mmcli.metrics.choice import Measure, measures_for
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.fuse_data import FuseData, FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse_files import write_model
from mmcli.workflows.fuse_fit import Contest, FitRun, FuseOptions, Sizes, fit, refuse_idle
from mmcli.workflows.fuse_parts import worth
from mmcli.workflows.fuse_race import race, raced_once
from mmcli.workflows.fuse_table import METHOD, SIMPLE, SINGLE, Entrant, Judged, judge
from mmcli.workflows.fuse_text import VIEW as AS_TEXT
from mmcli.workflows.queries import reference_of

LATE_MEAN = "late:mean"
ALL = "all"


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


@dataclass
class Listeners:
    """Who hears of the run: log lines, and how far the training is."""

    message: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None


def train_fusion(config: FuseConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train and report the honest table.

    Raises BadInput or UsageError for data and options that do not fit, before anything is written.
    """
    began = time.monotonic()
    listeners = listeners or Listeners()
    specs = parse_methods(config.methods)
    if config.seeds < 1:
        raise UsageError(f"`--seeds {config.seeds}`: must be at least 1", "the default is 5")
    if not config.dry_run:
        check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    store = Store.open(config.store, config.verify)
    wanted = replace(config.data, as_text=any(spec.view == AS_TEXT for spec in specs))
    if ALL in config.methods and config.data.tabular and _has_texts(store):
        wanted = replace(wanted, as_text=True)
    data = load_fuse_data(store, wanted, config.device, config.precision)
    kind = OUTPUTS[data.labels.kind]
    measure = _measure(config.metric, kind, len(data.labels.classes))
    objective = objective_for(
        data.labels.kind,
        data.labels.values[data.train],
        len(data.labels.classes),
        loss=_loss(config.options.loss, kind),
        gamma=config.options.gamma,
        smoothing=config.options.smoothing,
        balanced=config.options.balanced,
    )
    refuse_idle(config.options, objective)
    placement = place(config.device, config.precision, probe())
    for line in (*data.warnings, describe(data, specs, placement)):
        listeners.message(line)
    plan = _plan(config, data, specs, measure, placement)
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
        report = _report(config, data, specs, objective, measure, contest, plan)
        report["race"] = raced
        chosen, seed = report["method"], report["kept_seed"]
        network = contest.network(chosen, seed - config.seed)
        rows, report["scored_rows"] = _scored_rows(data)
        report["subsets"], report["contribution"] = worth(network, contest, chosen, rows, measure)
        report["model_scores"] = _model_scores(network, contest, chosen, rows, measure)
        for line in _cautions(report):
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


def _cautions(report: Mapping[str, Any]) -> list[str]:
    """What a reader of the table must know."""
    lines = []
    if report["scored_rows"] != "test":
        lines.append(
            f"there are no test rows: the scores are of the {report['scored_rows']} rows, by which"
            " models were chosen"
        )
    if not report["rows"]["val"]:
        lines.append("there are no val rows: nothing was chosen by them, the last epoch is kept")
    if report["out_of_time"]:
        lines.append(
            f"the time limit ended training at epoch {report['epochs']} of"
            f" {report['chosen']['epochs']}"
        )
    return lines


def parse_methods(words: Sequence[str]) -> list[FusionSpec]:
    """The methods of the words. Raises UsageError for one that nobody knows, or for none."""
    found = {spec.name: spec for word in words if word != ALL for spec in [fusion_method(word)]}
    if not found and ALL not in words:
        raise UsageError("`--method` names nothing", "as in hybrid:gated")
    return list(found.values())


def describe(data: FuseData, specs: Sequence[FusionSpec], placement: Placement) -> str:
    """One line on what is about to be trained."""
    parts = "; ".join(f"{m.name} ({', '.join(m.keys)})" for m in data.inputs.modalities.values())
    names = ", ".join(spec.name for spec in specs) or ALL
    return (
        f"{names} of {parts}; {data.labels.kind}: {data.labels.source}; {len(data.train)} train,"
        f" {len(data.val)} val, {len(data.test)} test rows ({data.split_source});"
        f" {placement.device} {placement.precision}"
    )


def _measure(name: str, kind: str, n_classes: int) -> Measure:
    if name == "roc_auc" and kind == "classes" and n_classes != 2:
        raise UsageError(
            f"`--metric roc_auc` is of two classes, the label has {n_classes}",
            "balanced_accuracy, macro_f1 or log_loss take any number",
        )
    known = measures_for(kind)
    if name == "auto":
        return next(iter(known.values()))
    if name not in known:
        raise UsageError(f"`--metric {name}` does not fit this label", suggestion(name, known))
    return known[name]


def _loss(name: str, kind: str) -> str:
    known = ("huber", "mae", "mse") if kind == "number" else ("cross-entropy", "focal")
    if name != "auto" and name not in known:
        raise UsageError(f"`--loss {name}` does not fit this label", suggestion(name, known))
    return name


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


def _plan(
    config: FuseConfig,
    data: FuseData,
    specs: Sequence[FusionSpec],
    measure: Measure,
    placement: Placement,
) -> dict[str, Any]:
    labels = data.labels
    return {
        "model": config.output,
        "store": config.store,
        "methods": [spec.name for spec in specs] or [ALL],
        "label": {
            "column": labels.column,
            "kind": labels.kind,
            "why": labels.source,
            "classes": list(labels.classes),
            "unlabelled": int((~labels.known).sum()),
        },
        "metric": measure.name,
        "modalities": {
            name: {
                "keys": list(m.keys),
                "views": list(m.views),
                "rows": int(m.present.sum()),
            }
            for name, m in data.inputs.modalities.items()
        },
        "rows": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
        "splits": data.split_source,
        "seeds": config.seeds,
        "chosen": vars(Sizes.of(len(data.train), config.options)),
        "device": placement.device,
        "precision": placement.precision,
    }


def _scored_rows(data: FuseData) -> tuple[Any, str]:
    """Test rows; without any, validation rows, without any, train rows."""
    for name in ("test", "val", "train"):
        rows = getattr(data, name)
        if len(rows):
            return rows, name
    raise AssertionError("there are train rows")


def _report(
    config: FuseConfig,
    data: FuseData,
    specs: Sequence[FusionSpec],
    objective: Objective,
    measure: Measure,
    contest: Contest,
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    rows, which = _scored_rows(data)
    entrants = [
        Entrant(
            f"single:{m}",
            SINGLE,
            contest.single(m, data.val),
            contest.single(m, rows),
            contest.parameters(f"single:{m}"),
        )
        for m in data.inputs.names
    ]
    names = dict.fromkeys([CONCAT, LATE_MEAN, *(spec.name for spec in specs)])
    entrants += [
        Entrant(
            name,
            SIMPLE if name in (CONCAT, LATE_MEAN) else METHOD,
            contest.val_probabilities(name),
            contest.probabilities(name, rows),
            contest.parameters(name),
        )
        for name in names
    ]
    candidates = [spec.name for spec in specs]
    by_val = _val_scores(contest, candidates, measure)
    method = max(candidates, key=lambda name: float(np.mean(by_val[name])))
    judged: Judged = judge(
        entrants,
        method,
        objective,
        measure,
        data.labels.values[data.val],
        data.labels.values[rows],
        data.groups[rows],
        config.seed,
    )
    if which != "test":  # rows that chose a model are no judges of it
        for verdict in judged.verdicts:
            verdict["verdict"] = "not tested"
    done = contest.trained
    return {
        **plan,
        "method": method,
        "kept_seed": config.seed + int(np.argmax(by_val[method])),
        "table": judged.rows,
        "best_single": judged.best_single,
        "best_simple": judged.best_simple,
        "verdicts": judged.verdicts,
        "epochs": len(done.history),
        "out_of_time": done.out_of_time,
        "train_seconds": round(contest.seconds, 2),
    }


def _val_scores(contest: Contest, names: Sequence[str], measure: Measure) -> dict[str, list[float]]:
    """Each seed's score on the validation rows, greater is better; zeros where there are none."""
    rows = contest.data.val
    truth = contest.data.labels.values[rows]
    found = {}
    for name in names:
        if not len(rows):
            found[name] = [0.0] * len(contest.field.seeds)
            continue
        ones = np.ones(len(rows))
        each = [
            measure.signed(measure.value(truth, s, contest.objective.predicted(s), ones))
            for s in contest.val_probabilities(name)
        ]
        found[name] = [value if np.isfinite(value) else -1e9 for value in each]
    return found


def _model_scores(
    network: Any, contest: Contest, name: str, rows: Any, measure: Measure
) -> dict[str, float]:
    """Every measure of the kept model by itself."""
    shares = probabilities(
        network, contest.specs[name].view, contest.objective, contest.data.inputs, rows
    )
    truth = contest.data.labels.values[rows]
    predicted = contest.objective.predicted(shares)
    ones = np.ones(len(rows))
    return {
        m.name: m.value(truth, shares, predicted, ones)
        for m in measures_for(contest.objective.kind).values()
    }
