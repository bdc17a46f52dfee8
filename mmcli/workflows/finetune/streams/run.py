"""`finetune --task event` on recordings: timed events from sound and moving pictures.

Features of every moment are computed once by frozen encoders; small networks learn from both
senses and from each alone, under the same budget; thresholds are chosen on val, scores are of test.
Prints nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmcli.engine.torch_stack import load_torch
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.opened import MODEL_KIND
from mmcli.workflows.finetune.plan import told
from mmcli.workflows.finetune.streams.data import (
    StreamRows,
    StreamSettings,
    stream_rows,
    stream_settings,
)
from mmcli.workflows.finetune.streams.features import (
    FeatureConfig,
    stream_features,
)
from mmcli.workflows.finetune.streams.files import write_stream_model
from mmcli.workflows.listeners import Listeners


def run(config: FinetuneConfig, listeners: Listeners | None = None) -> dict[str, Any]:
    """Train, judge, write a model, report.

    Raises BadInput or UsageError for data and options that do not fit, before anything is decoded.
    """
    began = time.monotonic()
    listeners = listeners or Listeners()
    settings = stream_settings(config)
    check_artifact_output(Path(config.output), MODEL_KIND, config.force, config.resume)
    rows = stream_rows(config)
    plan = _plan(config, settings, rows)
    if config.dry_run:
        return {"dry_run": True, **plan}
    listeners.message(_described(plan))
    for line in rows.lines:
        listeners.message(f"warning: {line}")
    with ArtifactWriter(
        config.output,
        MODEL_KIND,
        told(config),
        rows.fingerprint,
        force=config.force,
        resume=config.resume,
    ) as writer:
        features = stream_features(
            _feature_config(config, settings, rows),
            rows.recordings,
            sorted({*rows.train.tolist(), *rows.val.tolist(), *rows.test.tolist()}),
            writer.checkpoint / "features",
            listeners,
        )
        for line in features.lines:
            listeners.message(f"warning: {line}")
        load_torch()  # before what imports it plainly
        from mmcli.workflows.finetune.streams.fit import train_all
        from mmcli.workflows.finetune.streams.report import stream_report

        field = train_all(config, settings, rows, features, writer.checkpoint, listeners, began)
        report = {**plan, **stream_report(config, rows, field)}
        report["warnings"] = [*rows.lines, *features.lines]
        report["seconds"] = round(time.monotonic() - began, 2)
        write_stream_model(writer, field[0], rows, settings, features, report, config)
    return report


def _feature_config(
    config: FinetuneConfig, settings: StreamSettings, rows: StreamRows
) -> FeatureConfig:
    return FeatureConfig(
        encoders=rows.encoders,
        rate_hz=settings.rate_hz,
        workers=config.workers,
        device=config.device,
        precision=config.precision,
        seed=config.seed,
        verify=config.verify,
    )


def _plan(config: FinetuneConfig, settings: StreamSettings, rows: StreamRows) -> dict[str, Any]:
    recordings = rows.recordings.rows
    counts = {
        name: {
            "recordings": len(part),
            "events": sum(len(recordings[row].events or ()) for row in part.tolist()),
            "minutes": round(sum(recordings[row].duration_s for row in part.tolist()) / 60, 2),
        }
        for name, part in (("train", rows.train), ("val", rows.val), ("test", rows.test))
    }
    return {
        "model": config.output,
        "task": "event",
        "data": config.data,
        "method": settings.method,
        "classes": list(rows.classes),
        "modalities": {name: list(references) for name, references in rows.encoders.items()},
        "rows": counts,
        "splits": rows.split_source,
        "unreadable": len(rows.recordings.unreadable),
        "chosen": asdict(settings),
        "seeds": config.seeds or 1,
    }


def _described(plan: Mapping[str, Any]) -> str:
    rows = ", ".join(
        f"{found['recordings']} {name} ({found['events']} events)"
        for name, found in plan["rows"].items()
    )
    encoders = "; ".join(f"{n}: {', '.join(r)}" for n, r in plan["modalities"].items())
    return f"{len(plan['classes'])} classes; {encoders}; {rows} ({plan['splits']})"
