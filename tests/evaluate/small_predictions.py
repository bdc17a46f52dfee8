"""Predictions directories for the tests, as another program may write them: a table, a manifest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.store.manifest import file_record, write_manifest
from mmcli.workflows.evaluate.predictions import PredictionsConfig, evaluate_predictions

NAMES = ("ant", "bee", "cow")


def write_predictions(
    path: Path, columns: dict[str, Any], *, ours: bool = False, **manifest: Any
) -> Path:
    """A directory of these columns; ids are `r000` … unless given.

    ours: with hashes and sorted keys, as mmcli writes it; else the bare minimum and `manifest`.
    """
    path.mkdir(parents=True, exist_ok=True)
    rows = len(next(iter(columns.values())))
    table = pa.table({"id": [f"r{n:03d}" for n in range(rows)], **columns})
    pq.write_table(table, path / "items.parquet")
    content = {"format": "mmcli.predictions/1", **manifest}
    if ours:
        files = {"items.parquet": file_record(path / "items.parquet")}
        write_manifest(path, {**content, "files": files, "versions": {"mmcli": "0"}})
    else:
        (path / "manifest.json").write_text(json.dumps(content), "utf-8")
    return path


def guesses(
    rows: int, classes: tuple[str, ...], seed: int = 0, skill: float = 1.5
) -> dict[str, Any]:
    """Labels, predictions and probabilities; without skill a model that knows nothing.

    One normal score a class, of the true one `skill` more: softmax(skill * scores) is then right,
    and the probabilities are twice as sure as that.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(classes), rows)
    scores = rng.normal(0, 1, (rows, len(classes)))
    scores[np.arange(rows), truth] += skill
    shares = np.exp(2 * (skill or 1.0) * scores)
    shares /= shares.sum(axis=1, keepdims=True)
    return {
        "label": [classes[i] for i in truth],
        "prediction": [classes[i] for i in shares.argmax(axis=1)],
        **{f"probability_{c}": shares[:, i] for i, c in enumerate(classes)},
    }


def score(path: Path, **options: Any) -> dict[str, Any]:
    """The report on a directory, with few resamples."""
    return evaluate_predictions(PredictionsConfig(str(path), **{"bootstrap": 50, **options}))


def values(found: dict[str, Any]) -> dict[str, float]:
    """The value of each measure of a report."""
    return {name: entry["value"] for name, entry in found["measures"].items()}


def classes_of(names: tuple[str, ...]) -> dict[str, Any]:
    """What a manifest says of predictions of these classes."""
    return {"task": "classification", "classes": {c: f"probability_{c}" for c in names}}


def three_classes(path: Path) -> Path:
    """300 guesses at three classes, as mmcli writes them."""
    return write_predictions(path, guesses(300, NAMES), ours=True, **classes_of(NAMES))
