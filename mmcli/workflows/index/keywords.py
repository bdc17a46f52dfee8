"""`retrieve index --keywords`: a BM25 index of items' text columns, beside the vectors.

A change of its own after the build, so that building knows nothing of it. Prints nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion
from mmcli.index.changing import IndexChange
from mmcli.index.keyword import write_keywords
from mmcli.store.reader import Store
from mmcli.workflows.index.changes import columns_of


def check_columns(store: str, columns: Sequence[str]) -> None:
    """Raise UsageError when a store has no such column, MissingResource without the library."""
    have = [name for name in Store.open(store, verify="none").columns if name != "id"]
    for name in columns:
        if name not in have:
            raise UsageError(
                f"`--keywords {name}`: `{store}` has no such column", suggestion(name, have)
            )


def add_keywords(index: str, columns: Sequence[str]) -> dict[str, Any]:
    """Index the words of these columns; returns what the manifest says of it."""
    with IndexChange(Path(index)) as change:
        folder = change.name("keywords")
        table = columns_of(change.path / change.manifest["items"], columns)
        write_keywords(change.path / folder, table)
        entry = {"columns": list(columns), "folder": folder}
        old = change.manifest.get("keywords") or {}
        change.commit({**change.manifest, "keywords": entry}, drop=[old["folder"]] if old else [])
    return entry
