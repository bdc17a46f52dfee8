"""The files of a few-shot model: arrays, config, metrics, history, splits, report and card.

Knows what goes where; nothing about how a rung is fitted.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from mmcli.data.splits import SPLIT_COLUMN
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.bindings import binding
from mmcli.store.manifest import MANIFEST, canonical, file_record
from mmcli.store.parquet import write_table
from mmcli.store.reader import Store
from mmcli.store.strict_json import json_text
from mmcli.store.tensors import save_tensors
from mmcli.tuning.few_shot.model import MODEL_KIND, temperature_of
from mmcli.workflows.few_shot.climb import Kept
from mmcli.workflows.few_shot.data import FewShotData
from mmcli.workflows.few_shot.report import card, page
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.queries.plans import modality_of_key


def write_model(
    writer: ArtifactWriter,
    kept: Kept,
    data: FewShotData,
    words: Mapping[str, str],
    report: dict[str, Any],
    history: Sequence[Mapping[str, Any]],
    run: Mapping[str, Any],
    config: FinetuneConfig,
) -> None:
    """Write every file and commit.

    `splits.parquet` names the split of every row, so that `--split-file` finds the same test rows.
    """
    store, reader = data.store, data.reader
    model, splits = writer.file("model", ".safetensors"), writer.file("splits", ".parquet")
    save_tensors(model, dict(kept.fitted.arrays), {"rung": kept.spec.name})
    named = [name or None for name in data.names.tolist()]
    write_table(
        splits,
        pa.table({"id": pa.array(store.ids(), pa.string()), SPLIT_COLUMN: pa.array(named)}),
    )
    origin = {
        "path": str(store.path.resolve()),
        "manifest_sha256": file_record(store.path / MANIFEST)["sha256"],
    }
    counts = data.counts("train")
    needs_texts = kept.spec.needs_texts
    content = {
        "kind": MODEL_KIND,
        "task": "classification",
        "rung": kept.spec.name,
        "label": {
            "column": data.labels.column,
            "kind": data.labels.kind,
            "classes": list(data.classes),
        },
        # by modality, as other models have them: what has to be extracted of raw files
        "keys": _bindings(store, [*reader.keys, *([reader.text_key] if needs_texts else [])]),
        "views": {modality: ["pooled"] for modality in _modalities(store, reader.keys)},
        "columns": list(reader.keys),
        "text_key": reader.text_key if needs_texts else None,
        "dim": reader.dim,
        "text_dim": reader.text_dim if needs_texts else 0,
        "prompts": report["prompts"] if needs_texts else [],
        "words": dict(words) if needs_texts else {},
        "settings": dict(kept.fitted.settings),
        "temperature": temperature_of(kept.judged, kept.judge_truth),
        "shares": (counts / max(1, counts.sum())).tolist(),
        "splits": splits.name,
        "run": dict(run),
        "command": config.command,
        "store": origin,
    }
    lines = "".join(canonical(record) + "\n" for record in history)
    writer.commit(
        {
            "kind": MODEL_KIND,
            "task": "classification",
            "rung": kept.spec.name,
            "label": data.labels.column,
            "classes": list(data.classes),
            "weights_sha256": file_record(model)["sha256"],
            "model": model.name,
            "splits": splits.name,
            "config": writer.write("config", ".json", json_text(content)),
            "metrics": writer.write("metrics", ".json", json_text(report)),
            "history": writer.write("history", ".jsonl", lines),
            "report": writer.write("report", ".html", page(report, data, kept)),
            "card": writer.write("README", ".md", card(report, kept, config.command)),
            "store": origin,
            "versions": {name: version(name) for name in ("mmcli", "torch", "numpy")},
        }
    )


def _modalities(store: Store, keys: Sequence[str | None]) -> list[str]:
    found = (modality_of_key(key, store.keys[key]) for key in keys if key)
    return list(dict.fromkeys(found))


def _bindings(store: Store, keys: Sequence[str | None]) -> dict[str, dict[str, Any]]:
    """What is kept of these keys, and of those extracted beside them: the first has no name."""
    found: dict[str, dict[str, Any]] = {name: {} for name in _modalities(store, keys)}
    for key, entry in store.keys.items():
        modality = modality_of_key(key, entry)
        if modality in found and (key in keys or entry.get("layer") is None):
            found[modality][key] = binding(entry)
    return found
