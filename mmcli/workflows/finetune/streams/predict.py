"""`predict` with a model of recordings: what happens when, as a predictions directory.

`events.parquet` has every segment with its score, `items.parquet` a row a recording: which classes
were found, and where they are known its true events. Prints nothing.
"""

from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.splits import SplitOptions
from mmcli.data.streams.recordings import Recordings, read_recordings
from mmcli.engine.device import place, probe
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.bindings import compare_binding
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.parquet import write_table
from mmcli.tasks.streams_decode import decode_all, kept
from mmcli.tasks.streams_tracks import AbsentTrack, Track
from mmcli.workflows.finetune.streams.data import Rows, opened, splits_of
from mmcli.workflows.finetune.streams.features import (
    FeatureConfig,
    StreamFeatures,
    stream_features,
)
from mmcli.workflows.finetune.streams.files import StreamModel, open_stream_model
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.predict.raw import RawPredict, raw_options
from mmcli.workflows.predict.run import PredictConfig
from mmcli.workflows.predictions.files import KIND

EVENT = pa.struct([("class", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64())])
#: Recordings that pass through the network before progress is told.
_BLOCK = 64


def predict(
    config: PredictConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    message: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """What `mmcli predict` does with a model of recordings; its `store` is a source."""
    return predict_streams(RawPredict(**raw_options(config)), Listeners(message, progress))


def predict_streams(config: RawPredict, listeners: Listeners | None = None) -> dict[str, Any]:
    """Write predictions and report how many.

    Raises SpaceMismatch where an encoder is no longer the one that the model was trained on,
    BadInput for a source that has nothing the model reads.
    """
    listeners = listeners or Listeners()
    model = open_stream_model(config.model, config.verify)
    check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    column = config.label or model.config["label"]
    with opened(config.data, config.root, config.mapping) as source:
        encoders = _encoders(model, config, source.modalities)
        recordings = read_recordings(source, config.data, column, labelled=bool(config.label))
        fingerprint = source.fingerprint
        rows = _rows(model, config, source)
    report: dict[str, Any] = {
        "predictions": config.output,
        "model": config.model,
        "data": config.data,
        "task": "event",
        "rows": len(rows),
        "labelled": sum(recordings.rows[row].events is not None for row in rows.tolist()),
        "unreadable": sum(row in recordings.unreadable for row in rows.tolist()),
        "absent": [name for name in model.encoders if name not in encoders],
    }
    if config.dry_run:
        return {"dry_run": True, **report}
    model_sha = file_record(model.path / MANIFEST)["sha256"]
    options = {"model": model_sha, "split": config.split, "without": list(config.without)}
    with ArtifactWriter(
        config.output, KIND, options, fingerprint, force=config.force, resume=config.resume
    ) as writer:
        wanted = FeatureConfig(
            encoders=encoders,
            rate_hz=model.rate_hz,
            workers=config.workers,
            device=config.device,
            precision=config.precision,
            verify=config.verify,
        )
        features = stream_features(
            wanted, recordings, rows.tolist(), writer.checkpoint / "features", listeners
        )
        _check_bindings(model, features)
        said = _said(model, recordings, features, rows, config.device, listeners)
        write_table(writer.file("events", ".parquet"), _events_table(model, recordings, rows, said))
        write_table(writer.file("items", ".parquet"), _items_table(model, recordings, rows, said))
        writer.commit(
            {
                # which classes occur is a set of labels; the segments say when
                "task": "multilabel",
                "rows": len(rows),
                "label": column,
                "classes": list(model.classes),
                "items": writer.name("items", ".parquet"),
                "segments": {
                    "file": writer.name("events", ".parquet"),
                    "keep": {
                        name: rule.keep
                        for name, rule in zip(model.classes, model.rules, strict=True)
                    },
                },
                "source": {"path": config.data, "fingerprint": fingerprint},
                "model": {"path": str(model.path.resolve()), "manifest_sha256": model_sha},
                "split": config.split,
                "without": list(config.without),
                "versions": {"mmcli": version("mmcli")},
            }
        )
    report["segments"] = len(said)
    report["found"] = len(kept(said, [rule.keep for rule in model.rules]))
    report["warnings"] = [*recordings.lines(rows.tolist()), *features.lines]
    return report


def _encoders(
    model: StreamModel, config: RawPredict, there: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    for name in config.without:
        if name not in model.encoders:
            raise UsageError(
                f"`--without {name}`: `{model.path}` does not read it",
                suggestion(name, model.encoders),
            )
    found = {
        name: references
        for name, references in model.encoders.items()
        if name in there and name not in config.without
    }
    if not found:
        raise BadInput(
            f"`{config.data}` has nothing of what `{model.path}` reads",
            "it reads " + " and ".join(model.encoders),
        )
    return found


def _rows(model: StreamModel, config: RawPredict, source: Any) -> Rows:
    """All rows, or those of a split: of the table it was trained on, the model's own splits."""
    if not config.split:
        return np.arange(source.n_items, dtype=np.int64)
    options = config.splits
    if source.fingerprint == model.config["source"]["fingerprint"]:
        options = SplitOptions(**model.config["splits"])
    splits = splits_of(source, config.data, options)
    return splits.asked_rows(config.split, config.data)


def _check_bindings(model: StreamModel, features: StreamFeatures) -> None:
    for name, store in features.stores.items():
        for key, bound in model.bindings[name].items():
            compare_binding(bound, store.keys[key], key, model.path, store)


def _said(
    model: StreamModel,
    recordings: Recordings,
    features: StreamFeatures,
    rows: Rows,
    device: str,
    listeners: Listeners,
) -> Any:
    """The segments of the rows; their recordings are numbers into `rows`."""
    from mmcli.tasks.streams import StreamData, probabilities

    placement = place(device, "fp32", probe())
    network = model.network.to(placement.device)
    tracks: dict[str, Track] = {
        name: features.tracks.get(name) or AbsentTrack(dim) for name, dim in network.blueprint.dims
    }
    data = StreamData(recordings.rows, model.classes, tracks, model.rate_hz)
    shares: list[Any] = []
    for at in range(0, len(rows), _BLOCK):
        part = rows[at : at + _BLOCK].tolist()
        shares += probabilities(network, data, part, placement.device)
        listeners.progress(at + len(part), len(rows))
    durations = [data.duration_s(row) for row in rows.tolist()]
    return decode_all(shares, model.rules, model.rate_hz, durations)


def _events_table(model: StreamModel, recordings: Recordings, rows: Rows, said: Any) -> pa.Table:
    ids = [recordings.rows[row].id for row in rows.tolist()]
    order = np.lexsort((said.start_s, said.recording))
    return pa.table(
        {
            "id": pa.array([ids[i] for i in said.recording[order].tolist()], pa.string()),
            "class": pa.array([model.classes[k] for k in said.label[order].tolist()], pa.string()),
            "start_s": pa.array(said.start_s[order], pa.float64()),
            "end_s": pa.array(said.end_s[order], pa.float64()),
            "score": pa.array(said.score[order], pa.float64()),
        }
    )


def _items_table(model: StreamModel, recordings: Recordings, rows: Rows, said: Any) -> pa.Table:
    found = kept(said, [rule.keep for rule in model.rules])
    there: list[set[int]] = [set() for _ in rows]
    for recording, label in zip(found.recording.tolist(), found.label.tolist(), strict=True):
        there[recording].add(label)
    columns: dict[str, list[Any]] = {n: [] for n in ("id", "label", "prediction", "duration_s")}
    truth: list[Any] = []
    for i, row in enumerate(rows.tolist()):
        one = recordings.rows[row]
        known = one.events is not None
        columns["id"].append(one.id)
        columns["label"].append(sorted({e.label for e in one.events or ()}) if known else None)
        answered = one.duration_s > 0
        columns["prediction"].append(
            [model.classes[k] for k in sorted(there[i])] if answered else None
        )
        columns["duration_s"].append(one.duration_s)
        truth.append(
            [{"class": e.label, "start_s": e.start_s, "end_s": e.end_s} for e in one.events or ()]
            if known
            else None
        )
    texts = pa.list_(pa.string())
    return pa.table(
        {
            "id": pa.array(columns["id"], pa.string()),
            "label": pa.array(columns["label"], texts),
            "prediction": pa.array(columns["prediction"], texts),
            "duration_s": pa.array(columns["duration_s"], pa.float64()),
            "events": pa.array(truth, pa.list_(EVENT)),
        }
    )
