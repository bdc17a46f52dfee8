"""The predictions of an evaluation as a directory: `mmcli.predictions/1`."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.atomic import atomic_file
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.store.slugs import slug_of

if TYPE_CHECKING:
    from mmcli.workflows.evaluate.zeroshot import Predicted, ZeroshotConfig

KIND = "mmcli.predictions"
_ROWS = 8192


def check_predictions(path: Path, force: bool) -> None:
    """Raise BadInput unless predictions may be written there."""
    check_artifact_output(path, KIND, force, resume=False)


def write_predictions(
    path: Path,
    store: Store,
    found: "Predicted",
    config: "ZeroshotConfig",
    report: dict[str, object],
) -> None:
    """Write id, label, prediction and the probability of each class, of every row with a vector.

    Probabilities are the softmax of the scaled cosines. The manifest maps classes to columns.
    """
    columns = {label: f"probability_{slug_of(label)}" for label in found.labels}
    options = {"label": config.label, "prompts": list(config.prompts), "scale": config.scale}
    origin = file_record(Path(config.store) / MANIFEST)["sha256"]
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "label", "prediction")]
        + [(name, pa.float32()) for name in columns.values()]
    )
    write_prediction_table(
        path,
        schema,
        _blocks(store, found, config.scale),
        {
            "task": "classification",
            "rows": len(found.truth),
            "label": config.label,
            "classes": columns,
            "order": list(found.labels),
            "options": options,
            "store": {"path": str(Path(config.store).resolve()), "manifest_sha256": origin},
            "space": report["space"],
            "text_encoder": report["text_encoder"],
            "aligner": config.aligner,
            "split": report["split"],
        },
        options=options,
        origin=origin,
        force=config.force,
    )


def write_prediction_table(
    path: Path,
    schema: pa.Schema,
    blocks: Iterable[list[Any]],
    manifest: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
    origin: str,
    force: bool,
) -> None:
    """Write a predictions directory, a block of columns at a time, and commit it.

    origin: fingerprint of what was predicted from. Raises BadInput unless it may be written.
    """
    with ArtifactWriter(path, KIND, options, origin, force=force) as writer:
        with (
            atomic_file(writer.file("items", ".parquet")) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd") as table,
        ):
            for block in blocks:
                table.write_table(pa.table(block, schema=schema))
        writer.commit(
            {
                **manifest,
                "items": writer.name("items", ".parquet"),
                "versions": {"mmcli": version("mmcli")},
            }
        )


def write_store_predictions(
    path: Path,
    schema: pa.Schema,
    blocks: Iterable[list[Any]],
    manifest: Mapping[str, Any],
    *,
    store: Store,
    model: Path,
    options: Mapping[str, Any],
    force: bool,
) -> None:
    """As `write_prediction_table`, of a store's rows by a model: both are named with their hashes.

    options: what else than the model decides what is predicted.
    """
    store_sha = file_record(store.path / MANIFEST)["sha256"]
    model_sha = file_record(model / MANIFEST)["sha256"]
    origins = {
        "store": {"path": str(store.path.resolve()), "manifest_sha256": store_sha},
        "model": {"path": str(model.resolve()), "manifest_sha256": model_sha},
    }
    write_prediction_table(
        path,
        schema,
        blocks,
        {**manifest, **origins, **options},
        options={"model": model_sha, **options},
        origin=store_sha,
        force=force,
    )


def _blocks(store: Store, found: "Predicted", scale: float) -> Iterator[list[pa.Array]]:
    ids, labels = store.ids(), [*found.labels, None]
    for at in range(0, len(found.truth), _ROWS):
        block = slice(at, at + _ROWS)
        logits = scale * (found.side.vectors[block] @ found.classes.T).astype(np.float64)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        yield [
            pa.array([ids[row] for row in found.side.rows[block]]),
            pa.array([labels[number] for number in found.truth[block]], pa.string()),
            pa.array([labels[number] for number in found.predicted[block]], pa.string()),
            *(pa.array(shares[:, i]) for i in range(shares.shape[1])),
        ]
