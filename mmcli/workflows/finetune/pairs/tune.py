"""The second stage of a training on pairs: encoders by their strategies, with the heads on them.

Knows nothing about tables or files of a model.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mmcli.align.features import Features
from mmcli.core.errors import BadInput, MmcliError, UsageError
from mmcli.core.types import Encoder
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.decoding import DecodePool, worker_count
from mmcli.engine.depthwise import quicken_depthwise
from mmcli.engine.device import Placement
from mmcli.engine.parts import PartReader
from mmcli.engine.training import Trained, TrainOptions, train
from mmcli.store.reader import Store
from mmcli.tasks.pairs import LiveTower, PairNetwork
from mmcli.tasks.pairs_encoder import check_recipes
from mmcli.tasks.pairs_learning import PairLearning
from mmcli.tuning.checkpointing import checkpointed
from mmcli.tuning.rates import layer_rates
from mmcli.tuning.strategy import StrategyOptions, Tuned, apply
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.parts import part_columns
from mmcli.workflows.finetune.plan import Plan
from mmcli.workflows.finetune.tune import NEW_RATE, RATES
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.queries.plans import reference_of

#: Contrast lives of other rows, so a batch holds as many as it can.
EPOCHS, BATCH = 5, 64
#: Of the heads' rate, once they have learned: at the whole of it smaller batches throw away what
#: the first stage found (Tux Paint's stamps, text by lora: hit@1 0.21 instead of 0.35).
HEADS_AGAIN = 0.1


@dataclass(frozen=True)
class LiveTowerState:
    """What is kept of a tower that learned. keys: those that its network makes."""

    strategy: str
    options: StrategyOptions
    keys: tuple[str, ...]
    trainable: int
    total: int
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """What the second stage came to."""

    learning: PairLearning
    done: Trained
    towers: Mapping[str, LiveTowerState]
    epochs: int


def second_stage(
    config: FinetuneConfig,
    plan: Plan,
    store: Store,
    network: PairNetwork,
    make: Callable[..., PairLearning],
    keys: Mapping[str, tuple[str, ...]],
    seed: int,
    placement: Placement,
    folder: Path,
    resume: bool,
    left: float | None,
    listeners: Listeners,
) -> Stage:
    """Tune towers, given the keys of their modalities, with the heads of the first stage, in place.

    make: the learning of the network, given batch, passes and where live parts are read. The reader
    of parts stays open, for what is scored afterwards.
    """
    tricks = config.tricks
    torch.manual_seed(seed)
    applied: dict[str, Tuned] = {}
    leads: dict[str, Encoder] = {}
    names: dict[str, str] = {}
    for modality in keys:
        bases = load_bases(store, keys[modality], Placement(placement.device, "float32"))
        key, lead, readers = _lead(modality, bases)
        if tricks.checkpointing:
            checkpointed(lead.network)
        quicken_depthwise(lead.network)
        applied[modality] = apply(plan.strategy(modality), lead.network, _sizes(config))
        network.live[modality] = LiveTower(lead, readers)
        leads[key], names[modality] = lead, key
    network.to(placement.device)
    columns = part_columns(store, sorted(keys))
    reader = PartReader(columns, leads, store.ids(), DecodePool(0, {}))
    n_files = sum(len(c.values) for c in columns.values() if c.are_paths)
    reader.pool = DecodePool(worker_count(config.workers, n_files), reader.recipes())
    epochs = tricks.epochs or EPOCHS

    def begin(epoch: int) -> None:
        for tuned in applied.values():
            tuned.at_epoch(epoch, epochs)

    learning = make(
        batch=tricks.batch or BATCH,
        accumulate=tricks.accumulate,
        live=(reader, names),
        begin=begin,
    )
    try:
        _drop_idle(learning, applied)
        learning.learned, learning.rates = _rates(config, plan, network, applied)
        done = train(
            learning,
            TrainOptions(
                epochs=epochs,
                lr=tricks.head_lr,
                weight_decay=0.01 if tricks.weight_decay is None else tricks.weight_decay,
                warmup=tricks.warmup,
                ema=tricks.ema,
                clip=tricks.clip,
                patience=tricks.patience,
                device=placement.device,
                dtype=placement.dtype,
                checkpoint_s=config.checkpoint_s,
                time_limit_s=left,
                average=tricks.average,
            ),
            checkpoint=folder,
            resume=resume,
            progress=listeners.progress,
        )
    except BaseException:
        reader.close()
        raise
    towers = {
        modality: LiveTowerState(
            plan.strategy(modality),
            _sizes(config),
            tuple(network.computed(modality)),
            *tuned.counts,
            tuned.state(),
        )
        for modality, tuned in applied.items()
    }
    return Stage(learning, done, towers, epochs)


def load_bases(store: Store, keys: tuple[str, ...], placement: Placement) -> dict[str, Encoder]:
    """The encoders that made these keys of one modality.

    Raises BadInput where the store does not say which, and what loading them raises.
    """
    found: dict[str, Encoder] = {}
    for key in keys:
        entry = store.keys[key]
        reference = reference_of(entry)
        if reference is None:
            raise BadInput(
                f"`{store.path}` does not say which encoder made key `{key}`",
                "extract it with mmcli, or use `--strategy probe`",
            )
        modality = str(entry.get("modality") or key.partition(":")[0])
        found[key] = load(reference, modality, base_options(entry, modality), placement)
    return found


def base_options(entry: Mapping[str, Any], modality: str) -> EncoderOptions:
    """How a store's key was read: its length and prompt, of texts."""
    if modality != "text":
        return EncoderOptions()
    length = (entry.get("preprocessing") or {}).get("max_length")
    return EncoderOptions(
        max_length=int(length) if length else None,
        prompt=str((entry.get("prompts") or {}).get("used", "")),
    )


def check_towers(store: Store, features: Features) -> list[str]:
    """Refuse encoders that could not make one tower; a line for each that cannot be looked at."""
    lines = []
    for part in features.parts.values():
        if len(part.keys) < 2:
            continue
        try:
            bases = load_bases(store, part.keys, Placement("cpu", "float32"))
        except MmcliError as error:
            lines.append(f"the tower of {part.name} cannot be an encoder later: {error.message}")
            continue
        check_recipes(bases)
    return lines


def _lead(modality: str, bases: Mapping[str, Encoder]) -> tuple[str, Any, dict[str, Encoder]]:
    """The first encoder whose network can learn, its key, and all that read the same trunk."""
    for key, encoder in bases.items():
        network = getattr(encoder, "network", None)
        if network is not None and any(True for _ in network.parameters()):
            readers = {k: e for k, e in bases.items() if e.trunk_key == encoder.trunk_key}
            return key, encoder, readers
    raise UsageError(
        f"no encoder of {modality} has weights that can be tuned: {', '.join(bases)}",
        f"name another with `--{modality}`, or use `--strategy {modality}=frozen`",
    )


def _drop_idle(learning: PairLearning, applied: Mapping[str, Tuned]) -> None:
    """Claim no parameter that the vectors do not hang on: one pass over a few rows tells."""
    state = torch.get_rng_state()
    learning.model.eval()
    outputs = learning.with_gradients(learning.train_rows[:4])
    for tuned in applied.values():
        tuned.keep_used(*outputs)
    torch.set_rng_state(state)


def _rates(
    config: FinetuneConfig, plan: Plan, network: PairNetwork, applied: Mapping[str, Tuned]
) -> tuple[frozenset[str], dict[str, float]]:
    """Names that learn, and multiples of the heads' rate."""
    tricks = config.tricks
    found: dict[str, float] = {}
    for modality, tuned in applied.items():
        rate = tricks.lr or RATES.get(plan.strategy(modality), NEW_RATE)
        decay = layer_rates(tuned.network, tricks.layer_decay)
        for name in tuned.trainable:
            at = f"live.{modality}.network.{name}"
            found[at] = rate / tricks.head_lr * decay.get(name, 1.0)
    for name, parameter in network.named_parameters():
        if not name.startswith("live.") and parameter.requires_grad:
            found[name] = HEADS_AGAIN
    return frozenset(found), found


def _sizes(config: FinetuneConfig) -> StrategyOptions:
    return StrategyOptions(**asdict(config.tune))
