"""Aligners of towers chosen by a test, written the way trained ones are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.align.aligner import KIND, flattened
from mmcli.align.tower import Branch, Tower
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.bindings import binding
from mmcli.store.reader import Store
from mmcli.store.tensors import save_tensors


def write_towers(
    path: Path,
    store: Path,
    towers: Mapping[str, Tower],
    bound: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """An aligner of these towers, bound to a store's keys; `bound` changes what is kept of one."""
    entries = Store.open(store).keys
    keys = {key: binding(entries[key]) for tower in towers.values() for key in tower.keys}
    for key, other in (bound or {}).items():
        keys[key] |= other
    config = {
        "method": "linear",
        "between": list(towers),
        "keys": keys,
        "directions": {"both": {name: tower.to_json() for name, tower in towers.items()}},
    }
    with ArtifactWriter(path, KIND, {}, "f", force=True) as writer:
        save_tensors(writer.file("model", ".safetensors"), flattened({"both": towers}), {})
        writer.write("config", ".json", json.dumps(config))
        manifest = {
            "model": writer.name("model", ".safetensors"),
            "config": writer.name("config", ".json"),
            "space": "linear@0123456789ab",
            "weights_sha256": "0123456789ab" + "0" * 52,
            "versions": {"mmcli": "0"},
        }
        writer.commit(manifest)
    return path


def linear(dims: Mapping[str, int], out: int, seed: int) -> Tower:
    """A sum of a random linear map of every key."""
    draw = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for number, dim in enumerate(dims.values()):
        weight = draw.standard_normal((dim, out)) / np.sqrt(dim)
        arrays[f"{number}.weight0"] = weight.astype(np.float32)
        arrays[f"{number}.bias0"] = (0.1 * draw.standard_normal(out)).astype(np.float32)
    branches = [Branch((key,), "linear", ("sqrt", "unit"), layers=1) for key in dims]
    return Tower(tuple(branches), out, arrays=arrays)


def every_body(key: str, dim: int) -> Tower:
    """One branch of every kind of body, as wide as the key."""
    draw = np.random.default_rng(7)

    def array(*shape: int) -> Any:
        return (draw.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

    branches = (
        Branch((key,), "identity", weight=0.5),
        Branch((key,), "linear", ("unit",), standardized=True, unit_output=True, layers=1),
        Branch((key,), "mlp", ("sqrt",), weight=0.7, layers=2),
        Branch((key,), "kernel", unit_output=True, gamma=0.8),
    )
    arrays = {
        "1.mean": 0.01 * array(dim),
        "1.scale": np.full(dim, 0.4, np.float32),
        "1.weight0": array(dim, dim),
        "1.bias0": array(dim),
        "2.weight0": array(dim, 96),
        "2.bias0": array(96),
        "2.weight1": array(96, dim),
        "2.bias1": array(dim),
        "3.landmarks": array(20, dim),
        "3.weight0": array(20, dim),
        "3.bias0": array(dim),
    }
    return Tower(branches, dim, arrays=arrays)
