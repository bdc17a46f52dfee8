"""The models of a run of question answering: the one that is wanted, and what hears only half.

Each is trained under the same budget on the same rows, and kept in the checkpoint folder as soon as
it is done, so that `--resume` goes on behind it. Prints nothing.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.data.answers import Targets
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch
from mmcli.engine.training import Trained, TrainOptions, forget, train
from mmcli.store.atomic import write_bytes
from mmcli.store.tensors import load_tensors, save_tensors
from mmcli.tasks.vqa import BASELINE_PATIENCE, VqaSettings, build
from mmcli.tasks.vqa_learning import BOTH, Run, VqaMethod, probabilities
from mmcli.tasks.vqa_tokens import Asked, Rows
from mmcli.workflows.finetune.config import FinetuneConfig

QUESTION_ONLY, PICTURE_ONLY = "question only", "picture only"
#: What each baseline reads.
BASELINES = {QUESTION_ONLY: ("text",), PICTURE_ONLY: ("image",)}


@dataclass(frozen=True)
class Setting:
    """What all models of a run share."""

    asked: Asked
    targets: Targets
    train: Rows
    val: Rows
    settings: VqaSettings
    placement: Placement
    config: FinetuneConfig


@dataclass(frozen=True)
class Contestant:
    """One trained model. seed: the one kept; val: its score on the validation rows of each seed."""

    name: str
    network: Any
    run: Run
    done: Trained
    seed: int
    val: tuple[float, ...]

    def say(self, asked: Asked, rows: Rows, hidden: str = "") -> NDArray[np.float32]:
        """Probabilities `(len(rows), answers)`; hidden: a modality that it is not shown."""
        reads = tuple(name for name in self.run.reads if name != hidden)
        return probabilities(self.network, asked, rows, replace(self.run, reads=reads))


def contest(
    setting: Setting,
    folder: Path,
    resume: bool,
    seconds: float | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    message: Callable[[str], None] = lambda text: None,
) -> list[Contestant]:
    """The model of both modalities first, then the baselines; all of the same seed.

    seconds: for all of it; two thirds are the first model's.
    """
    seeds = range(setting.config.seed, setting.config.seed + (setting.config.seeds or 1))
    shares = [2 / 3 / len(seeds)] * len(seeds) + [1 / 6] * len(BASELINES)
    limits = [None if seconds is None else max(1.0, seconds * share) for share in shares]
    each = []
    for seed, limit in zip(seeds, limits, strict=False):
        message(f"{setting.settings.method}, seed {seed}")
        done = _trained(setting, BOTH, seed, folder / f"both-{seed}", resume, limit, progress)
        each.append((seed, *done))
    seed, network, done = max(each, key=lambda one: one[2].best_score)
    run = Run(setting.placement.device, setting.placement.dtype)
    val = tuple(one[2].best_score for one in each)
    found = [Contestant(setting.settings.method, network, run, done, seed, val)]
    for (name, reads), limit in zip(BASELINES.items(), limits[len(seeds) :], strict=True):
        message(name)
        place = folder / reads[0]
        network, done = _trained(setting, reads, seed, place, resume, limit, progress)
        found.append(
            Contestant(name, network, replace(run, reads=reads), done, seed, (done.best_score,))
        )
    return found


def _trained(
    setting: Setting,
    reads: tuple[str, ...],
    seed: int,
    folder: Path,
    resume: bool,
    seconds: float | None,
    progress: Callable[[int, int], None],
) -> tuple[Any, Trained]:
    """A network and its story, from the disk where an earlier part of this run finished it."""
    torch = load_torch()
    config, settings = setting.config, setting.settings
    torch.manual_seed(seed)
    network = build(settings, setting.asked, setting.train, setting.targets.size)
    kept, told = folder / "done.safetensors", folder / "done.json"
    if resume and told.exists():
        arrays = load_tensors(kept)
        network.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in arrays.items()})
        return network.to(setting.placement.device).eval(), Trained(**json.loads(told.read_text()))
    network.to(setting.placement.device)
    tricks = config.tricks
    run = Run(setting.placement.device, setting.placement.dtype, reads)
    method = VqaMethod(
        network,
        setting.asked,
        setting.targets,
        setting.train,
        setting.val,
        run,
        batch=settings.batch,
        seed=seed,
        smoothing=tricks.smoothing,
        left_out=tricks.modality_dropout,
    )
    epochs = settings.schedule(len(setting.train), tricks.epochs)
    patience = tricks.patience
    if reads != BOTH and patience is None and len(setting.val):
        patience = max(3, round(BASELINE_PATIENCE * epochs))
    options = TrainOptions(
        epochs=epochs,
        lr=tricks.head_lr,
        weight_decay=settings.weight_decay,
        warmup=tricks.warmup,
        ema=tricks.ema,
        clip=tricks.clip,
        patience=patience,
        device=setting.placement.device,
        dtype=setting.placement.dtype,
        checkpoint_s=config.checkpoint_s,
        time_limit_s=seconds,
    )
    done = train(method, options, checkpoint=folder / "steps", resume=resume, progress=progress)
    if not np.isfinite(done.best_score):  # no val rows: the last epoch
        done.best_score, done.best_scores = 0.0, [0.0]
    folder.mkdir(parents=True, exist_ok=True)
    state = method.model.state_dict()
    arrays = {n: np.array(v.detach().float().cpu().numpy()) for n, v in state.items()}
    save_tensors(kept, arrays, {})
    write_bytes(told, json.dumps(asdict(done)).encode())
    forget(folder / "steps")
    return method.model, done
