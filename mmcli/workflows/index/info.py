"""`retrieve info`: what an index holds and which queries it takes, from its manifest alone."""

from pathlib import Path
from typing import Any

from mmcli.index.layout import check, open_index
from mmcli.index.living import additions_of, n_removed, total_rows


def index_info(path: str, verify: str = "none") -> dict[str, Any]:
    """A report on an index. verify: `once` or `full` also compares its files with their hashes."""
    manifest = open_index(path)
    check(path, manifest, None, verify)
    queries = {}
    for modality, entry in sorted((manifest.get("queries") or {}).items()):
        runs = "ONNX Runtime" if entry.get("folder") else "torch"
        through = ", aligner" if entry.get("inputs") else ""
        queries[modality] = f"{entry.get('encoder')}{through} ({runs})"
    return {
        "index": str(path),
        "rows": total_rows(manifest) - n_removed(manifest),
        "modalities": manifest.get("modalities") or {},
        "dim": manifest["dim"],
        "metric": manifest["metric"],
        "space": manifest["space"],
        "aligner": _aligner(manifest.get("aligner")),
        "factory": manifest.get("factory"),
        "additions": len(additions_of(manifest)),
        "tombstones": n_removed(manifest),
        "keywords": (manifest.get("keywords") or {}).get("columns") or [],
        "on_disk": bool(manifest.get("on_disk")),
        "search": manifest.get("search"),
        "measured_recall": manifest.get("measured_recall"),
        "queries": queries,
        "columns": manifest.get("columns") or [],
        "source_root": manifest.get("source_root"),
        "store": (manifest.get("store") or {}).get("path"),
        "bytes": sum(record["bytes"] for record in manifest.get("files", {}).values()),
        "path": str(Path(path).resolve()),
    }


def _aligner(entry: dict[str, Any] | None) -> str | None:
    """The aligner that an index goes through: its method, which way, and where it was."""
    if not entry:
        return None
    direction = entry.get("direction")
    way = f", {direction}" if direction not in (None, "both") else ""
    return f"{entry.get('path')} ({entry.get('method')}{way})"
