"""The keys and shards that a store's manifest names, checked before any file is opened.

Tolerates what a store of another program may leave out; opens no file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.store.manifest import MANIFEST, file_path
from mmcli.store.records import DTYPES
from mmcli.store.slugs import slug_of


@dataclass(frozen=True)
class StoreShard:
    """Rows `start` to `start + rows` of a store: their items file, and the file of each key."""

    start: int
    rows: int
    items: str
    keys: dict[str, str]


def key_entries(path: Path, manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the manifest says of each key, with what another program left out filled in.

    A missing `normalized` is false, a missing `space` is "" (comparable to nothing).
    """
    keys = manifest.get("keys")
    _need(isinstance(keys, dict), path, "`keys` is not an object")
    entries: dict[str, dict[str, Any]] = {}
    for key, given in (keys or {}).items():
        _need(isinstance(given, dict), path, f"key `{key}` is not an object")
        entry = {
            "slug": slug_of(key),
            "dtype": "F32",
            "normalized": False,
            "sequence": False,
            **given,
        }
        entry["space"] = given.get("space") or ""
        dim = given.get("dim")
        _need(_count(dim) and dim > 0, path, f"key `{key}` has no `dim`")
        _need(
            entry["dtype"] in DTYPES,
            path,
            f"key `{key}` is {entry['dtype']}; a store holds F32 or F16",
        )
        entries[key] = entry
    return entries


def shards_of(
    path: Path, manifest: Mapping[str, Any], keys: Mapping[str, Any]
) -> tuple[StoreShard, ...]:
    """The shards in order; their rows must add up, and every key must have its file."""
    shards = manifest.get("shards")
    _need(isinstance(shards, list), path, "`shards` is not a list")
    found: list[StoreShard] = []
    start = 0
    for number, shard in enumerate(shards or []):
        where = f"shard {number}"
        _need(isinstance(shard, dict) and _count(shard.get("rows")), path, f"{where} has no `rows`")
        items, files = shard.get("items"), shard.get("keys", {})
        _need(
            isinstance(items, str) and items.endswith(".parquet"),
            path,
            f"{where} has no items file that ends in .parquet",
        )
        _need(isinstance(files, dict), path, f"`keys` of {where} is not an object")
        for key in keys:
            name = files.get(key)
            _need(
                isinstance(name, str) and name.endswith(".safetensors"),
                path,
                f"{where} has no file of key `{key}` that ends in .safetensors",
            )
        for name in (items, *files.values()):
            file_path(path, name)
        found.append(StoreShard(start, shard["rows"], items, {k: files[k] for k in keys}))
        start += shard["rows"]
    rows = manifest.get("rows", start)
    _need(rows == start, path, f"`rows` is {rows}, its shards have {start}")
    return tuple(found)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _need(holds: bool, path: Path, complaint: str) -> None:
    if not holds:
        raise BadInput(
            f"`{path / MANIFEST}`: {complaint}", "correct the manifest, or make the store again"
        )
