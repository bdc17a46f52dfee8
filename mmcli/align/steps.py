"""What the methods that train step by step have in common: from options to the loop, and back."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcli.align.features import Rows
from mmcli.align.fitting import AlignOptions, FitRun
from mmcli.engine.training import Trained, TrainOptions, train

#: Fewer steps teach nothing: on 500 pairs of unrelated spaces 40 gave hit@1 0.64, 400 gave 0.98.
LEAST_STEPS = 400
#: Rows in a batch at least, where the user says nothing: fewer have too few negatives.
LEAST_BATCH = 32
#: Share of the epochs that may pass without gain.
PATIENCE = 0.3


@dataclass(frozen=True)
class Schedule:
    """What a method chooses where the user says nothing."""

    epochs: int
    lr: float
    weight_decay: float
    patience: int
    ema: float


def usual_batch(rows: int, parts: int, most: int) -> int:
    """A batch such that an epoch has about `parts` of them, of at most `most` rows."""
    return min(most, max(LEAST_BATCH, rows // parts))


def steps_of(rows: int, batch: int) -> int:
    """Batches of at most `batch` rows that hold all of them, none of one row alone."""
    return max(1, min(math.ceil(rows / batch), rows // 2))


def parts_of(order: Rows, steps: int, start: int) -> Iterator[Rows]:
    """The rows of an epoch in `steps` batches of the same size give or take one, from `start`."""
    yield from np.array_split(order, steps)[start:]


def lasting(known: Schedule, steps: int) -> Schedule:
    """The schedule with so many epochs that small data too gets `LEAST_STEPS`."""
    epochs = max(known.epochs, math.ceil(LEAST_STEPS / steps))
    return replace(known, epochs=epochs, patience=max(known.patience, int(epochs * PATIENCE)))


def train_options(known: Schedule, options: AlignOptions, run: FitRun) -> TrainOptions:
    """What the user said, else what the method knows."""
    decay = options.weight_decay
    return TrainOptions(
        epochs=options.epochs or known.epochs,
        lr=options.lr or known.lr,
        weight_decay=known.weight_decay if decay is None else decay,
        warmup=options.warmup,
        ema=known.ema if options.ema is None else options.ema,
        clip=options.clip,
        patience=known.patience if options.patience is None else options.patience,
        device=run.device,
        dtype=run.dtype,
        checkpoint_s=run.checkpoint_s,
    )


def run_steps(method: Any, run: FitRun) -> Trained:
    """Train a method's model where the run says; it holds the best weights afterwards."""
    method.model.to(run.device)
    return train(
        method,
        method.train_options,
        checkpoint=run.checkpoint,
        resume=run.resume,
        progress=run.progress,
    )


def told(options: TrainOptions, done: Trained) -> dict[str, Any]:
    """The schedule and what became of it, for the record."""
    return {
        "epochs": options.epochs,
        "lr": options.lr,
        "weight_decay": options.weight_decay,
        "patience": options.patience,
        "ema": options.ema,
        "best_epoch": done.best_epoch,
        "steps": done.steps,
    }
