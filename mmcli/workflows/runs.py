"""`runs`: finished and unfinished models side by side, one row each. Prints nothing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.store.manifest import (
    MANIFEST,
    STATE,
    file_path,
    inspect_manifest,
    kind_of,
    refuse_newer,
)

_KINDS = ("mmcli.model", "mmcli.aligner")
_COLUMNS = (
    *("run", "state", "task", "method", "label", "seeds", "parameters", "metric"),
    *("score", "low", "high", "p (rows)", "scored_rows", "seconds"),
)


def compare_runs(paths: Sequence[str]) -> list[dict[str, Any]]:
    """One row a model or aligner found at these paths or right below them, in order of path.

    Raises BadInput where there is none.
    """
    rows = [row for path in paths for folder in _folders(Path(path)) for row in [_row(folder)]]
    if not rows:
        raise BadInput(f"no model is in `{', '.join(paths)}`", "name directories that hold some")
    found = {name for row in rows for name in row}
    names = [name for name in _COLUMNS if name in found]
    return [{name: row.get(name) for name in names} for row in rows]


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise BadInput(f"`{path}` is no directory", "name models, or a folder of them")
    if _is_run(path):
        return [path]
    return sorted(one for one in path.iterdir() if one.is_dir() and _is_run(one))


def _is_run(path: Path) -> bool:
    if (path / MANIFEST).is_file():
        return kind_of(inspect_manifest(path)[0]) in _KINDS
    return (path / STATE).is_file() and (path / "checkpoint").is_dir()


def _row(path: Path) -> dict[str, Any]:
    if not (path / MANIFEST).is_file():
        return {"run": str(path), "state": "unfinished"}
    manifest = inspect_manifest(path)[0]
    refuse_newer(path, manifest)
    metrics = _json(path, str(manifest.get("metrics", "metrics.json")))
    kept = metrics.get("kept") or metrics.get("method") or manifest.get("method")
    measure = metrics.get("metric") or metrics.get("measure")
    if isinstance(kept, Mapping):  # few-shot: a rung of a ladder
        kept, measure, best = _rung(metrics, kept)
    elif not metrics.get("scores"):
        best = _kept_row(metrics.get("table"), "model", kept)
        measure = measure or ("map" if "map" in best else None)
    else:  # an aligner
        best = _kept_row(metrics["scores"], "method", kept)
        found = [name for name in best if name.endswith("hit@10")]
        measure = min(found, key=lambda name: not name.startswith("text-"), default=None)
    seconds = metrics.get("seconds")
    row: dict[str, Any] = {
        "run": str(path),
        "state": "done",
        "task": metrics.get("task") or manifest.get("task") or manifest.get("kind") or "align",
        "method": kept,
        "label": manifest.get("label"),
        "seeds": metrics.get("seeds"),
        "parameters": best.get("parameters"),
        "metric": measure,
    }
    for name in (measure, "low", "high", "p (rows)"):
        if name and best.get(name) is not None:
            row["score" if name == measure else name] = best[name]
    row["scored_rows"] = metrics.get("scored_rows") or best.get("rows") or _scored(metrics)
    row["seconds"] = seconds.get("total") if isinstance(seconds, Mapping) else seconds
    return row


def _kept_row(rows: Any, name: str, kept: Any) -> Mapping[str, Any]:
    """The row of the method that was kept; empty where there is none.

    A row may say more: `contrastive:infonce`, `sound and pictures, early`.
    """
    same = [row for row in rows or [] if row.get(name) == kept]
    more = [
        row
        for row in rows or []
        if str(row.get(name)).startswith(f"{kept}:") or str(row.get(name)).endswith(f", {kept}")
    ]
    found: list[Mapping[str, Any]] = [*same, *more, {}]
    return found[0]


def _rung(
    metrics: Mapping[str, Any], kept: Mapping[str, Any]
) -> tuple[str, str, Mapping[str, Any]]:
    """Name, measure and row of the rung of a few-shot ladder that was kept."""
    shots = kept.get("shots")
    name = str(kept.get("rung")) + (f", {shots} shots" if shots else "")
    for row in metrics.get("ladder") or []:
        if (row.get("rung"), row.get("shots")) == (kept.get("rung"), shots):
            accuracy = row["accuracy"]
            told = {"accuracy": accuracy["value"], "parameters": row.get("trained")}
            return name, "accuracy", {**told, "low": accuracy["low"], "high": accuracy["high"]}
    return name, "accuracy", {}


def _scored(metrics: Mapping[str, Any]) -> str | None:
    """Which rows a ladder was scored on: it counts them by split."""
    rows = metrics.get("rows")
    if not isinstance(rows, Mapping) or not metrics.get("ladder"):
        return None
    return next((name for name in ("test", "val") if rows.get(name)), None)


def _json(path: Path, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(file_path(path, name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"`{path / name}` cannot be read", "`mmcli verify` says more") from error
    return found if isinstance(found, dict) else {}
