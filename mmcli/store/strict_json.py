"""Reports and settings as strict JSON, which every program reads: no NaN, no infinity, no numpy."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput


def plain(value: Any) -> Any:
    """The same of what JSON has: None for a number it lacks, lists for sets, numpy's unpacked."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_object(path: Path, what: str, hint: str) -> dict[str, Any]:
    """The JSON object in a file that should describe `what`.

    Raises BadInput, with this hint, when it cannot be read or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"`{path}` cannot be read", hint) from error
    if not isinstance(found, dict):
        raise BadInput(f"`{path}` does not describe {what}", hint)
    return found


def json_text(value: Any) -> str:
    """A file's text, keys sorted, a line feed at the end."""
    return (
        json.dumps(plain(value), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        + "\n"
    )
