"""An aligner of two chosen matrices, written the way a trained one is."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.align.aligner import KIND, flattened
from mmcli.align.tower import Branch, Tower
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.bindings import binding
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.store.tensors import save_tensors


def write_aligner(
    path: Path, store: Path, maps: dict[str, np.ndarray], splits: dict[str, Any] | None = None
) -> Path:
    """An aligner that multiplies the key of each modality by its matrix.

    splits: those it says it was trained with, on that store.
    """
    towers = {
        modality: Tower(
            (Branch((modality,), "linear", layers=1),),
            matrix.shape[1],
            arrays={"0.weight0": matrix.astype(np.float32),
                    "0.bias0": np.zeros(matrix.shape[1], np.float32)},
        )
        for modality, matrix in maps.items()
    }  # fmt: skip
    keys = {modality: binding(Store.open(store).keys[modality]) for modality in maps}
    config = {
        "method": "linear",
        "between": list(maps),
        "keys": keys,
        "run": {"splits": splits or {}},
        "directions": {"both": {name: tower.to_json() for name, tower in towers.items()}},
    }
    with ArtifactWriter(path, KIND, {}, "f") as writer:
        save_tensors(writer.file("model", ".safetensors"), flattened({"both": towers}), {})
        writer.write("config", ".json", json.dumps(config))
        writer.commit(
            {
                "model": writer.name("model", ".safetensors"),
                "config": writer.name("config", ".json"),
                "space": "aligned@0123456789ab",
                "store": {"manifest_sha256": file_record(store / MANIFEST)["sha256"]},
                "versions": {"mmcli": "0"},
            }
        )
    return path
