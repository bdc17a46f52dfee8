"""A pair scorer of drawn weights, written the way a trained one is."""

import json
from pathlib import Path

import numpy as np
import torch

from mmcli.align.aligner import KIND
from mmcli.align.pair_model import PairModel, PairShape, Side
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.bindings import binding
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from mmcli.store.tensors import save_tensors


def write_scorer(path: Path, store: Path, keys: dict[str, str], seed: int = 0) -> Path:
    """A model over the sequences of two keys, by modality; its head is drawn too, so it matters."""
    opened = Store.open(store)
    sides = []
    for modality, key in keys.items():
        (first,) = MappedSequences(opened, key).take([0])
        sides.append(Side(modality, key, first.shape[1], 64))
    torch.manual_seed(seed)
    model = PairModel(PairShape((sides[0], sides[1]), width=32, dim=16, layers=1, heads=2))
    for head in model.heads:
        torch.nn.init.normal_(head.weight)
    arrays = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    config = {
        "method": "cross-attention",
        "scores": "pairs",
        "between": list(keys),
        "keys": {key: binding(opened.keys[key]) for key in keys.values()},
        "directions": {},
        "model": model.shape.to_json(),
    }
    with ArtifactWriter(path, KIND, {}, "f", force=True) as writer:
        named = {name: np.array(array, np.float32) for name, array in arrays.items()}
        save_tensors(writer.file("model", ".safetensors"), named, {})
        writer.write("config", ".json", json.dumps(config))
        manifest = {
            "model": writer.name("model", ".safetensors"),
            "config": writer.name("config", ".json"),
            "space": None,
            "versions": {"mmcli": "0"},
        }
        writer.commit(manifest)
    return path
