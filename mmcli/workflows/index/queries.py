"""What an index carries for its queries: the text tower as ONNX, and the towers of an aligner.

Writes `query/<modality>/` of an index and the entries of its manifest. Knows nothing about vectors.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcli.core.errors import MmcliError
from mmcli.encoders.kept_towers import fetch_tower, keep_tower, tower_key
from mmcli.index.layout import IndexWriter, query_folder
from mmcli.workflows.index.aligner import AlignedPlan, save_tower
from mmcli.workflows.queries.plans import QueryPlan, load_query_encoder

#: The file of a modality's tower inside its query folder.
TOWER = "aligner.safetensors"


def write_queries(
    writer: IndexWriter, plans: Mapping[str, QueryPlan | AlignedPlan]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Entries of the manifest for each query modality, and lines for the finer log.

    `folder` in an entry says that the text tower is there as ONNX; else `reason` says why not.
    """
    entries = {modality: plan.as_manifest() for modality, plan in plans.items()}
    notes = []
    for modality, plan in plans.items():
        folder = query_folder(writer.name("query"), modality)
        path = writer.path / folder
        if modality == "text":
            path.mkdir(parents=True, exist_ok=True)
            reason = _export_text(plan, path)
            if reason:
                shutil.rmtree(path, ignore_errors=True)
                entries["text"]["reason"] = reason
                notes.append(f"text queries will load the model, not ONNX: {reason}")
            else:
                entries["text"]["folder"] = folder
                notes.append(f"text tower exported: queries by text run without torch ({folder})")
        if isinstance(plan, AlignedPlan):
            path.mkdir(parents=True, exist_ok=True)
            save_tower(path / TOWER, plan.tower)
            entries[modality]["tower"] = f"{folder}/{TOWER}"
    return entries, notes


def _export_text(plan: QueryPlan | AlignedPlan, folder: Path) -> str:
    """Write the text tower into `folder`; "", or why it could not be done."""
    source, after = plan, None
    if isinstance(plan, AlignedPlan):
        if len(plan.inputs) > 1:
            return "the aligner's text tower reads several keys: " + ", ".join(plan.inputs)
        (source,) = plan.inputs.values()
    assert isinstance(source, QueryPlan)
    if source.layer is not None:
        return "an inner layer is read"
    key = "" if isinstance(plan, AlignedPlan) else tower_key(source.encoder, source.as_manifest())
    if key and fetch_tower(key, folder):
        return ""
    from mmcli.encoders.export import export_text

    try:
        encoder = load_query_encoder(source, "cpu", "fp32")
        if isinstance(plan, AlignedPlan):
            after = _after(plan)
        reason = export_text(encoder, folder, after)
    except MmcliError as error:
        return error.message
    if key and not reason:
        keep_tower(key, folder)
    return reason


def _after(plan: AlignedPlan) -> Any:
    """The aligner's tower as it goes into the graph behind the encoder."""
    from mmcli.align.torch_tower import TorchTower
    from mmcli.encoders.export import After

    (key,) = plan.inputs
    module = TorchTower(plan.tower).eval()
    return After(
        module=lambda vectors: module({key: vectors}),
        reference=lambda vectors: plan.tower.apply({key: vectors}),
        told={
            "space": plan.space,
            "dim": plan.tower.dim,
            "normalized": plan.tower.normalized,
        },
    )
