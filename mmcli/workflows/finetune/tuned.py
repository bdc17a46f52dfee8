"""What tuning gives: towers with the tensors that changed, the fusion, what is said of the rows.

Knows how a tower is written down; nothing about how it was trained.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmcli.core.types import Encoder
from mmcli.fusion.inputs import Inputs
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.manifest import file_record
from mmcli.store.slugs import slug_of
from mmcli.store.tensors import save_tensors
from mmcli.tasks.tuned_encoder import tuned_card
from mmcli.tuning.strategy import StrategyOptions


@dataclass(frozen=True)
class TunedTower:
    """One tower that learned: its base, its strategy, the tensors that changed."""

    key: str
    encoder: Encoder
    reference: str
    strategy: str
    options: StrategyOptions
    trainable: int
    total: int
    base_sha256: str
    state: Mapping[str, Any]


@dataclass
class Tuned:
    """What the second stage gives.

    val, test: probabilities or values `(seeds, rows, …)`. inputs: what the kept towers say of the
    validation and the judged rows. told: what the report says.
    """

    name: str
    val: Any
    test: Any
    parameters: int
    kept_seed: int
    fusion: Any
    inputs: Inputs
    towers: list[TunedTower]
    history: list[dict[str, Any]]
    told: dict[str, Any]

    def write(self, writer: ArtifactWriter) -> dict[str, Any]:
        """Write each tower's file; what `config.json` says of them, by key."""
        found = {}
        for tower in self.towers:
            file = writer.file(f"tower-{slug_of(tower.key)}", ".safetensors")
            arrays = {n: np.array(v.detach().float().cpu().numpy()) for n, v in tower.state.items()}
            save_tensors(file, arrays, {"strategy": tower.strategy})
            card = tuned_card(tower.encoder.card, str(file_record(file)["sha256"]))
            found[tower.key] = {
                "modality": card.modality,
                "reference": tower.reference,
                "strategy": tower.strategy,
                "tune": asdict(tower.options),
                "file": file.name,
                "base_sha256": tower.base_sha256,
                "weights_sha256": card.weights_sha256,
                "space": card.space,
                "trainable": tower.trainable,
                "parameters": tower.total,
            }
        return found
