"""`models`: the registry's entries as rows; nothing is loaded."""

from collections.abc import Iterable
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import MODALITIES
from mmcli.encoders.registry import ENCODERS, PRESETS
from mmcli.encoders.specs import EncoderSpec, Preset


def list_models(modality: str | None = None) -> list[dict[str, Any]]:
    """One row an encoder, then one a preset. Raises UsageError for an unknown modality."""
    if modality is not None and modality not in MODALITIES:
        raise UsageError(f"`{modality}` is not a modality", suggestion(modality, MODALITIES))
    rows = [_encoder(e) for e in ENCODERS if modality is None or modality in _takes(e.modalities)]
    rows += [_preset(p) for p in PRESETS if modality is None or modality in _takes(p.encoders)]
    return rows


def describe(name: str) -> dict[str, Any]:
    """Everything known of one encoder or preset."""
    if name in ENCODERS:
        return _encoder(ENCODERS.get(name))
    if name in PRESETS:
        return _preset(PRESETS.get(name))
    raise UsageError(
        f"no model is named `{name}`", suggestion(name, [*ENCODERS.names(), *PRESETS.names()])
    )


def _takes(modalities: Iterable[str]) -> list[str]:
    """What can be encoded: what takes pictures takes videos too, frame by frame."""
    found = list(modalities)
    return [*found, "video"] if "image" in found and "video" not in found else found


def _encoder(spec: EncoderSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "kind": "encoder",
        "modality": ", ".join(_takes(spec.modalities)),
        "dim": spec.dim,
        "space": spec.space,
        "licence": spec.licence,
        "size_mb": spec.size_mb,
        "params_m": spec.params_m,
        "languages": spec.languages,
        "requires": spec.requires,
        "checkpoint": spec.hub,
        "summary": spec.summary,
        "source": spec.source,
        "licence_source": spec.licence_source,
    }


def _preset(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "kind": "preset",
        "modality": ", ".join(_takes(preset.encoders)),
        "dim": None,
        "encoders": dict(preset.encoders),
        "licence": preset.licence,
        "size_mb": preset.size_mb,
        "languages": preset.languages,
        "requires": preset.requires,
        "summary": preset.summary,
    }
