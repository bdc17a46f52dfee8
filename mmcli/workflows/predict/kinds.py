"""Which code predicts with a model that is no fusion, by the kind that its config names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.core.registry import load_attribute
from mmcli.fusion.model import KIND, TASK
from mmcli.store.manifest import file_path, read_manifest

#: From `kind` of a model's config to a function of (config, progress, message).
KINDS = {
    "few-shot": "mmcli.workflows.few_shot.predict:predict",
    "vqa": "mmcli.workflows.finetune.vqa.predict:predict",
    "streams": "mmcli.workflows.finetune.streams.predict:predict",
    "generative": "mmcli.workflows.finetune.generative.predict:predict",
}


def other_kind(path: str) -> Callable[..., dict[str, Any]] | None:
    """The function, None for a fusion. Raises BadInput for a kind that does not predict."""
    folder = Path(path)
    manifest = read_manifest(folder, KIND)
    file = file_path(folder, str(manifest.get("config", "config.json")))
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        return None  # opening it says what is wrong
    if kind == TASK:
        return None
    if kind not in KINDS:
        raise BadInput(
            f"`{path}` is a model of kind `{kind}`, which predicts nothing",
            "give one of fuse or of a task that has labels",
        )
    found: Callable[..., dict[str, Any]] = load_attribute(KINDS[kind])
    return found
