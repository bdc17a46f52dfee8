"""The one training loop, on Hugging Face Accelerate: optimiser, schedule, precision, clipping, EMA,
early stopping and exact resume.

A method brings a model, an order of batches that depends on seed and epoch alone, a `step` (which
may own its backward) and a score of the validation rows. Checkpoints are safetensors and JSON;
going on from one gives the weights of a run that was never cut off. A method may hold several
models that train side by side (`engine/members.py`). Knows nothing about stores.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.engine.checkpoint_state import finite_or_none, get_state, number_or_low, put_state
from mmcli.engine.members import Members
from mmcli.engine.torch_stack import load_torch
from mmcli.store.atomic import write_bytes
from mmcli.store.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class TrainOptions:
    """How long and how fast to learn.

    warmup: share of the steps over which the rate rises; then it falls as a half cosine to zero.
    ema: decay of the averaged weights that are scored and kept, 0 for none. clip: largest norm of
    the gradient, 0 for none. patience: epochs without a better validation score before stopping.
    time_limit_s: no epoch begins, and no step is made, after so many seconds. average: the mean of
    the weights of so many best epochs is kept where it scores better than the best one alone
    (Wortsman et al. 2022, arXiv 2203.05482); 1 for none.
    """

    epochs: int
    lr: float
    weight_decay: float = 0.0
    warmup: float = 0.1
    ema: float = 0.0
    clip: float = 1.0
    patience: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    checkpoint_s: float = 30.0
    time_limit_s: float | None = None
    average: int = 1


class Method(Protocol):
    """What the loop is given. `model` is a torch module; only its parameters learn.

    steps: batches in an epoch, the same for all. plain: parameters without weight decay, by name.
    whole_epochs: the batches of an epoch hang on the model as it was when the epoch began, so that
    a run can only go on between epochs. `learned` names the parameters that ever learn, all where
    it is missing; `rates` gives some of them a multiple of the learning rate. Where several models
    train side by side, `members` says
    whose the tensors are, and `rest(over)` is told after each epoch which of them have stopped
    getting better, bool `(members,)`; both may be missing.
    """

    model: Any
    steps: int
    plain: frozenset[str]
    whole_epochs: bool

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches of an epoch from number `start`; equal calls give equal batches."""

    def step(self, batch: Any, backward: Callable[[Any], None]) -> dict[str, float]:
        """Compute the losses of a batch and their gradients; the losses by name."""

    def score(self) -> Any:
        """How good the model is now on rows it does not learn from; NaN when there are none.

        One number, or one a member.
        """


@dataclass
class Trained:
    """What a run came to: one record an epoch, the best epoch and its score.

    The model holds the weights of that epoch. best_epochs, best_scores: of each member; best_epoch
    and best_score are those of the best one. out_of_time: the time limit ended it. averaged: the
    weights are the mean of several epochs'.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -math.inf
    steps: int = 0
    stopped_early: bool = False
    best_epochs: list[int] = field(default_factory=list)
    best_scores: list[float] = field(default_factory=list)
    out_of_time: bool = False
    averaged: bool = False


def train(
    method: Method,
    options: TrainOptions,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Trained:
    """Train until the epochs are over or nothing gets better; leave the best weights in the model.

    checkpoint: a folder of this run alone. resume: go on from what lies there, if anything does.
    """
    loop = _Loop(method, options, checkpoint)
    if resume:
        loop.restore()
    return loop.run(progress)


class _Loop:
    """The state of one run: all of it is in `save` and comes back with `restore`."""

    def __init__(self, method: Method, options: TrainOptions, checkpoint: Path | None) -> None:
        self.torch = load_torch()
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        # it keeps the precision of the first run of a process, and refuses another
        AcceleratorState._reset_state(reset_partial_state=True)
        self.method, self.options, self.folder = method, options, checkpoint
        precision = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}[options.dtype]
        self.accelerator = Accelerator(
            cpu=options.device == "cpu",
            mixed_precision=precision,
            step_scheduler_with_optimizer=False,
        )
        self.total = max(1, options.epochs * method.steps)
        self.learned: frozenset[str] | None = getattr(method, "learned", None)
        optimizer = self.torch.optim.AdamW(self._groups(), lr=options.lr, fused=True)
        schedule = self.torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        self.model, self.optimizer, self.schedule = self.accelerator.prepare(
            method.model, optimizer, schedule
        )
        self.method.model = self.accelerator.unwrap_model(self.model)
        self.average = self._copy() if options.ema else None
        self.best: dict[str, Any] = self._copy()
        self.kept: list[tuple[float, dict[str, Any]]] = []
        self.members: Members = getattr(method, "members", None) or Members()
        count = self.members.count
        self.done = Trained(best_epochs=[0] * count, best_scores=[-math.inf] * count)
        self.began = time.monotonic()
        self.epoch, self.at, self.sums = 0, 0, {}  # type: ignore[var-annotated]
        self.saved_at = time.monotonic()

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by rate, with and without weight decay; the order is the model's own."""
        rates = getattr(self.method, "rates", {})
        groups: dict[tuple[float, bool], list[Any]] = {}
        for name, parameter in self.method.model.named_parameters():
            if self.learned is not None and name not in self.learned:
                continue
            plain = name in self.method.plain or parameter.ndim < 2
            groups.setdefault((float(rates.get(name, 1.0)), plain), []).append(parameter)
        return [
            {
                "params": parameters,
                "weight_decay": 0.0 if plain else self.options.weight_decay,
                "lr": self.options.lr * rate,
            }
            for (rate, plain), parameters in groups.items()
        ]

    def _state(self) -> dict[str, Any]:
        """What changes while it learns: the learned parameters and all buffers."""
        model = self.method.model
        state = model.state_dict()
        if self.learned is None:
            return state
        fixed = {n for n, _ in model.named_parameters()} - self.learned
        return {name: value for name, value in state.items() if name not in fixed}

    def _copy(self) -> dict[str, Any]:
        return {name: value.detach().clone() for name, value in self._state().items()}

    def _rate(self, step: int) -> float:
        warm = max(1, int(self.options.warmup * self.total))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, self.total - warm))))

    # -- running -----------------------------------------------------------------------------

    def run(self, progress: Callable[[int, int], None]) -> Trained:
        while self.epoch < self.options.epochs and not self.done.stopped_early:
            self.method.model.train()
            for batch in self.method.batches(self.epoch, self.at):
                if self._late():
                    break
                self._step(batch)
                progress(self.done.steps, self.total)
                if not self.method.whole_epochs:
                    self._maybe_save()
            self._end_epoch()
            self._maybe_save()
            if self._late():
                self.done.out_of_time = True
                break
        self._load(self.best)
        self.method.model.eval()
        if len(self.kept) > 1:
            self._try_mean()
        return self.done

    def _try_mean(self) -> None:
        """Keep the mean of the best epochs' weights where it is better than the best epoch."""
        states = [state for _, state in self.kept]
        mean = {
            name: self.torch.stack([s[name] for s in states]).mean(0)
            if value.is_floating_point()
            else value
            for name, value in states[0].items()
        }
        self._load(mean)
        score = float(np.mean(np.atleast_1d(self.method.score())))
        self.done.averaged = score > self.done.best_score
        if self.done.averaged:
            self.done.best_score = score
        else:
            self._load(self.best)

    def _late(self) -> bool:
        limit = self.options.time_limit_s
        return limit is not None and time.monotonic() - self.began > limit and self.done.steps > 0

    def _step(self, batch: Any) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.method.step(batch, self.accelerator.backward)
        if self.options.clip and self.members.first:
            self.members.clip(self.method.model.named_parameters(), self.options.clip)
        elif self.options.clip:
            self.accelerator.clip_grad_norm_(self.method.model.parameters(), self.options.clip)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            for name, value in self._state().items():
                kept = self.average[name]
                if kept.is_floating_point():
                    kept.lerp_(value.detach().to(kept.dtype), 1 - self.options.ema)
        for name, value in losses.items():
            if not math.isfinite(value):
                raise BadInput(
                    f"the {name} became {value} at step {self.done.steps + 1}",
                    "use a smaller `--lr`, or `--precision fp32`",
                )
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.done.steps += 1
        self.at += 1

    def _end_epoch(self) -> None:
        self.method.model.eval()
        own = self._copy() if self.average is not None else None
        if self.average is not None:
            self._load(self.average)
        scores = np.atleast_1d(np.asarray(self.method.score(), np.float64))
        record = {name: value / max(1, self.at) for name, value in self.sums.items()}
        self.epoch += 1
        self.at, self.sums = 0, {}
        known = np.isfinite(scores)
        self.done.history.append(
            {
                "epoch": self.epoch,
                "step": self.done.steps,
                **record,
                "score": float(scores[known].mean()) if known.any() else None,
                "lr": self.schedule.get_last_lr()[0],
            }
        )
        unscored = ~known & ~np.isfinite(self.done.best_scores)  # then the last epoch is kept
        better = unscored | (known & (scores > self.done.best_scores))
        for member in np.flatnonzero(better):
            self.done.best_epochs[member] = self.epoch
            if known[member]:
                self.done.best_scores[member] = float(scores[member])
        if better.any():
            self.members.keep(self.best, self._state(), better)
        if self.options.average > 1 and known.all():
            self.kept.append((float(scores.mean()), self._copy()))
            self.kept = sorted(self.kept, key=lambda pair: -pair[0])[: self.options.average]
        best = int(np.argmax(self.done.best_scores))
        self.done.best_epoch, self.done.best_score = (
            self.done.best_epochs[best],
            self.done.best_scores[best],
        )
        if own is not None:
            self._load(own)
        self.done.stopped_early = bool(self._over().all() and known.all())

    def _over(self) -> Any:
        """Which members have waited too long for a better score, bool `(members,)`.

        Tells a method that lets such members rest.
        """
        patience = self.options.patience
        waited = self.epoch - np.asarray(self.done.best_epochs)
        over = waited >= patience if patience is not None else np.zeros(len(waited), bool)
        if hasattr(self.method, "rest"):
            self.method.rest(over)
        return over

    def _load(self, values: Mapping[str, Any]) -> None:
        self.method.model.load_state_dict(values, strict=self.learned is None)

    # -- checkpoints ---------------------------------------------------------------------------

    def _maybe_save(self) -> None:
        if self.folder is None or self.options.checkpoint_s < 0:
            return
        if time.monotonic() - self.saved_at >= self.options.checkpoint_s:
            self.save()
            self.saved_at = time.monotonic()

    def save(self) -> None:
        """Write a new checkpoint, name it in `latest.json`, drop the one before."""
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {}
        put_state(arrays, "model", self._state())
        for number, (_, state) in enumerate(self.kept):
            put_state(arrays, f"kept/{number}", state)
        put_state(arrays, "best", self.best)
        put_state(arrays, "average", self.average or {})
        moments = self.optimizer.state_dict()["state"]
        for number, state in moments.items():
            put_state(arrays, f"optimizer/{number}", state)
        arrays["random/cpu"] = self.torch.get_rng_state().numpy()
        if self.options.device.startswith("cuda"):
            arrays["random/cuda"] = self.torch.cuda.get_rng_state(self.options.device).numpy()
        name = f"step-{self.done.steps}-{self.epoch}"
        save_tensors(self.folder / f"{name}.safetensors", arrays, {})
        state = {
            "name": name,
            "epoch": self.epoch,
            "at": self.at,
            "sums": self.sums,
            "done": {
                **asdict(self.done),
                "best_score": finite_or_none(self.done.best_score),
                "best_scores": [finite_or_none(score) for score in self.done.best_scores],
            },
            "schedule": self.schedule.state_dict(),
            "kept": [score for score, _ in self.kept],
        }
        write_bytes(self.folder / "latest.json", json.dumps(state, allow_nan=False).encode())
        for old in self.folder.glob("step-*.safetensors"):
            if old.stem != name:
                old.unlink()

    def restore(self) -> None:
        """Take up the latest checkpoint, where there is one."""
        if self.folder is None or not (self.folder / "latest.json").exists():
            return
        state = json.loads((self.folder / "latest.json").read_text())
        arrays = load_tensors(self.folder / f"{state['name']}.safetensors")
        torch = self.torch
        self._load(get_state(torch, arrays, "model"))
        self.best = get_state(torch, arrays, "best")
        if self.average is not None:
            self.average = get_state(torch, arrays, "average")
        self.kept = [
            (score, get_state(torch, arrays, f"kept/{number}"))
            for number, score in enumerate(state["kept"])
        ]
        content = self.optimizer.state_dict()
        numbers = {n.split("/")[1] for n in arrays if n.startswith("optimizer/")}
        content["state"] = {int(n): get_state(torch, arrays, f"optimizer/{n}") for n in numbers}
        self.optimizer.load_state_dict(content)
        torch.set_rng_state(torch.from_numpy(arrays["random/cpu"]))
        if "random/cuda" in arrays:
            torch.cuda.set_rng_state(torch.from_numpy(arrays["random/cuda"]), self.options.device)
        self.epoch, self.at, self.sums = state["epoch"], state["at"], state["sums"]
        done = {**state["done"]}
        done["best_score"] = number_or_low(done["best_score"])
        done["best_scores"] = [number_or_low(score) for score in done["best_scores"]]
        self.done = Trained(**done)
        self._over()
        self.schedule.load_state_dict(state["schedule"])
        for group, rate in zip(
            self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True
        ):
            group["lr"] = rate


def forget(folder: Path) -> None:
    """Drop the checkpoints of a run that is over."""
    shutil.rmtree(folder, ignore_errors=True)
