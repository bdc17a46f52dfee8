"""A tower of a finished model as an encoder: the base encoder, and what tuning changed of it.

`model:DIR` names the first tower of a modality, `model:DIR#KEY` another one. A tower that did not
learn is its base encoder, as it is; one of a model of pairs has a projection head on one or several
of them. Knows nothing about training.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput, MissingResource
from mmcli.core.registry import suggestion
from mmcli.core.types import Encoder, EncoderCard
from mmcli.encoders.registry import load as load_encoder
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch
from mmcli.store.hashes import check_files
from mmcli.store.manifest import file_path, file_record, read_manifest
from mmcli.store.tensors import load_tensors
from mmcli.tuning.strategy import StrategyOptions, restore

KIND = "mmcli.model"


def load(resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement) -> Encoder:
    """The encoder of a tower. Raises BadInput for a model without such a tower."""
    folder = Path(resolved.location)
    manifest = read_manifest(folder, KIND)
    check_files(folder, manifest, mode="once")
    tower = find_tower(folder, manifest, resolved)
    if not tower.get("projection"):
        return _changed(folder, tower, tower["reference"], resolved.modality, options, placement)
    from mmcli.tasks.pairs_encoder import projected

    plain = replace(
        options,
        dim=None,  # of what the head gives
        max_length=options.max_length or tower.get("max_length"),
        prompt=options.prompt or str(tower.get("prompt") or ""),
    )
    encoders = {}
    for reads in tower["reads"]:
        one = {**tower, "file": tower["file"] if reads["tuned"] else "", **reads}
        encoders[reads["key"]] = _changed(
            folder, one, reads["reference"], resolved.modality, plain, placement
        )
        plain = replace(plain, layers=(), sequence=False)  # those are the first encoder's
    return projected(encoders, tower, file_path(folder, tower["projection"]), options)


def _changed(
    folder: Path,
    tower: dict[str, Any],
    reference: str,
    modality: str,
    options: EncoderOptions,
    placement: Placement,
) -> Encoder:
    """A base encoder with what tuning changed of it. Raises BadInput where it is another one."""
    if not tower.get("file"):
        encoder = load_encoder(reference, modality, options, placement)
        _check_base(folder, tower, reference, encoder)
        return encoder
    # weights are changed in fp32; bf16 layers would be packed already
    plain = Placement(placement.device, "float32")
    encoder = load_encoder(reference, modality, options, plain)
    _check_base(folder, tower, reference, encoder)
    file = file_path(folder, tower["file"])
    apply_tower(encoder, tower, file)
    card = tuned_card(encoder.card, str(file_record(file)["sha256"]))
    encoder.card = card
    encoder.trunk_key = (card.weights_sha256, placement, encoder.trunk_key)
    _in_low_precision(encoder, placement)
    return encoder


def _check_base(folder: Path, tower: dict[str, Any], reference: str, encoder: Encoder) -> None:
    wanted = tower.get("base_sha256")
    if wanted and wanted != encoder.card.weights_sha256:
        raise BadInput(
            f"`{folder}`: the weights of `{reference}` are not those it was tuned from",
            "install the same base weights, or tune again",
        )


def apply_tower(encoder: Any, tower: dict[str, Any], file: Path, merge: bool = True) -> Any:
    """Put what tuning changed into a base encoder, in place; what the strategy made of it.

    merge: adapters are written into the weights where they can be.
    """
    torch = load_torch()
    state = {n: torch.from_numpy(np.array(v)) for n, v in load_tensors(file).items()}
    options = StrategyOptions(**tower["tune"])
    tuned = restore(encoder.network, tower["strategy"], options, state)
    if merge and tuned.mergeable:
        tuned.merge()
    encoder.network.requires_grad_(False).eval()
    return tuned


def tuned_card(card: EncoderCard, file_sha256: str) -> EncoderCard:
    """The card of a tuned tower: its own weights and space, everything else as the base's."""
    digest = hashlib.sha256(f"{card.weights_sha256} {file_sha256}".encode()).hexdigest()
    base = card.space.partition("@")[0]
    return replace(card, weights_sha256=digest, space=f"{base}-tuned@{digest[:12]}")


def tower_references(path: str) -> dict[str, tuple[str, ...]]:
    """How to ask for every tower of a model, by modality.

    Raises BadInput when the directory is no model, or has none.
    """
    folder = Path(path).expanduser()
    manifest = read_manifest(folder, KIND)
    config = json.loads(file_path(folder, str(manifest["config"])).read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for key, tower in (config.get("towers") or {}).items():
        found.setdefault(tower["modality"], []).append(f"model:{folder.resolve()}#{key}")
    if not found:
        raise BadInput(f"`{path}` has no towers", "give a model that `mmcli finetune` wrote")
    return {modality: tuple(references) for modality, references in found.items()}


def find_tower(folder: Path, manifest: dict[str, Any], resolved: ResolvedEncoder) -> dict[str, Any]:
    """What the model's config says of the tower that is asked for."""
    config = json.loads(file_path(folder, str(manifest["config"])).read_text(encoding="utf-8"))
    towers: dict[str, dict[str, Any]] = config.get("towers") or {}
    mine = {key: tower for key, tower in towers.items() if tower["modality"] == resolved.modality}
    if not mine:
        have = sorted({tower["modality"] for tower in towers.values()})
        raise MissingResource(
            f"`{folder}` has no {resolved.modality} tower",
            f"it has {', '.join(have)}" if have else "give a model that `mmcli finetune` wrote",
        )
    _, hash_, key = resolved.reference.partition("#")
    if not hash_:
        return next(iter(mine.values()))
    if key not in mine:
        raise MissingResource(f"`{folder}` has no tower `{key}`", suggestion(key, mine))
    return mine[key]


def _in_low_precision(encoder: Any, placement: Placement) -> None:
    """Run the trunk in the placement's type, the weights staying in fp32, as in tuning."""
    if placement.dtype == "float32" or getattr(encoder, "exact", False):
        return
    torch = load_torch()
    trunk = encoder.trunk

    def run(batch: Any) -> Any:
        with torch.autocast(placement.device.partition(":")[0], getattr(torch, placement.dtype)):
            return trunk(batch)

    encoder.trunk = run
