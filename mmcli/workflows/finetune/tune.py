"""The second stage of a fine-tuning: towers by their strategies, fusion and head, end to end.

Each seed starts from the head that the first stage found with it, and from the same towers. Knows
nothing about tables or reports.
"""

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from mmcli.core.errors import UsageError
from mmcli.core.types import Encoder
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.decoding import DecodePool, worker_count
from mmcli.engine.depthwise import quicken_depthwise
from mmcli.engine.device import Placement
from mmcli.engine.parts import PartReader
from mmcli.engine.training import TrainOptions, train
from mmcli.fusion.inputs import Rows
from mmcli.fusion.model import probabilities
from mmcli.fusion.network import Late
from mmcli.fusion.own_labels import OwnLabels
from mmcli.metrics.choice import Measure
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.reader import Store
from mmcli.tasks.end_to_end import EndToEnd
from mmcli.tasks.towers import Source, Tower, TowersAndFusion
from mmcli.tasks.tuned_inputs import tuned_inputs
from mmcli.tuning.checkpointing import checkpointed
from mmcli.tuning.rates import layer_rates
from mmcli.tuning.strategy import StrategyOptions, apply
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.learning_keys import encoder_of, learning_keys
from mmcli.workflows.finetune.parts import part_columns
from mmcli.workflows.finetune.plan import Plan
from mmcli.workflows.finetune.tuned import Tuned, TunedTower
from mmcli.workflows.fuse.data import FuseData
from mmcli.workflows.fuse.fit import Contest
from mmcli.workflows.listeners import Listeners

#: Highest rate of the towers: what is small and new learns faster than what was pre-trained.
RATES = {"full": 2e-5, "last-n": 5e-5, "gradual": 5e-5, "bitfit": 5e-4}
NEW_RATE = 5e-4
EPOCHS = 5
BATCH = 32


def tune(
    config: FinetuneConfig,
    plan: Plan,
    store: Store,
    data: FuseData,
    contest: Contest,
    method: str,
    measure: Measure,
    judged: Rows,
    placement: Placement,
    writer: ArtifactWriter,
    time_limit_s: float | None,
    listeners: Listeners,
) -> Tuned:
    """Train every seed; keep the one that is best on the validation rows.

    Raises UsageError where nothing that is asked for can be trained.
    """
    began = time.monotonic()
    spec = contest.specs[method]
    val, test, kept = [], [], None
    seeds = config.seeds or 1
    for number in range(seeds):
        fusion = contest.network(method, number)
        left = None
        if time_limit_s is not None:
            left = max(1.0, (time_limit_s - (time.monotonic() - began)) / (seeds - number))
        own = contest.own_labels(method, number)
        one = _Run(
            config, plan, store, data, fusion, spec.view, contest, measure, placement, number, own
        )
        try:
            done = one.train(writer, left, listeners)
            inputs = tuned_inputs(one.model, one.method, np.concatenate([data.val, judged]))
            shares = [
                probabilities(one.model.fusion, spec.view, contest.objective, inputs, rows)
                for rows in (data.val, judged)
            ]
        finally:
            one.reader.close()
        val.append(shares[0])
        test.append(shares[1])
        if kept is None or done.best_score > kept[1].best_score:
            kept = (one, done, inputs, number)
    assert kept is not None
    one, done, inputs, number = kept
    towers = one.towers()
    strategies = ", ".join(sorted({t.strategy for t in towers}))
    return Tuned(
        name=f"{method} + {strategies}",
        val=np.stack(val),
        test=np.stack(test),
        parameters=sum(t.trainable for t in towers)
        + sum(p.numel() for p in one.model.fusion.parameters()),
        kept_seed=config.seed + number,
        fusion=one.model.fusion.cpu().eval(),
        inputs=inputs,
        towers=towers,
        history=[{"stage": "tune", **record} for record in done.history],
        told={
            "towers": {
                t.key: {
                    "strategy": t.strategy,
                    "trainable": t.trainable,
                    "parameters": t.total,
                }
                for t in towers
            },
            "lr": one.rate_of,
            "epochs": len(done.history),
            "best_epoch": done.best_epoch,
            "averaged": done.averaged,
            "seconds": round(time.monotonic() - began, 2),
            "seconds_an_epoch": round(one.epoch_seconds, 3),
        },
    )


class _Run:
    """One seed: towers with their strategies, the network, the method of the loop."""

    def __init__(
        self,
        config: FinetuneConfig,
        plan: Plan,
        store: Store,
        data: FuseData,
        fusion: Any,
        view: str,
        contest: Contest,
        measure: Measure,
        placement: Placement,
        number: int,
        own: OwnLabels | None,
    ) -> None:
        self.config, self.plan, self.placement, self.number = config, plan, placement, number
        self.epoch_seconds = 0.0
        self.references: dict[str, str] = {}
        torch.manual_seed(config.seed + number)
        device = placement.device
        self.encoders = self._encoders(store, data, view)
        self.applied = {key: self._apply(e) for key, e in self.encoders.items()}
        towers = {key: Tower(encoder) for key, encoder in self.encoders.items()}
        sources = {m: self._sources(store, data, m, view) for m in data.inputs.names}
        if isinstance(fusion, Late):
            fusion.combiner.requires_grad_(False)
        fusion.requires_grad_(True)
        self.model = TowersAndFusion(towers, fusion, data.inputs, sources, view).to(device)
        columns = part_columns(store, sorted({e.card.modality for e in self.encoders.values()}))
        ids = store.ids()
        self.reader = PartReader(columns, self.encoders, ids, DecodePool(0, {}))
        n_files = sum(len(c.values) for c in columns.values() if c.are_paths)
        self.reader.pool = DecodePool(worker_count(config.workers, n_files), self.reader.recipes())
        learned, rates = self._learned(data.train)
        objective = contest.objective

        def score(shares: Any, truth: Any) -> float:
            value = measure.value(truth, shares, objective.predicted(shares), np.ones(len(truth)))
            return measure.signed(value)

        tricks = config.tricks
        self.epochs = tricks.epochs or EPOCHS
        self.method = EndToEnd(
            self.model,
            self.reader,
            objective,
            data.labels.values,
            data.train,
            data.val,
            score,
            learned=learned,
            rates=rates,
            begin=self._begin,
            batch=tricks.batch or BATCH,
            accumulate=tricks.accumulate,
            mixup=tricks.mixup,
            modality_dropout=tricks.modality_dropout if len(data.inputs.names) > 1 else 0.0,
            seed=config.seed + number,
            device=device,
            dtype=placement.dtype,
            own=own,
        )

    def _encoders(self, store: Store, data: FuseData, view: str) -> dict[str, Encoder]:
        """The encoders that learn, by key, in fp32."""
        found: dict[str, Encoder] = {}
        for key, name in learning_keys(self.plan, store, data, view):
            encoder = self._load(store, key, name, view)
            if getattr(encoder, "network", None) is not None:
                found[key] = encoder
            elif self.plan.strategies.get(name):
                raise UsageError(
                    f"`--strategy {name}={self.plan.strategy(name)}`: `{encoder.card.name}` has no"
                    " weights that learn",
                    f"leave it frozen, or name another encoder with `--{name}`",
                )
        if not found:
            raise UsageError(
                "no tower can be trained", "name encoders with weights, or use `--strategy probe`"
            )
        return found

    def _load(self, store: Store, key: str, modality: str, view: str) -> Encoder:
        entry = store.keys[key]
        self.references[key] = reference = encoder_of(store, key)
        layers = tuple(
            sorted(
                int(e["layer"])
                for e in store.keys.values()
                if e.get("layer") is not None and e.get("encoder") == entry.get("encoder")
            )
        )
        length = (entry.get("preprocessing") or {}).get("max_length")
        options = EncoderOptions(
            layers=layers if view == "levels" else (),
            sequence=view == "tokens",
            max_length=int(length) if modality == "text" and length else None,
            prompt=str((entry.get("prompts") or {}).get("used", "")) if modality == "text" else "",
        )
        plain = Placement(self.placement.device, "float32")
        return load(reference, modality, options, plain)

    def _apply(self, encoder: Any) -> Any:
        name = self.plan.strategy(encoder.card.modality)
        if self.config.tricks.checkpointing:
            checkpointed(encoder.network)
        quicken_depthwise(encoder.network)
        return apply(name, encoder.network, self.options())

    def options(self) -> StrategyOptions:
        """The sizes of strategies."""
        return StrategyOptions(**asdict(self.config.tune))

    def _sources(self, store: Store, data: FuseData, name: str, view: str) -> list[Source]:
        """The keys of a modality in the order in which the view has them side by side."""
        if name == data.inputs.tabular:
            return []
        keys = data.inputs.modalities[name].keys
        layer = {key: store.keys[key].get("layer") for key in keys}
        outer = [key for key in keys if layer[key] is None] or list(keys)
        inner = sorted((k for k in keys if k not in outer), key=lambda k: int(layer[k] or 0))
        chosen = outer[:1] if view == "tokens" else [*inner, *outer] if view == "levels" else outer
        tower = {
            str(store.keys[key].get("encoder")): key
            for key, encoder in self.encoders.items()
            if encoder.card.modality == name
        }
        return [
            Source(
                key,
                tower.get(str(store.keys[key].get("encoder")), ""),
                None if layer[key] is None else int(layer[key]),
            )
            for key in chosen
        ]

    def _learned(self, train: Rows) -> tuple[frozenset[str], dict[str, float]]:
        """Names that learn and their rates.

        A parameter that the output does not hang on, such as a pooler that nothing reads, learns
        nothing and is not claimed to: one pass over a few rows tells.
        """
        self._drop_idle(self._some_of_each(train))
        names: dict[str, float] = {}
        self.rate_of: dict[str, float] = {}
        head = self.config.tricks.head_lr
        for key, tuned in self.applied.items():
            strategy = self.plan.strategy(self.encoders[key].card.modality)
            rate = self.config.tricks.lr or RATES.get(strategy, NEW_RATE)
            self.rate_of[key] = rate
            decay = layer_rates(tuned.network, self.config.tricks.layer_decay)
            at = f"towers.{key.replace('.', '/')}.network."
            for name in tuned.trainable:
                names[at + name] = rate / head * decay.get(name, 1.0)
        for name, parameter in self.model.named_parameters():
            if name.startswith("fusion.") and parameter.requires_grad:
                names[name] = 1.0
        return frozenset(names), names

    def _some_of_each(self, train: Rows) -> Rows:
        """Two rows that have a part of each modality: enough to see which weights are used."""
        there = self.model.inputs.present(train)
        return np.unique(np.concatenate([train[column][:2] for column in there.T]))

    def _drop_idle(self, rows: Rows) -> None:
        state = torch.get_rng_state()
        self.model.eval()
        parts = self.reader.finish(self.reader.start(rows.tolist()))
        present = torch.from_numpy(self.model.inputs.present(rows)).to(self.placement.device)
        for tuned in self.applied.values():
            found = self.model(parts, rows, present)
            tuned.keep_used(found.output, found.vector, found.penalty)
        torch.set_rng_state(state)

    def _begin(self, epoch: int) -> None:
        for tuned in self.applied.values():
            tuned.at_epoch(epoch, self.epochs)

    def train(self, writer: ArtifactWriter, left: float | None, listeners: Listeners) -> Any:
        """Run the loop; the model holds the best epoch afterwards."""
        tricks = self.config.tricks
        began = time.monotonic()
        done = train(
            self.method,
            TrainOptions(
                epochs=self.epochs,
                lr=tricks.head_lr,
                weight_decay=0.01 if tricks.weight_decay is None else tricks.weight_decay,
                warmup=tricks.warmup,
                ema=tricks.ema,
                clip=tricks.clip,
                patience=tricks.patience,
                device=self.placement.device,
                dtype=self.placement.dtype,
                checkpoint_s=self.config.checkpoint_s,
                time_limit_s=left,
                average=tricks.average,
            ),
            checkpoint=writer.checkpoint / f"tune-{self.number}",
            resume=writer.resumed,
            progress=listeners.progress,
        )
        self.epoch_seconds = (time.monotonic() - began) / max(1, len(done.history))
        return done

    def towers(self) -> list[TunedTower]:
        """What is kept of each tower."""
        found = []
        for key, encoder in self.encoders.items():
            network: Any = encoder.network  # type: ignore[attr-defined]
            trainable = set(self.applied[key].trainable)
            found.append(
                TunedTower(
                    key,
                    encoder,
                    self.references[key],
                    self.plan.strategy(encoder.card.modality),
                    self.options(),
                    sum(p.numel() for n, p in network.named_parameters() if n in trainable),
                    sum(p.numel() for p in network.parameters()),
                    encoder.card.weights_sha256,
                    self.applied[key].state(),
                )
            )
        return found
