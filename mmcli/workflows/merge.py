"""`merge`: a tuned tower as a folder that transformers or peft load. Prints nothing."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.encoders.registry import load, resolve
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.store.manifest import file_path, read_manifest
from mmcli.tasks.tuned_encoder import KIND, apply_tower
from mmcli.tuning.registry import STRATEGIES
from mmcli.workflows.output_files import clear_folder, local_folder, refuse_folder

#: Files of a model folder that are neither weights nor written by `save_pretrained`.
_BESIDE = ("tokenizer*", "vocab*", "merges*", "special_tokens*", "preprocessor_config.json",
           "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
           "[0-9]_*")  # fmt: skip


@dataclass(frozen=True)
class MergeConfig:
    """What `mmcli merge` can be told. tower: a key, "" for the only one. adapter: a PEFT folder
    instead of merged weights."""

    model: str
    output: str
    tower: str = ""
    adapter: bool = False
    force: bool = False


def merge(config: MergeConfig) -> dict[str, Any]:
    """Write a tower out and report what it is.

    Raises BadInput for a model without tuned towers, UsageError for a tower or a form that it does
    not have.
    """
    folder, output = Path(config.model), Path(config.output)
    manifest = read_manifest(folder, KIND)
    told = json.loads(file_path(folder, str(manifest["config"])).read_text(encoding="utf-8"))
    if told.get("kind") == "generative":
        from mmcli.workflows.finetune.generative.merge import merge_generative

        return merge_generative(
            config.model, config.output, adapter=config.adapter, force=config.force
        )
    towers: dict[str, dict[str, Any]] = told.get("towers") or {}
    if not towers:
        raise BadInput(
            f"`{folder}` has no tuned towers", "`--strategy lora` of finetune makes some"
        )
    if not config.tower and len(towers) > 1:
        raise UsageError(
            f"`{folder}` has {len(towers)} towers", "choose with `--tower`: " + ", ".join(towers)
        )
    key = config.tower or next(iter(towers))
    if key not in towers:
        raise UsageError(f"`{folder}` has no tower `{key}`", suggestion(key, towers))
    tower = towers[key]
    refuse_folder(output, [folder, *local_folder(tower["reference"])], config.force)
    if not tower.get("file"):
        raise BadInput(
            f"tower `{key}` of `{folder}` did not learn", f"it is `{tower['reference']}` as it is"
        )
    if config.adapter and not STRATEGIES.get(tower["strategy"]).peft:
        raise UsageError(
            f"tower `{key}` was tuned by {tower['strategy']}, which peft has no folder for",
            "leave out `--adapter`",
        )
    encoder: Any = load(
        tower["reference"], tower["modality"], EncoderOptions(), Placement("cpu", "float32")
    )
    file = file_path(folder, tower["file"])
    clear_folder(output)
    if config.adapter:
        tuned = apply_tower(encoder, tower, file, merge=False)
        tuned.save_peft(output, tower["reference"])
    else:
        apply_tower(encoder, tower, file)
        _write(encoder, tower, output)
    return {
        "folder": str(output),
        "tower": key,
        "strategy": tower["strategy"],
        "base": tower["reference"],
        "form": "peft adapter" if config.adapter else "merged weights",
    }


def _write(encoder: Any, tower: dict[str, Any], output: Path) -> None:
    """A transformers folder where the network is one of its models, else plain weights."""
    network = encoder.network
    output.mkdir(parents=True, exist_ok=True)
    if hasattr(network, "save_pretrained"):
        network.save_pretrained(output)
        base = _folder_of(encoder, tower)
        for pattern in _BESIDE if base is not None else ():
            for path in sorted(base.glob(pattern)):
                if path.is_dir():
                    shutil.copytree(path, output / path.name, dirs_exist_ok=True)
                elif path.suffix != ".safetensors":
                    shutil.copy2(path, output / path.name)
        return
    from safetensors.torch import save_file

    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, output / "model.safetensors", {"base": tower["reference"]})


def _folder_of(encoder: Any, tower: dict[str, Any]) -> Path | None:
    """Where the base model's folder lies, for what stands beside its weights."""
    resolved = resolve(tower["reference"], tower["modality"])
    if resolved.scheme == "local":
        return Path(resolved.location)
    place = getattr(getattr(encoder, "tokenizer", None), "folder", None)
    return None if place is None else Path(place)
