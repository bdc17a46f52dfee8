"""`finetune --task retrieval` and `--task pretrain`: towers that learn from pairs, without labels.

Features once, projection heads on them, then the encoders too where a strategy says so; judged on
test rows beside the untrained encoders and the closed form. Prints nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmcli.engine.device import Placement, place, probe
from mmcli.engine.torch_stack import load_torch
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.reader import Store
from mmcli.tasks.registry import TASKS
from mmcli.workflows.align.data import AlignData
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.features import failure_lines, is_store, open_features
from mmcli.workflows.finetune.pairs.data import (
    PairSettings,
    between_of,
    first_two,
    load_pairs,
    pair_settings,
)
from mmcli.workflows.finetune.pairs.files import write_pairs
from mmcli.workflows.finetune.plan import FROZEN, Plan, fingerprint, plan_run, told
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.queries.plans import modality_of_key

if TYPE_CHECKING:
    from mmcli.workflows.finetune.pairs.fit import PairRun

KIND = "mmcli.model"
RESAMPLES = 1000


def run(config: FinetuneConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train, judge, write a model, report.

    Raises BadInput or UsageError for data and options that do not fit, before anything is trained.
    """
    began = time.monotonic()
    listeners = listeners or Listeners()
    settings = pair_settings(config)
    plan = plan_run(config, TASKS.get(config.task))
    between = between_of(config, settings)
    check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    if config.dry_run:
        return _dry_run(config, plan, settings, between)
    with ArtifactWriter(
        config.output,
        KIND,
        told(config),
        fingerprint(config),
        force=config.force,
        resume=config.resume,
    ) as writer:
        wanted = replace(plan.wanted, only=between or config.only)
        store, extraction = open_features(config, wanted, writer.checkpoint, listeners)
        for line in failure_lines(store):
            listeners.message(line)
        data, between = _load(store, config, between, settings)
        load_torch()  # before what imports it plainly
        from mmcli.workflows.finetune.pairs.tune import check_towers

        for line in check_towers(store, data.features):
            listeners.message(f"warning: {line}")
        placement = place(config.device, config.precision, probe())
        listeners.message(_described(plan, data, placement))
        kept, report, history = _train(
            config, plan, settings, store, data, placement, writer, listeners, began
        )
        try:
            report["extraction"] = extraction
            report["seconds"] = round(time.monotonic() - began, 2)
            write_pairs(writer, config, plan, store, kept, data.bindings, report, history)
        finally:
            _close(kept)
    return report


def _load(
    store: Store, config: FinetuneConfig, between: tuple[str, ...], settings: PairSettings
) -> tuple[AlignData, tuple[str, ...]]:
    if not between:
        there = [modality_of_key(key, entry) for key, entry in store.keys.items()]
        between = first_two(config, there)
    return load_pairs(store, config, between, settings), between


def _train(
    config: FinetuneConfig,
    plan: Plan,
    settings: PairSettings,
    store: Store,
    data: AlignData,
    placement: Placement,
    writer: ArtifactWriter,
    listeners: Listeners,
    began: float,
) -> tuple["PairRun", dict[str, Any], list[dict[str, Any]]]:
    """Every seed; the best on the validation rows, the report, the records of all seeds."""
    from mmcli.workflows.evaluate.retrieval_scores import Setting
    from mmcli.workflows.finetune.pairs.fit import fit_seed
    from mmcli.workflows.finetune.pairs.report import METRIC, Judged, judge, judged_rows

    features = data.features
    rows, which = judged_rows(features, data.test)
    setting = Setting(resamples=RESAMPLES, seed=config.seed)
    seeds = config.seeds or 1
    kept: PairRun | None = None
    judged: Judged | None = None
    each: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    for number in range(seeds):
        left = None
        if config.time_limit_s is not None:
            spent = time.monotonic() - began
            left = max(1.0, (0.9 * config.time_limit_s - spent) / (seeds - number))
        one = fit_seed(
            config, plan, settings, store, features, placement, writer, number, left, listeners
        )
        history += one.history
        found = judge(
            _name(config, one),
            one.learning.vectors(rows),
            features.groups[rows],
            setting,
            _learned(one),
        )
        mean = {n: float(v.mean()) for n, v in found.scored["both directions"].measures.items()}
        told_score = one.score if np.isfinite(one.score) else None
        each.append(
            {
                "seed": one.seed,
                "val score": told_score,
                METRIC: mean[METRIC],
                "mrr": mean["mrr"],
                "seconds": round(one.seconds, 2),
            }
        )
        if kept is None or one.score > kept.score:
            if kept is not None:
                _close(kept)
            kept, judged = one, found
        else:
            _close(one)
    assert kept is not None and judged is not None
    report = _report(config, plan, settings, data, placement, kept, judged, rows, which)
    return kept, {**report, "seeds_scores": each}, history


def _report(
    config: FinetuneConfig,
    plan: Plan,
    settings: PairSettings,
    data: AlignData,
    placement: Placement,
    kept: "PairRun",
    judged: Any,
    rows: Any,
    which: str,
) -> dict[str, Any]:
    from mmcli.workflows.evaluate.retrieval_scores import Setting
    from mmcli.workflows.finetune.pairs.report import METRIC, baselines, lines, tables, verdicts

    features, setting = data.features, Setting(resamples=RESAMPLES, seed=config.seed)
    others = baselines(features, rows, setting, config.seed)
    groups = np.unique(features.groups[rows], return_inverse=True)[1]
    found = verdicts(judged, others, groups, setting, which)
    shown = tables(judged, others, groups, setting)
    worth = kept.learning.worth(rows)
    counts = _counts(data)
    return {
        "model": config.output,
        "task": config.task,
        "data": config.data,
        "between": list(features.modalities),
        "modalities": {
            name: {"keys": list(part.keys), "strategy": plan.strategy(name)}
            for name, part in features.parts.items()
        },
        "rows": {**counts, "scored": len(rows)},
        "splits": data.split_source,
        "positives": _positives(settings, features.modalities),
        "scored_rows": which,
        "metric": METRIC,
        "table": next(iter(shown.values())),
        "tables": shown,
        "verdicts": found,
        "worth": worth,
        "lines": [*lines(found, worth, which), *_cautions(kept)],
        "kept": judged.name,
        "kept_seed": kept.seed,
        "seeds": config.seeds or 1,
        "strategy": dict(plan.strategies),
        "tuning": {
            name: {"strategy": t.strategy, "trainable": t.trainable, "parameters": t.total}
            for name, t in kept.towers.items()
        },
        "chosen": dict(kept.chosen),
        "epochs": len(kept.done.history),
        "device": placement.device,
        "precision": placement.precision,
    }


def _dry_run(
    config: FinetuneConfig, plan: Plan, settings: PairSettings, between: tuple[str, ...]
) -> dict[str, Any]:
    """What would be trained; rows where the data is a store."""
    found: dict[str, Any] = {
        "dry_run": True,
        "model": config.output,
        "task": config.task,
        "between": list(between),
        "strategy": {name: plan.strategy(name) for name in between},
        "seeds": config.seeds or 1,
    }
    if not is_store(config.data):
        found["encoders"] = {
            name: list(plan.wanted.encoders.get(name, (f"preset {config.preset}",)))
            for name in between
        }
        return found
    data, _ = _load(Store.open(config.data, config.verify), config, between, settings)
    keys = {name: list(part.keys) for name, part in data.features.parts.items()}
    return {**found, "keys": keys, "rows": _counts(data), "splits": data.split_source}


def _counts(data: AlignData) -> dict[str, int]:
    features = data.features
    splits = {"train": features.train, "val": features.val, "test": data.test}
    return {n: len(features.rows_with(rows, *features.modalities)) for n, rows in splits.items()}


def _positives(settings: PairSettings, names: tuple[str, ...]) -> str:
    if settings.positive_by:
        return f"rows of one `{settings.positive_by}`"
    return "rows of one text" if "text" in names else "each row its own"


def _described(plan: Plan, data: AlignData, placement: Placement) -> str:
    parts = "; ".join(
        f"{name} ({', '.join(part.keys)}: {plan.strategy(name)})"
        for name, part in data.features.parts.items()
    )
    rows = ", ".join(f"{count} {name}" for name, count in _counts(data).items())
    return (
        f"pairs of {parts}; {rows} rows ({data.split_source}); {placement.device}"
        f" {placement.precision}"
    )


def _cautions(kept: "PairRun") -> list[str]:
    """What a user must know who tuned towers for nothing, or ran out of time."""
    found = []
    before, after = kept.first.best_score, kept.done.best_score
    if kept.towers and np.isfinite(before) and after < before:
        found.append(
            f"tuning the towers did not help on the validation rows: {after:.3f}, after the heads"
            f" alone {before:.3f}; more pairs, a lower `--lr` or `--strategy probe` may"
        )
    if kept.first.out_of_time or kept.done.out_of_time:
        found.append("the time limit ended training")
    return found


def _name(config: FinetuneConfig, one: "PairRun") -> str:
    strategies = sorted({tower.strategy for tower in one.towers.values()} - set(FROZEN))
    return " + ".join([config.task, *([", ".join(strategies)] if strategies else [])])


def _learned(one: "PairRun") -> int:
    """How many numbers learned."""
    network = one.learning.model
    heads: Mapping[str, Any] = dict(network.named_parameters())
    own = sum(p.numel() for n, p in heads.items() if not n.startswith("live.") and p.requires_grad)
    return own + sum(tower.trainable for tower in one.towers.values())


def _close(one: "PairRun") -> None:
    if one.learning.live is not None:
        one.learning.live[0].close()
