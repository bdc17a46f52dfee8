"""The files of a fusion's directory: model, config, metrics, history, report and card.

Knows what goes where; nothing about how a fusion is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from mmcli.fusion.model import TASK
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.manifest import canonical, file_record
from mmcli.store.reader import Store
from mmcli.store.strict_json import json_text, plain
from mmcli.store.tensors import save_tensors
from mmcli.workflows.fuse import report as fuse_report
from mmcli.workflows.fuse.data import bindings_of
from mmcli.workflows.fuse.fit import Contest


def write_model(
    writer: ArtifactWriter,
    network: Any,
    contest: Contest,
    method: str,
    report: dict[str, Any],
    store: Store,
    store_sha256: str,
    command: str,
    told: Mapping[str, Any],
    *,
    towers: Mapping[str, Mapping[str, Any]] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    task: str = "",
    page: str | None = None,
    card: str | None = None,
) -> None:
    """Write every file and commit. Adds the fused space and its width to the report.

    towers: what is written down of encoders that were tuned with the fusion, by key. history: the
    records of all stages. task: of `finetune`, "" for none. page, card: `report.html` and
    `README.md` where they are not those of a fusion.
    """
    data, spec = contest.data, contest.specs[method]
    blueprint = contest.blueprint(spec)
    arrays = {f"network/{n}": np.array(v.numpy()) for n, v in network.state_dict().items()}
    model = writer.file("model", ".safetensors")
    save_tensors(model, {**arrays, **data.inputs.statistics()}, {"method": method})
    digest = file_record(model)["sha256"]
    report["space"] = f"fused-{method.replace(':', '-')}@{digest[:12]}"
    origin = {"path": str(store.path.resolve()), "manifest_sha256": store_sha256}
    config = {
        "kind": TASK,
        "task": _task(contest.objective.kind),
        "method": method,
        "label": {
            "column": data.labels.column,
            "kind": data.labels.kind,
            "classes": list(data.labels.classes),
        },
        "objective": asdict(contest.objective),
        "blueprint": {
            **asdict(blueprint),
            # a list, because their order counts and JSON objects are written sorted
            "key_dims": [[name, list(dims)] for name, dims in blueprint.key_dims.items()],
            "sequences": sorted(blueprint.sequences),
        },
        "views": {m.name: list(m.views) for m in data.inputs.modalities.values()},
        "view_dims": {
            m.name: {view: list(v.dims) for view, v in m.views.items()}
            for m in data.inputs.modalities.values()
        },
        "keys": _bindings(store, data.inputs, towers or {}),
        "towers": dict(towers or {}),
        "finetuned": task,
        "tabular": None if data.tabular is None else data.tabular.to_json(),
        "space": report["space"],
        "run": dict(told),
        "command": command,
        "store": origin,
    }
    records = contest.trained.history if history is None else history
    lines = "".join(canonical(plain(record)) + "\n" for record in records)
    writer.commit(
        {
            "kind": TASK,
            "task": config["task"],
            "method": method,
            "modalities": list(data.inputs.names),
            "label": data.labels.column,
            "classes": list(data.labels.classes),
            "space": report["space"],
            "weights_sha256": digest,
            "model": model.name,
            "config": writer.write("config", ".json", json_text(config)),
            "metrics": writer.write("metrics", ".json", json_text(report)),
            "history": writer.write("history", ".jsonl", lines),
            "report": writer.write(
                "report", ".html", page or fuse_report.page(report, contest.trained.history)
            ),
            "card": writer.write("README", ".md", card or fuse_report.card(report, spec, command)),
            "store": origin,
            "versions": {name: version(name) for name in ("mmcli", "torch", "numpy")},
        }
    )


def _bindings(
    store: Store, inputs: Any, towers: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """What is kept of the keys; those of tuned encoders are bound to the tuned weights.

    `model:.` is a tower of the model itself.
    """
    found = bindings_of(store, inputs)
    for keys in found.values():
        known = {key: entry for key, entry in keys.items() if key in towers}
        by_encoder = {str(entry.get("encoder")): towers[key] for key, entry in known.items()}
        for entry in keys.values():
            tower = by_encoder.get(str(entry.get("encoder")))
            if tower is None:
                continue
            entry["weights_sha256"], entry["reference"] = tower["weights_sha256"], "model:."
            entry["space"] = tower["space"]
            if entry.get("layer") is not None:
                digits = tower["space"].partition("@")[2]
                entry["space"] = f"{entry['encoder']}-layer{entry['layer']}@{digits}"
    return found


def _task(kind: str) -> str:
    """The task of a predictions directory."""
    known = {"classes": "classification", "several": "multilabel", "ordinal": "ordinal"}
    return known.get(kind, "regression")
