"""Search hits as rows to print and as cards of a gallery: strings and numbers, no model.

Paths come out so that they open from where the user stands.
"""

import datetime
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmcli.core.types import PART_COLUMNS
from mmcli.data.places import is_url, locate

PATH_COLUMNS = ("image", "speech", "video")
#: Where in a recording, video or text an item is, when it is a segment of one.
SEGMENT_COLUMNS = ("start_s", "end_s", "start_char", "end_char")
#: Columns that a search adds; a source's own column of that name prints as `item_<name>`.
ADDED = ("query", "rank", "score", "retrieval_score")


def display_name(column: str) -> str:
    """What an item's column is called in a result."""
    return f"item_{column}" if column in ADDED else column


def order_columns(columns: Sequence[str], label: str | None) -> list[str]:
    """Items' columns as they print: id, times, which modality matched, parts, the rest."""
    first = ["id", *SEGMENT_COLUMNS, *([label] if label else []), *PART_COLUMNS, "transcript"]
    return [c for c in first if c in columns] + [c for c in columns if c not in first]


def path_from_here(root: str | None, path: str, here: str | None = None) -> str:
    """A path as it opens from the working directory: relative inside it, else absolute."""
    full = locate(root, path)
    if is_url(full):
        return full
    full = os.path.normpath(full)
    if not os.path.isabs(full):
        return full
    here = here if here is not None else os.getcwd()
    inside = os.path.relpath(full, here)
    return full if inside == os.pardir or inside.startswith(os.pardir + os.sep) else inside


def result_row(
    item: Mapping[str, Any],
    rank: int,
    score: float,
    query: str | None,
    root: str | None,
    retrieval_score: float | None = None,
) -> dict[str, Any]:
    """One row: query (where there are several), rank, score, then the item's columns.

    retrieval_score: the index's own, where `score` is a re-ranker's.
    """
    row: dict[str, Any] = {} if query is None else {"query": query}
    row |= {"rank": rank, "score": round(score, 6)}
    if retrieval_score is not None:
        row["retrieval_score"] = round(retrieval_score, 6)
    for column, value in item.items():
        if column in PATH_COLUMNS and isinstance(value, str) and value:
            value = path_from_here(root, value)
        row[display_name(column)] = plain(value)
    return row


def plain(value: Any) -> Any:
    """A value that JSON has: dates as ISO text, bytes as hex, what is not finite as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
