"""The two stages of a training on pairs: projection heads on cached features, then the towers too.

The second stage begins at the heads that the first has found (Kumar et al. 2022, arXiv
2202.10054). Knows nothing about tables or files.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mmcli.align.contrastive import Defaults
from mmcli.align.features import Features, statistics
from mmcli.align.tower import Tower as Head
from mmcli.align.towers_to_train import starting_towers
from mmcli.engine.device import Placement
from mmcli.engine.training import Trained, TrainOptions, train
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.reader import Store
from mmcli.tasks.pairs import Joint, PairNetwork
from mmcli.tasks.pairs_learning import PairLearning, Standard
from mmcli.tasks.pairs_losses import Weights
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.pairs.data import RETRIEVAL, PairSettings
from mmcli.workflows.finetune.pairs.tune import LiveTowerState, second_stage
from mmcli.workflows.finetune.plan import FROZEN, Plan
from mmcli.workflows.listeners import Listeners

#: Steps that the heads get at least where nobody says how many epochs: with few rows an epoch is a
#: step or two. On 858 scenes 120 epochs are 0.04 of hit@1 better than 40, and 300 no better.
LEAST_STEPS = 300


@dataclass
class PairRun:
    """What one seed came to: the trained network, as it scores; what is kept of live towers."""

    seed: int
    learning: PairLearning
    heads: Mapping[str, Head]
    done: Trained
    first: Trained
    towers: Mapping[str, LiveTowerState] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def history(self) -> list[dict[str, Any]]:
        """The records of both stages."""
        found = [{"stage": "heads", "seed": self.seed, **r} for r in self.first.history]
        if self.towers:
            found += [{"stage": "tune", "seed": self.seed, **r} for r in self.done.history]
        return found

    @property
    def score(self) -> float:
        """What seeds are compared by."""
        return self.done.best_score


def fit_seed(
    config: FinetuneConfig,
    plan: Plan,
    settings: PairSettings,
    store: Store,
    features: Features,
    placement: Placement,
    writer: ArtifactWriter,
    number: int,
    time_limit_s: float | None,
    listeners: Listeners,
) -> PairRun:
    """Train one seed through both stages.

    Raises UsageError where nothing that is asked for can be trained.
    """
    began = time.monotonic()
    seed = config.seed + number
    torch.manual_seed(seed)
    known = Defaults.of(len(features.rows_with(features.train, *features.modalities)))
    kind = known.tower if settings.tower == "auto" else settings.tower
    hidden = settings.hidden or known.hidden
    heads, trained = starting_towers(
        features, kind=kind, dim=settings.width or None, hidden=hidden, seed=seed
    )
    standards = {name: standard(features, name, seed) for name in features.modalities}
    network = PairNetwork(
        heads,
        trained,
        dropout=known.dropout,
        temperature=settings.temperature,
        joint=_joint(config, heads, standards),
    ).to(placement.device)
    tunes = live_keys(plan, features)

    def make(**told: Any) -> PairLearning:
        return PairLearning(
            network,
            features,
            standards,
            by_hits=config.task == RETRIEVAL,
            weights=Weights(settings.match, settings.mask),
            seed=seed,
            device=placement.device,
            dtype=placement.dtype,
            **told,
        )

    learning = make(
        batch=(None if tunes else config.tricks.batch) or known.batch,
        accumulate=1 if tunes else config.tricks.accumulate,
    )
    tricks, schedule = config.tricks, known.schedule
    share = 0.4 if tunes else 1.0
    usual = max(schedule.epochs, -(-LEAST_STEPS // learning.steps))
    options = TrainOptions(
        epochs=settings.head_epochs or (None if tunes else tricks.epochs) or usual,
        lr=tricks.head_lr,
        weight_decay=_first(tricks.weight_decay, schedule.weight_decay),
        warmup=tricks.warmup,
        ema=tricks.ema or schedule.ema,
        clip=tricks.clip,
        patience=_first(tricks.patience, schedule.patience * usual // schedule.epochs),
        device=placement.device,
        dtype=placement.dtype,
        checkpoint_s=config.checkpoint_s,
        time_limit_s=None if time_limit_s is None else share * time_limit_s,
        average=tricks.average,
    )
    first = train(
        learning,
        options,
        checkpoint=writer.checkpoint / f"heads-{number}",
        resume=writer.resumed,
        progress=listeners.progress,
    )
    chosen = {"tower": kind, **({"hidden": hidden} if kind == "mlp" else {})}
    chosen |= {"dropout": known.dropout, "batch": learning.rows_a_step, "epochs": options.epochs}
    chosen |= {"lr": options.lr, "weight_decay": options.weight_decay, "ema": options.ema}
    chosen |= {"best_epoch": first.best_epoch, "steps": first.steps}
    run = PairRun(seed, learning, network.finished(), first, first, {}, chosen)
    if tunes:
        left = None
        if time_limit_s is not None:
            left = max(1.0, time_limit_s - (time.monotonic() - began))
        folder = writer.checkpoint / f"tune-{number}"
        stage = second_stage(
            config, plan, store, network, make, tunes, seed, placement, folder,
            writer.resumed, left, listeners,
        )  # fmt: skip
        run.learning, run.done, run.towers = stage.learning, stage.done, stage.towers
        run.heads = network.finished()
        run.chosen |= {"tuned batch": stage.learning.rows_a_step, "tuned epochs": stage.epochs}
    run.chosen |= {"scale": float(network.scale().detach())}
    run.seconds = time.monotonic() - began
    return run


def live_keys(plan: Plan, features: Features) -> dict[str, tuple[str, ...]]:
    """The keys of each modality whose towers learn."""
    return {n: p.keys for n, p in features.parts.items() if plan.strategy(n) not in FROZEN}


def standard(features: Features, name: str, seed: int) -> Standard:
    """How a modality's vectors are standardised, from the train rows that have it."""
    part = features.parts[name]
    rows = features.rows_with(features.train, name)

    def side(vectors: Mapping[str, Any]) -> Any:
        return np.concatenate([vectors[key] for key in part.keys], axis=1)

    return Standard(part.keys, *statistics(part, part.keys, rows, side, seed))


def _joint(
    config: FinetuneConfig, heads: Mapping[str, Head], standards: Mapping[str, Standard]
) -> Joint | None:
    if config.task == RETRIEVAL:
        return None
    dim = next(iter(heads.values())).dim
    return Joint(dim, {name: len(one.mean) for name, one in standards.items()})


def _first(told: Any, known: Any) -> Any:
    return known if told is None else told
