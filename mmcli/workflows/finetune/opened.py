"""What the directory of every kind of task model has: a config, and the weights of a network."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.engine.torch_stack import load_torch
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.hashes import check_files
from mmcli.store.manifest import file_path, file_record, read_manifest
from mmcli.store.tensors import load_tensors, save_tensors

MODEL_KIND = "mmcli.model"
AGAIN = "train the model again"
_NETWORK = "network/"


def open_config(
    path: Path, kind: str, what: str, wrote: str, verify: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest and the config of a model of one kind, its files checked; torch is loaded.

    what, wrote: how messages call its kind, and the command that makes one. Raises BadInput when it
    is missing, unfinished, damaged, newer, or another kind of model.
    """
    manifest = read_manifest(path, MODEL_KIND)
    check_files(path, manifest, mode=verify)
    try:
        config = json.loads(file_path(path, manifest["config"]).read_text("utf-8"))
    except (KeyError, ValueError) as error:
        raise BadInput(f"`{path}` has no config that can be read", AGAIN) from error
    if config.get("kind") != kind:
        raise BadInput(
            f"`{path}` is a model of kind `{config.get('kind')}`, not of {what}",
            f"give one that {wrote} wrote",
        )
    load_torch()  # as it should be, before a module of networks imports it
    return manifest, config


def save_network(writer: ArtifactWriter, network: Any, kind: str) -> tuple[str, str]:
    """Write the weights of a torch network; the file's name and sha256."""
    state = network.state_dict()
    arrays = {
        _NETWORK + name: np.array(value.detach().float().cpu().numpy())
        for name, value in state.items()
    }
    file = writer.file("model", ".safetensors")
    save_tensors(file, arrays, {"kind": kind})
    return file.name, str(file_record(file)["sha256"])


def load_network(network: Any, file: Path) -> Any:
    """The network with the weights of a file, for prediction.

    Raises RuntimeError or KeyError when these do not fit it, BadInput when it cannot be read.
    """
    torch = load_torch()
    network.load_state_dict(
        {
            name.removeprefix(_NETWORK): torch.from_numpy(np.array(value))
            for name, value in load_tensors(file).items()
        }
    )
    return network.eval()
