"""`verify`: recompute every hash of a directory that mmcli wrote. Prints nothing."""

from pathlib import Path
from typing import Any

from mmcli.store.verification import verify_directory


def verify(path: str | Path) -> dict[str, Any]:
    """What verification found, as a report: `ok` says whether everything fits.

    Raises BadInput when the directory has no readable manifest, or a newer mmcli wrote it.
    """
    found = verify_directory(path)
    return {
        "path": str(path),
        "kind": found.kind,
        "ok": found.ok,
        "files": found.files,
        "bytes": found.bytes,
        "problems": [{"file": p.file, "message": p.message} for p in found.problems],
        "warnings": [{"file": w.file, "message": w.message} for w in found.warnings],
    }
