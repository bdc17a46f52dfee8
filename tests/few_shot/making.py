"""Small stores for the few-shot tests: classes around known centres, with and without names."""

from pathlib import Path
from typing import Any

import numpy as np

from mmcli.data.splits import SplitOptions
from mmcli.workflows.finetune.config import FinetuneConfig
from tests.evaluate.small_stores import unit, write_store

CLASSES = ("apple", "boat", "cat", "drum")


def clouds(
    per_class: int, dim: int = 12, spread: float = 1.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors `(rows, dim)` of unit length, classes, and the centres they lie around."""
    centres = unit(len(CLASSES), dim, seed)
    labels = np.tile(np.arange(len(CLASSES)), per_class)
    noise = np.random.default_rng(seed + 1).standard_normal((len(labels), dim)) * spread / dim**0.5
    vectors = centres[labels] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels, centres


def cloud_store(path: Path, per_class: int = 40, **options: Any) -> Path:
    """A store with `image`, `image:wide` (of another space) and the label `kind`."""
    vectors, labels, _ = clouds(per_class)
    wide = np.concatenate([vectors, 0.3 * unit(len(vectors), 20, 7)], axis=1)
    columns = {"kind": [CLASSES[i] for i in labels], **options.pop("columns", {})}
    given = {"image": vectors, "image:wide": wide.astype(np.float32)}
    spaces = {"image": "made@111111111111", "image:wide": "made@222222222222"}
    return write_store(path, given, columns, spaces=spaces, **options)


def told(data: Path, output: Path, **options: Any) -> FinetuneConfig:
    """A run on the CPU, three draws unless said."""
    settings: dict[str, Any] = {
        "label": "kind",
        "shots": (1, 4, 16),
        "draws": 3,
        "device": "cpu",
        "precision": "fp32",
        "splits": SplitOptions(),
        **options,
    }
    return FinetuneConfig("classification", str(data), str(output), **settings)
