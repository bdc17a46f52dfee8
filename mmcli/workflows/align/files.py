"""The files of an aligner's directory: model, config, metrics, history, report and card.

Knows what goes where; nothing about how an aligner is trained.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmcli.align.aligner import flattened
from mmcli.align.fitting import Fitted
from mmcli.align.registry import MethodSpec
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.manifest import canonical, file_record
from mmcli.store.tensors import save_tensors
from mmcli.workflows.align.report import card, page


@dataclass(frozen=True)
class Provenance:
    """Where an aligner comes from: its method, the keys it is bound to, the run, the store."""

    spec: MethodSpec
    modalities: tuple[str, ...]
    bindings: Mapping[str, Mapping[str, Any]]
    run: Mapping[str, Any]
    command: str
    store: Path
    store_sha256: str


def write_aligner(
    writer: ArtifactWriter,
    fitted: Fitted,
    origin: Provenance,
    report: dict[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Write every file and commit. Adds the space and its width to the report."""
    arrays = fitted.arrays if fitted.arrays is not None else flattened(fitted.directions)
    model = writer.file("model", ".safetensors")
    save_tensors(model, arrays, {"method": origin.spec.name})
    digest = file_record(model)["sha256"]
    both = fitted.directions.get("both", {})
    report["space"] = f"{origin.spec.name}@{digest[:12]}" if both else None
    report["dim"] = next(iter(both.values())).dim if both else None
    store = {"path": str(origin.store.resolve()), "manifest_sha256": origin.store_sha256}
    content = {
        "method": origin.spec.name,
        "between": list(origin.modalities),
        "space": report["space"],
        "directions": {
            direction: {name: tower.to_json() for name, tower in towers.items()}
            for direction, towers in fitted.directions.items()
        },
        "keys": dict(origin.bindings),
        "chosen": dict(fitted.chosen),
        "run": dict(origin.run),
        "command": origin.command,
        "store": store,
        **(fitted.config or {}),
    }
    lines = "".join(canonical(record) + "\n" for record in history)
    readme = card(report, origin.spec, content, origin.command)
    writer.commit(
        {
            "method": origin.spec.name,
            "modalities": list(origin.modalities),
            "space": report["space"],
            "dim": report["dim"],
            "normalized": all(tower.normalized for tower in both.values()),
            "weights_sha256": digest,
            "model": model.name,
            "config": writer.write("config", ".json", _json(content)),
            "metrics": writer.write("metrics", ".json", _json(report)),
            "history": writer.write("history", ".jsonl", lines),
            "report": writer.write("report", ".html", page(report, history, origin.command)),
            "card": writer.write("README", ".md", readme),
            "store": store,
            "versions": {name: version(name) for name in ("mmcli", "torch", "numpy")},
        }
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, default=_number) + "\n"


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
