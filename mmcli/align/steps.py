"""What the methods that train step by step have in common: from options to the loop, and back."""

from dataclasses import dataclass
from typing import Any

from mmcli.align.fitting import AlignOptions, FitRun
from mmcli.engine.training import Trained, TrainOptions, train


@dataclass(frozen=True)
class Schedule:
    """What a method chooses where the user says nothing."""

    epochs: int
    lr: float
    weight_decay: float
    patience: int
    ema: float


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
