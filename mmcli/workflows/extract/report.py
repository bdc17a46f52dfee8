"""What is said of an extraction when it is over: counts, speed, warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmcli.data.source import Source
from mmcli.encoders.registry import PRESETS
from mmcli.engine.device import Placement
from mmcli.engine.shards import KeyPlan
from mmcli.store.records import ShardRecord
from mmcli.workflows.extract.engines import Spent
from mmcli.workflows.extract.plan import ExtractConfig


def describe_run(source: Source, plans: Sequence[KeyPlan], placement: Placement) -> str:
    """One line on what is about to be extracted."""
    keys = ", ".join(f"{p.key} ({p.encoder.card.name}, {p.dim})" for p in plans)
    return f"{source.n_items} items; {keys}; {placement.device} {placement.precision}"


def build_report(
    config: ExtractConfig,
    source: Source,
    plans: Sequence[KeyPlan],
    placement: Placement,
    records: Mapping[int, ShardRecord],
    manifest: Mapping[str, Any],
    spent: Spent,
    wall: float,
    ran: int,
) -> dict[str, Any]:
    """What `extract` reports, warnings among it. wall: seconds. ran: items embedded in this run."""
    notes: dict[str, int] = {}
    for record in records.values():
        for name, count in record.notes.items():
            notes[name] = notes.get(name, 0) + count
    seconds = {k.removesuffix("_s"): round(v, 3) for k, v in asdict(spent.timings).items()}
    return {
        "store": config.output,
        "items": source.n_items,
        "ok": manifest["ok"],
        "partial": manifest["partial"],
        "failed": manifest["failed"],
        "resumed_items": source.n_items - ran,
        "copied_parts": spent.copied,
        "items_per_s": round(ran / wall, 2) if ran else None,
        "keys": {p.key: {"encoder": p.encoder.card.name, "dim": p.dim} for p in plans},
        "shards": len(manifest["shards"]),
        "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
        "device": placement.device,
        "precision": placement.precision,
        "ignored_files": dict(source.ignored),
        "warnings": [*_warnings(config, source, plans, notes), *spent.warnings],
        "seconds": seconds,
    }


def _warnings(
    config: ExtractConfig, source: Source, plans: Sequence[KeyPlan], notes: Mapping[str, int]
) -> list[str]:
    encoders = {plan.key: plan.encoder.card for plan in plans}
    found: list[str] = []
    embedded = {card.modality for card in encoders.values()}
    for modality in source.modalities:
        if modality not in embedded and not config.only:
            found.append(f"{modality} parts were left out: no {modality} encoder was chosen")
    for name, count in notes.items():
        key, kind, *rest = _split_note(name, encoders)
        if kind == "truncated":
            found.append(
                f"{count} {encoders[key].modality} parts were longer than "
                f"`{encoders[key].name}` takes and were cut"
            )
        elif kind == "script":
            found.append(uncovered_warning(encoders[key].name, rest[0], count))
    return found


def _split_note(name: str, encoders: Mapping[str, Any]) -> list[str]:
    key = max((k for k in encoders if name.startswith(k + ":")), key=len)
    return [key, *name[len(key) + 1 :].split(":")]


def uncovered_warning(encoder: str, script: str, count: int) -> str:
    """The warning that texts are in a script an encoder was not trained on, with a way out."""
    better = [p.name for p in PRESETS if script in p.scripts or "Zyyy" in p.scripts]
    advice = f"`--preset {better[0]}` covers it" if better else "no preset here covers it"
    return f"{count} texts are in script {script}, which `{encoder}` was not trained on; {advice}"
