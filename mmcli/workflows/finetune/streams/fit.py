"""Training of the networks of a fine-tuning on recordings: all modalities, and each alone.

Each gets the same budget and its own thresholds, chosen on val recordings. Knows nothing about the
directory of the model; prints nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmcli.engine.device import place, probe
from mmcli.engine.training import Trained, TrainOptions, train
from mmcli.tasks.streams import StreamData, StreamMethod, probabilities
from mmcli.tasks.streams_decode import Rule, choose_rules, decode_all, kept
from mmcli.tasks.streams_network import StreamBlueprint, build
from mmcli.tasks.streams_scores import MAIN, Said
from mmcli.tasks.streams_tracks import statistics
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.streams.data import Rows, StreamRows, StreamSettings
from mmcli.workflows.finetune.streams.features import NOUNS, StreamFeatures
from mmcli.workflows.listeners import Listeners

#: With fewer val recordings thresholds are chosen on train recordings too.
_FEW = 5


@dataclass
class Contestant:
    """A network that was trained, how it is decoded, and what it says of the test rows.

    modalities: what it reads. score: on val, by which its seed was chosen.
    """

    name: str
    modalities: tuple[str, ...]
    network: Any
    blueprint: Any
    trained: Trained
    seed: int
    score: float
    rules: list[Rule]
    said: Said


def train_all(
    config: FinetuneConfig,
    settings: StreamSettings,
    rows: StreamRows,
    features: StreamFeatures,
    checkpoint: Path,
    listeners: Listeners,
    began: float,
) -> list[Contestant]:
    """The network of all modalities first, then of each alone where there are two."""
    data = StreamData(rows.recordings.rows, rows.classes, features.tracks, settings.rate_hz)
    known = {
        name: statistics(
            track, rows.train.tolist(), [data.steps(row) for row in rows.train.tolist()]
        )
        for name, track in features.tracks.items()
    }
    names = tuple(features.tracks)
    wanted = [names, *((name,) for name in names if len(names) > 1)]
    seeds = range(config.seed, config.seed + (config.seeds or 1))
    field = []
    for number, modalities in enumerate(wanted):
        some = data if modalities == names else data.only(modalities[0])
        found: list[Contestant] = []
        for seed in seeds:
            left = None
            if config.time_limit_s is not None:
                runs = len(wanted) * len(seeds) - number * len(seeds) - (seed - seeds[0])
                spent = time.monotonic() - began
                left = max(1.0, (0.9 * config.time_limit_s - spent) / runs)
            done = (number * len(seeds) + seed - seeds[0], len(wanted) * len(seeds))
            found.append(
                _train_one(
                    config,
                    settings,
                    rows,
                    some,
                    {name: known[name] for name in modalities},
                    seed,
                    checkpoint / f"{'-'.join(modalities)}-{seed}",
                    left,
                    Listeners(listeners.message, _share(listeners, *done)),
                )
            )
        best = max(found, key=lambda one: one.score if np.isfinite(one.score) else -1.0)
        field.append(_decoded(best, some, rows))
        listeners.message(
            f"{best.name}: seed {best.seed}, epoch {best.trained.best_epoch} of"
            f" {len(best.trained.history)}, val {MAIN} {best.score:.3f}"
        )
    return field


def _share(listeners: Listeners, done: int, runs: int) -> Any:
    return lambda step, steps: listeners.progress(done * steps + step, runs * steps)


def _train_one(
    config: FinetuneConfig,
    settings: StreamSettings,
    rows: StreamRows,
    data: Any,
    known: Mapping[str, Any],
    seed: int,
    folder: Path,
    time_limit_s: float | None,
    listeners: Listeners,
) -> Contestant:
    placement = place(config.device, "fp32", probe())  # small: half precision gains nothing
    blueprint = StreamBlueprint(
        dims=tuple((name, track.dim) for name, track in data.tracks.items()),
        classes=len(rows.classes),
        method=settings.method,
        width=settings.width,
        layers=settings.depth,
        dropout=settings.dropout,
    )
    torch.manual_seed(seed)
    network = build(blueprint, known).to(placement.device)
    method = StreamMethod(
        network,
        data,
        rows.train,
        rows.val,
        batch=settings.batch,
        focal_gamma=settings.focal_gamma,
        dropout=config.tricks.modality_dropout,
        seed=seed,
        device=placement.device,
    )
    tricks = config.tricks
    options = TrainOptions(
        epochs=settings.epochs,
        lr=tricks.head_lr,
        weight_decay=settings.weight_decay,
        warmup=tricks.warmup,
        ema=tricks.ema,
        clip=tricks.clip,
        patience=settings.patience,
        device=placement.device,
        checkpoint_s=config.checkpoint_s,
        time_limit_s=time_limit_s,
        average=tricks.average,
    )
    trained = train(
        method, options, checkpoint=folder, resume=config.resume, progress=listeners.progress
    )
    names = tuple(data.tracks)
    label = " alone" if len(names) == 1 else f", {settings.method}"
    name = " and ".join(NOUNS[one] for one in names) + label
    nothing: Any = None
    return Contestant(
        name, names, network, blueprint, trained, seed, trained.best_score, [], nothing
    )


def _decoded(one: Contestant, data: Any, rows: StreamRows) -> Contestant:
    """With its thresholds, chosen on val, and its events of the test rows."""
    device = next(one.network.parameters()).device.type
    choosing = rows.val if len(rows.val) >= _FEW else np.concatenate([rows.train, rows.val])
    some = choosing.tolist()
    durations = [data.duration_s(row) for row in some]
    one.rules = choose_rules(
        probabilities(one.network, data, some, device),
        data.truth(some),
        durations,
        len(rows.classes),
        data.rate_hz,
    )
    test = scored(rows)[0].tolist()
    events = decode_all(
        probabilities(one.network, data, test, device),
        one.rules,
        data.rate_hz,
        [data.duration_s(row) for row in test],
    )
    found = kept(events, [rule.keep for rule in one.rules])
    one.said = Said(data.truth(test), events, found, len(test), len(rows.classes))
    return one


def scored(rows: StreamRows) -> tuple[Rows, str]:
    """The rows that are scored, and of which split: test, else val, else train."""
    for name in ("test", "val"):
        part = getattr(rows, name)
        if len(part):
            return part, name
    return rows.train, "train"
