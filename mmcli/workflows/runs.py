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


def compare_runs(paths: Sequence[str]) -> list[dict[str, Any]]:
    """One row a model or aligner found at these paths or right below them, in order of path.

    Raises BadInput where there is none.
    """
    rows = [row for path in paths for folder in _folders(Path(path)) for row in [_row(folder)]]
    if not rows:
        raise BadInput(f"no model is in `{', '.join(paths)}`", "name directories that hold some")
    names = dict.fromkeys(name for row in rows for name in row)
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
    best = next((r for r in metrics.get("table") or [] if r.get("model") == kept), {})
    measure = metrics.get("metric")
    row: dict[str, Any] = {
        "run": str(path),
        "state": "done",
        "task": metrics.get("task") or manifest.get("task") or manifest.get("kind"),
        "method": kept,
        "label": manifest.get("label"),
        "seeds": metrics.get("seeds"),
        "parameters": best.get("parameters"),
        "metric": measure,
    }
    for name in (measure, "low", "high", "p (rows)"):
        if name and best.get(name) is not None:
            row["score" if name == measure else name] = best[name]
    row["seconds"] = metrics.get("seconds")
    return row


def _json(path: Path, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(file_path(path, name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"`{path / name}` cannot be read", "`mmcli verify` says more") from error
    return found if isinstance(found, dict) else {}
