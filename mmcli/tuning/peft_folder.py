"""An adapter as a folder of the library peft: `adapter_config.json`, `adapter_model.safetensors`.

Knows nothing about how adapters are made.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from mmcli.tuning.change import PeftPlan
from mmcli.tuning.layers import Layer, plain_name
from mmcli.tuning.peft_strategies import peft_config

_PREFIX = "base_model.model."


def write(
    folder: Path, network: nn.Module, plan: PeftPlan, layers: Sequence[Layer], base_name: str
) -> None:
    """Write both files; equal adapters give equal bytes.

    Where the network is a list, its first member is the base that peft is to load it on.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    start = "0." if type(network) is nn.ModuleList else ""

    def name_on_disk(name: str) -> str:
        return plain_name(name, layers).removeprefix(start)

    found = get_peft_model_state_dict(network, save_embedding_layers=False)
    tensors = {
        _PREFIX + name_on_disk(name): value.detach().cpu().contiguous()
        for name, value in sorted(found.items())
    }
    settings = {
        key: [name_on_disk(name) for name in value] if isinstance(value, list) else value
        for key, value in plan.settings.items()
    }
    plan = replace(plan, targets=tuple(map(name_on_disk, plan.targets)), settings=settings)
    base = network.get_submodule("0") if start else network
    config = peft_config(plan)
    config.inference_mode = True
    config.base_model_name_or_path = base_name
    config.auto_mapping = {
        "base_model_class": type(base).__name__,
        "parent_library": type(base).__module__,
    }
    told = {key: _plain(value) for key, value in config.to_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=2, sort_keys=True)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _plain(value: Any) -> Any:
    """Sets as sorted lists, enumerations as their values."""
    if isinstance(value, set):
        return sorted(value)
    return getattr(value, "value", value)
