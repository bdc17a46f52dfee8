"""`finetune --dry-run`: what would be trained, what it would cost, and the first rows as models see
them. Reads a few rows, writes nothing that stays.
"""

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mmcli.data.decode import PartTask, decode_parts
from mmcli.data.places import locate
from mmcli.data.source import Source, SourceOptions, open_source
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.autocast import autocast
from mmcli.engine.device import Placement, place, probe
from mmcli.store.reader import Store
from mmcli.tasks.towers import Tower
from mmcli.tuning.strategy import StrategyOptions, apply
from mmcli.workflows.extract.plan import ExtractConfig, choose_encoders
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.learning_keys import encoder_of, learning_keys
from mmcli.workflows.finetune.parts import part_columns
from mmcli.workflows.finetune.plan import FROZEN, Plan
from mmcli.workflows.fuse.data import FuseData

#: Rows that are read, and run once through the towers that learn.
ROWS = 8
_EPOCHS = 5
#: Bytes a number costs: its weight; and where it learns its gradient and two moments.
_WEIGHT, _LEARNING = 4, 12


def dry_run(
    config: FinetuneConfig, plan: Plan, opened: tuple[Store, FuseData] | None
) -> dict[str, Any]:
    """Towers with their parameters, memory, seconds an epoch, and the first rows preprocessed.

    opened: a store that is the data. Its vectors are taken as they are: only towers that learn are
    loaded, by what the store says of its keys.
    """
    with tempfile.TemporaryDirectory(prefix="mmcli-") as place_:
        if opened is not None:
            encoders = _learning(plan, *opened)
            rows, count, root, text_is_path = _rows_of_store(opened[0], tuple(encoders))
        else:
            rows, count, root, text_is_path, modalities = _first_rows(config, Path(place_))
            encoders = choose_encoders(
                ExtractConfig(
                    config.data,
                    "",
                    preset=config.preset,
                    encoders=plan.wanted.encoders,
                    only=config.only,
                ),
                modalities,
            )
        placement = place(config.device, config.precision, probe())
        towers = [
            _tower(config, plan, modality, reference, rows, root, text_is_path, placement)
            for modality, references in encoders.items()
            for reference in references
        ]
    learning = [tower for tower in towers if tower["trainable"]]
    report = {
        "dry_run": True,
        "task": config.task,
        "items": count,
        "methods": [method.name for method in plan.methods],
        "seeds": config.seeds,
        "device": placement.device,
        "precision": placement.precision,
        "parameters": sum(tower["parameters"] for tower in towers),
        "trainable": sum(tower["trainable"] for tower in towers),
        "memory_gb": round(_memory(towers), 3),
        "towers": {tower.pop("tower"): tower for tower in towers},
    }
    if learning:
        epochs = config.tricks.epochs or _EPOCHS
        an_epoch = sum(tower["s_per_item"] for tower in learning) * count
        report["seconds_an_epoch"] = round(an_epoch, 1)
        report["seconds_tuning"] = round(an_epoch * epochs * (config.seeds or 1), 1)
    return report


def _learning(plan: Plan, store: Store, data: FuseData) -> dict[str, tuple[str, ...]]:
    """References by modality of the encoders that learn."""
    found: dict[str, tuple[str, ...]] = {}
    for key, modality in learning_keys(plan, store, data, plan.methods[0].view):
        found[modality] = (*found.get(modality, ()), encoder_of(store, key))
    return found


def _rows_of_store(
    store: Store, modalities: tuple[str, ...]
) -> tuple[list[dict[str, Any]], int, str, bool]:
    """As `_first_rows`, of parts that towers learn from: their files must still be there."""
    part_columns(store, modalities)
    tables = (table for _, table in store.iter_items(["id", *modalities]) if table.num_rows)
    return next(tables).slice(0, ROWS).to_pylist(), store.rows, store.source_root or "", False


def _first_rows(
    config: FinetuneConfig, spool: Path
) -> tuple[list[dict[str, Any]], int, str, bool, tuple[str, ...]]:
    """The first rows, how many there are, what paths are relative to, whether texts are files, and
    the modalities."""
    source: Source = open_source(
        SourceOptions(config.data, config.root, dict(config.mapping)), spool
    )
    head = source.rows(0, ROWS).to_pylist()
    found = (head, source.n_items, source.root, source.text_is_path, tuple(source.modalities))
    source.close()
    return found


def _tower(
    config: FinetuneConfig,
    plan: Plan,
    modality: str,
    reference: str,
    rows: list[dict[str, Any]],
    root: str,
    text_is_path: bool,
    placement: Placement,
) -> dict[str, Any]:
    """One encoder: its parameters, what of them learns, what it costs, and its first row."""
    encoder: Any = load(
        reference, modality, EncoderOptions(), Placement(placement.device, "float32")
    )
    network = getattr(encoder, "network", None)
    strategy = plan.strategy(modality)
    told: dict[str, Any] = {
        "tower": f"{modality}:{encoder.card.name}",
        "strategy": strategy if network is not None else "frozen",
        "parameters": 0 if network is None else sum(p.numel() for p in network.parameters()),
        "trainable": 0,
    }
    is_path = modality != "text" or text_is_path
    tasks = [
        PartTask(i, modality, locate(root, value) if is_path else value, is_path)
        for i, row in enumerate(rows)
        if (value := row.get(modality))
    ]
    results, _, _ = decode_parts(tasks, {modality: (encoder.recipe,)})
    parts = [result.values[0] for result in results if result.values is not None]
    prepared = encoder.prepare(parts) if parts else []
    if prepared:
        told["first_row"] = _shown(encoder, prepared[0])
    if network is None or strategy in FROZEN or not prepared:
        return told
    tuned = apply(strategy, network, StrategyOptions(**asdict(config.tune)))
    tower = Tower(encoder).train()
    for _ in range(2):  # the first pass also sets things up that later ones find
        began = time.monotonic()
        held = _Held()
        with (
            autocast(placement.device, placement.dtype),
            torch.autograd.graph.saved_tensors_hooks(held.keep, held.give),
        ):
            pooled = tower(prepared, [None], False)[None].pooled
        tuned.keep_used(pooled)
        told["s_per_item"] = (time.monotonic() - began) / len(prepared)
    told["activations_bytes_per_item"] = held.bytes // len(prepared)
    told["trainable"] = tuned.counts[0]
    told["parameters"] = tuned.counts[1]
    return told


def _memory(towers: list[dict[str, Any]]) -> float:
    """Gigabytes of weights, gradients, moments and the activations of a batch of 32."""
    total = 0.0
    for tower in towers:
        total += _WEIGHT * tower["parameters"] + _LEARNING * tower["trainable"]
        total += 32 * tower.get("activations_bytes_per_item", 0)
    return total / 1e9


class _Held:
    """Counts the bytes that a forward pass keeps for its gradients."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.bytes = 0

    def keep(self, tensor: Any) -> Any:
        """Count a tensor's storage once; weights are counted elsewhere."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.seen and not isinstance(tensor, torch.nn.Parameter):
            self.seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor

    def give(self, tensor: Any) -> Any:
        return tensor


def _shown(encoder: Any, prepared: Any) -> Any:
    """A prepared part in words: tokens, the size of a picture, frames of sound."""
    data = prepared.data
    tokenizer = getattr(encoder, "tokenizer", None)
    if tokenizer is not None and hasattr(data, "ids"):
        words = [tokenizer.core.id_to_token(int(one)) for one in data.ids]
        return {"tokens": " ".join(str(word) for word in words), "cut": prepared.truncated}
    shape = getattr(data, "shape", None)
    if shape is not None:
        return {"shape": list(shape), "type": str(data.dtype)}
    return {"length": prepared.length}
