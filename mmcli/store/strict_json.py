"""Reports and settings as strict JSON, which every program reads: no NaN, no infinity, no numpy."""

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """The same of what JSON has: None for a number it lacks, lists for sets, numpy's unpacked."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any) -> str:
    """A file's text, keys sorted, a line feed at the end."""
    return (
        json.dumps(plain(value), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        + "\n"
    )
