"""What a trained artefact keeps of the keys it reads, so that another store can be told to fit.

Encoders are compared by width, space, weights, layer and preprocessing, not by precision.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcli.core.errors import SpaceMismatch
from mmcli.store.manifest import canonical
from mmcli.store.reader import Store

#: What is kept of a store's key.
BOUND = ("encoder", "reference", "revision", "weights_sha256", "dim", "space", "normalized",
         "prompts", "modality", "layer")  # fmt: skip


def binding(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a store's key."""
    kept = {name: entry[name] for name in BOUND if entry.get(name) is not None}
    if entry.get("preprocessing"):
        text = canonical(entry["preprocessing"])
        kept["preprocessing_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        for name in ("max_length", "frames"):  # a query must be cut as the rows were
            if entry["preprocessing"].get(name):
                kept[name] = entry["preprocessing"][name]
    return kept


def compare_binding(
    bound: Mapping[str, Any], entry: Mapping[str, Any], key: str, path: Path, store: Store
) -> None:
    """Raise SpaceMismatch, naming both, when a store's key was made otherwise than the bound one.

    What either side does not say is not compared, the width excepted.
    """
    found = binding(entry)
    for name in ("dim", "space", "weights_sha256", "preprocessing_sha256", "layer"):
        mine, theirs = bound.get(name), found.get(name)
        if mine != theirs and (name == "dim" or (mine and theirs)):
            raise SpaceMismatch(
                f"key `{key}`: `{path}` was trained on {name} `{_short(mine)}`,"
                f" `{store.path}` has `{_short(theirs)}`",
                "extract the store with the encoder that it was trained on",
            )


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) == 64 else text
