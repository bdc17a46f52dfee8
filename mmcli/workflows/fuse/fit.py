"""Training the methods of a run and its baselines together, and what each seed then says of rows.

Knows fields, combiners and networks; nothing about tables, files or printing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmcli.core.errors import UsageError
from mmcli.engine.training import Trained, TrainOptions, train
from mmcli.fusion.experts import Experts
from mmcli.fusion.field import Entry, Field
from mmcli.fusion.inputs import Rows
from mmcli.fusion.network import CONCAT, Late, build_network, combiner_for, with_joint
from mmcli.fusion.objective import Objective
from mmcli.fusion.own_labels import OwnLabels
from mmcli.fusion.registry import METHODS, FusionSpec
from mmcli.metrics.choice import Measure
from mmcli.workflows.fuse.data import FuseData

EXPERTS = "experts"
#: Fewer validation rows than this, and combiners are fitted on train rows too.
_FEW_ROWS = 20


@dataclass(frozen=True)
class FuseOptions:
    """What training may be told; None is "chosen by the number of rows", and written down.

    width: of hidden vectors. rank: of low-rank products. modality_dropout: how often each part is
    left out of a training row. loss, gamma, smoothing, balanced: see `fusion/objective.py`.
    """

    width: int | None = None
    dropout: float | None = None
    layers: int = 2
    heads: int = 4
    rank: int = 8
    epochs: int | None = None
    batch: int | None = None
    lr: float = 1e-3
    weight_decay: float | None = None
    warmup: float = 0.1
    ema: float = 0.0
    clip: float = 1.0
    patience: int | None = None
    modality_dropout: float = 0.1
    loss: str = "auto"
    gamma: float = 2.0
    smoothing: float = 0.0
    balanced: bool = False


@dataclass(frozen=True)
class Sizes:
    """What is chosen for so many train rows."""

    width: int
    dropout: float
    epochs: int
    batch: int
    weight_decay: float
    patience: int

    @classmethod
    def of(cls, rows: int, options: FuseOptions) -> "Sizes":
        """Small data: small batches, many epochs, strong regularisation; large: the opposite."""
        if rows < 2_000:
            known = cls(64, 0.3, 60, 64, 0.05, 15)
        elif rows < 20_000:
            known = cls(96, 0.2, 40, 256, 0.02, 8)
        else:
            known = cls(128, 0.1, 15, 256 if rows < 100_000 else 512, 0.01, 4)
        told = {n: v for n in vars(known) if (v := getattr(options, n)) is not None}
        return cls(**{**vars(known), **told})


def refuse_idle(options: FuseOptions, objective: Objective) -> None:
    """Raise UsageError for an option of the loss that this loss does not read."""
    number = objective.kind == "number"
    for option, given, read in (
        ("--class-weights", options.balanced, not number),
        ("--label-smoothing", options.smoothing > 0, not number),
        ("--focal-gamma", options.gamma != FuseOptions().gamma, objective.loss == "focal"),
    ):
        if given and not read:
            what = f"a {objective.loss} loss"
            raise UsageError(f"`{option}` does nothing for {what}", "leave it out, or see `--loss`")


@dataclass(frozen=True)
class FitRun:
    """Where one training runs, and who hears of it."""

    seeds: tuple[int, ...]
    device: str = "cpu"
    dtype: str = "float32"
    checkpoint: Path | None = None
    resume: bool = False
    checkpoint_s: float = 30.0
    time_limit_s: float | None = None
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass
class Contest:
    """A trained field: outputs of any method and seed on any rows, and its network."""

    data: FuseData
    objective: Objective
    field: Field
    specs: dict[str, FusionSpec]
    sizes: Sizes
    trained: Trained
    network_sizes: dict[str, Any]
    combiners: dict[tuple[str, int], Any] = field(default_factory=dict)
    crossed: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def outputs(self, name: str, rows: Rows) -> Any:
        """`(seeds, rows, n_outputs)`; of a late method by its fitted combiners."""
        if name not in self.specs or not self.specs[name].experts:
            return self.field.outputs(name, rows)
        outputs, present = self._expert_outputs(self.specs[name], rows)
        found = [
            self.combiners[name, seed](torch.from_numpy(outputs[seed]), present).numpy()
            for seed in range(len(self.field.seeds))
        ]
        return np.stack(found)

    def _expert_outputs(self, spec: FusionSpec, rows: Rows) -> tuple[Any, torch.Tensor]:
        outputs = self.field.outputs(EXPERTS, rows)
        present = torch.from_numpy(self.data.inputs.present(rows))
        if not spec.ensemble:
            return outputs, present
        joint = self.field.outputs(CONCAT, rows)
        each = [
            with_joint(torch.from_numpy(o), torch.from_numpy(j), present)
            for o, j in zip(outputs, joint, strict=True)
        ]
        return np.stack([o.numpy() for o, _ in each]), each[0][1]

    def probabilities(self, name: str, rows: Rows) -> Any:
        """`(seeds, rows, classes)` or values; rows without any part get what is known of none."""
        found = self.objective.probabilities(self.outputs(name, rows))
        return _known(found, self.data.inputs.present(rows).any(1), self.objective)

    def single(self, modality: str, rows: Rows) -> Any:
        """The same of one expert."""
        place = self.data.inputs.names.index(modality)
        found = self.objective.probabilities(self.field.outputs(EXPERTS, rows)[:, :, place])
        return _known(found, self.data.inputs.present(rows)[:, place], self.objective)

    def fit_combiners(self) -> None:
        """Combine the experts of each seed by the validation rows.

        What the combination says of those rows themselves, by which it is chosen, is said by
        combiners of the other half of them.
        """
        val = self.data.val
        rows = val if len(val) >= _FEW_ROWS else np.concatenate([val, self.data.train])
        halves = np.random.default_rng(0).permutation(len(rows)) % 2
        target = self.objective.target(self.data.labels.values[rows])
        for spec in self.specs.values():
            if not spec.experts:
                continue
            outputs, present = self._expert_outputs(spec, rows)
            crossed = np.zeros((len(outputs), len(rows), outputs.shape[-1]), np.float32)
            for seed, said in enumerate(torch.from_numpy(outputs)):
                for half in (0, 1):
                    there, here = halves != half, halves == half
                    other = self._combiner(spec, said[there], present[there], target[there])
                    crossed[seed, here] = other(said[here], present[here]).numpy()
                self.combiners[spec.name, seed] = self._combiner(spec, said, present, target)
            self.crossed[spec.name] = crossed[:, : len(val)]

    def _combiner(self, spec: FusionSpec, said: Any, present: Any, target: Any) -> Any:
        combiner = combiner_for(spec, present.shape[1], said.shape[-1], self.objective.kind)
        combiner.fit(said, present, target)
        return combiner.eval()

    def val_probabilities(self, name: str) -> Any:
        """What is said of the validation rows without having been fitted on them."""
        if name not in self.crossed:
            return self.probabilities(name, self.data.val)
        found = self.objective.probabilities(self.crossed[name])
        return _known(found, self.data.inputs.present(self.data.val).any(1), self.objective)

    def network(self, name: str, seed: int) -> Any:
        """The network of one seed by itself, on the CPU, in eval mode."""
        spec = self.specs[name]
        blueprint = self.blueprint(spec)
        network = build_network(spec, blueprint, self.objective.kind)
        if isinstance(network, Late):
            network.experts.load_state_dict(self._member(EXPERTS, seed))
            network.combiner = self.combiners[name, seed]
            if network.joint is not None:
                network.joint.load_state_dict(self._member(CONCAT, seed))
        else:
            state = {**network.state_dict(), **self._member(name, seed)}
            network.load_state_dict(state)
        return network.eval()

    def blueprint(self, spec: FusionSpec) -> Any:
        """The sizes of a method's network."""
        return self.data.inputs.blueprint(spec.view, self.objective.n_outputs, **self.network_sizes)

    def own_labels(self, name: str, seed: int) -> OwnLabels | None:
        """What the modalities' outputs of one seed learned, None where they learned nothing."""
        targets = self.field.own.get(name)
        return None if targets is None else targets.fixed(seed)

    def parameters(self, name: str) -> int:
        """Learned numbers of one seed's network."""
        if name in self.specs:
            return sum(p.numel() for p in self.network(name, 0).parameters())
        each = self.field.model[EXPERTS].base[0].each
        place = self.data.inputs.names.index(name.partition(":")[2])
        return sum(p.numel() for p in each[place].parameters())

    def _member(self, name: str, seed: int) -> dict[str, torch.Tensor]:
        return {n: v.cpu() for n, v in self.field.model[name].member(seed).items()}


def fit(
    data: FuseData,
    specs: Sequence[FusionSpec],
    objective: Objective,
    measure: Measure,
    options: FuseOptions,
    run: FitRun,
) -> Contest:
    """Train the methods, one model a modality and `early:concat`, all in one pass."""
    began = time.monotonic()
    sizes = Sizes.of(len(data.train), options)
    network_sizes = {
        "width": sizes.width,
        "dropout": sizes.dropout,
        "layers": options.layers,
        "heads": options.heads,
        "rank": options.rank,
    }
    inputs = data.inputs
    named = {spec.name: spec for spec in specs}

    def entry(spec: FusionSpec) -> Entry:
        blueprint = inputs.blueprint(spec.view, objective.n_outputs, **network_sizes)
        return Entry(
            spec.name,
            lambda: build_network(spec, blueprint, objective.kind),
            spec.view,
            parts=spec.parts,
        )

    pooled = inputs.blueprint("pooled", objective.n_outputs, **network_sizes)
    trained_here = {
        CONCAT: METHODS.get(CONCAT),
        **{n: s for n, s in named.items() if not s.experts},
    }
    entries = [
        Entry(EXPERTS, lambda: Experts(pooled), experts=True),
        *(entry(spec) for spec in trained_here.values()),
    ]
    inputs.hold({e.view for e in entries})

    def score(shares: Any, truth: Any) -> float:
        value = measure.value(truth, shares, objective.predicted(shares), np.ones(len(truth)))
        return measure.signed(value)

    contestants = Field(
        inputs,
        entries,
        run.seeds,
        objective,
        data.labels.values,
        data.train,
        data.val,
        score,
        batch=sizes.batch,
        modality_dropout=options.modality_dropout if len(inputs.names) > 1 else 0.0,
        device=run.device,
        dtype=run.dtype,
        own=data.own,
    )
    loop = TrainOptions(
        epochs=sizes.epochs,
        lr=options.lr,
        weight_decay=sizes.weight_decay,
        warmup=options.warmup,
        ema=options.ema,
        clip=options.clip,
        patience=sizes.patience,
        device=run.device,
        dtype=run.dtype,
        checkpoint_s=run.checkpoint_s,
        time_limit_s=run.time_limit_s,
    )
    done = train(
        contestants, loop, checkpoint=run.checkpoint, resume=run.resume, progress=run.progress
    )
    contest = Contest(
        data, objective, contestants, trained_here | named, sizes, done, network_sizes
    )
    contest.fit_combiners()
    contest.seconds = time.monotonic() - began
    return contest


def _known(found: Any, there: Any, objective: Objective) -> Any:
    if there.all():
        return found
    found[:, ~there] = objective.constant()
    return found
