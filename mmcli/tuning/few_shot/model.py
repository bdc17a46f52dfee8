"""A few-shot model on the disk: opened, checked, applied to vectors.

Knows the files of a model and the rungs; nothing about stores' keys or how shots were drawn.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput
from mmcli.metrics.calibration import fit_temperature
from mmcli.metrics.classification import Floats, Labels
from mmcli.store.hashes import check_files
from mmcli.store.manifest import file_path, read_manifest
from mmcli.store.tensors import load_tensors
from mmcli.tuning.few_shot.episode import Array, Fitted, log_softmax
from mmcli.tuning.few_shot.registry import RUNGS, RungSpec

KIND = "mmcli.model"
#: What `config.json` says the model is.
MODEL_KIND = "few-shot"
_AGAIN = "make the model again"


@dataclass(frozen=True)
class FewShotModel:
    """A fitted rung and what it reads; config: as in `config.json`."""

    path: Path
    manifest: dict[str, Any]
    config: dict[str, Any]
    spec: RungSpec
    fitted: Fitted

    @classmethod
    def open(cls, path: str | Path, verify: str = "once") -> "FewShotModel":
        """Open a model and check its files.

        Raises BadInput when it is missing, unfinished, damaged, newer, or of another kind.
        """
        path = Path(path)
        manifest = read_manifest(path, KIND)
        check_files(path, manifest, mode=verify)
        file = file_path(path, str(manifest.get("config", "config.json")))
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
            kind = config.get("kind")
        except (OSError, ValueError, AttributeError) as error:
            raise BadInput(f"`{file}` cannot be read", _AGAIN) from error
        if kind != MODEL_KIND:
            raise BadInput(
                f"`{path}` is a model of kind `{kind}`, not a few-shot model",
                "give one that `finetune --shots` wrote",
            )
        try:
            spec = RUNGS.get(config["rung"])
            arrays = load_tensors(file_path(path, manifest["model"]))
            fitted = Fitted(arrays, {n: float(v) for n, v in config["settings"].items()})
            model = cls(path, manifest, config, spec, fitted)
            model._check_shapes()
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"`{path}`: its config does not describe its weights ({error})", _AGAIN
            ) from error
        return model

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return tuple(self.config["label"]["classes"])

    def probabilities(self, features: Array, shared: Array | None) -> Floats:
        """`(rows, classes)` of unit vectors `(rows, dim)` and, for names, `(rows, text_dim)`."""
        logits = self.spec.load("logits")(self.fitted, features, shared)
        found: Floats = np.exp(log_softmax(logits / float(self.config["temperature"])))
        return found

    def unknown(self) -> Floats:
        """`(classes,)` what is said of a row that has no vector: the shares of the train rows."""
        return np.asarray(self.config["shares"], np.float64)

    def _check_shapes(self) -> None:
        dim, text_dim = int(self.config["dim"]), int(self.config["text_dim"])
        shared = np.zeros((1, text_dim), np.float32) if text_dim else None
        found = self.probabilities(np.zeros((1, dim), np.float32), shared)
        if found.shape != (1, len(self.classes)) or self.unknown().shape != (len(self.classes),):
            raise ValueError(f"{found.shape[1]} columns for {len(self.classes)} classes")


def temperature_of(logits: Floats, truth: Labels) -> float:
    """What logits `(rows, classes)` are divided by so that probabilities come true on these rows.

    Source: Guo et al. 2017, arXiv 1706.04599. 1 where there are no rows.
    """
    if not len(truth):
        return 1.0
    spread = float(logits.std()) or 1.0  # a cache's logits run to thousands
    return spread * fit_temperature(np.exp(log_softmax(logits / spread)), truth)
