"""Which code scores predictions of a task that is no label a row, and its report as tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.core.registry import load_attribute
from mmcli.store.manifest import read_manifest
from mmcli.workflows.evaluate.events import SEGMENTS, EventsConfig, evaluate_events
from mmcli.workflows.evaluate.predictions import PredictionsConfig

EVENT, VQA = "event", "vqa"
#: What of the options these tasks do not read, with what it is by default.
_UNREAD = {"scale": None, "calibrate_on": None, "slices": (), "items": None, "group_by": None}
_VQA = "mmcli.workflows.finetune.vqa.evaluate:evaluate_vqa"


def special_task(config: PredictionsConfig) -> str:
    """`event` or `vqa` where the predictions are of that kind, "" for a label a row.

    Raises UsageError where such a task is asked of a table.
    """
    if Path(config.predictions).is_file():
        if config.task in (EVENT, VQA):
            raise UsageError(
                f"`{config.predictions}` is a table: `--task {config.task}` is scored from what"
                " `mmcli predict` writes",
                "give such a directory",
            )
        return ""
    manifest = read_manifest(Path(config.predictions), "mmcli.predictions")
    if config.task in (EVENT, VQA):
        return config.task
    if config.task != "auto":
        return ""
    if SEGMENTS in manifest or manifest.get("task") == EVENT:
        return EVENT
    return VQA if VQA in (manifest.get("task"), manifest.get("generative")) else ""


def evaluate_special(
    task: str, config: PredictionsConfig, message: Callable[[str], None]
) -> dict[str, Any]:
    """The report of events or of answers. Raises UsageError for an option they do not read."""
    for name, default in _UNREAD.items():
        if getattr(config, name) != default:
            option = {"slices": "slice"}.get(name, name.replace("_", "-"))
            raise UsageError(f"`--{option}` is not of task {task}", "leave it out")
    if task == EVENT:
        told = EventsConfig(
            predictions=config.predictions,
            against=config.against,
            bootstrap=config.bootstrap,
            seed=config.seed,
            html=config.html,
            force=config.force,
            verify=config.verify,
        )
        return evaluate_events(told, message)
    report: dict[str, Any] = load_attribute(_VQA)(config, message)
    return report


def special_tables(report: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Measures with their intervals, then classes or types, then the paired difference."""
    measures = [{"measure": name, **values} for name, values in report["measures"].items()]
    found = [measures]
    for name in ("per_class", "per_type"):
        if report.get(name):
            found.append(list(report[name]))
    against = report.get("against")
    if against:
        rows = against.get("measures", against)
        found.append([{"measure": n, **v} for n, v in rows.items() if isinstance(v, dict)])
    return [rows for rows in found if rows]
