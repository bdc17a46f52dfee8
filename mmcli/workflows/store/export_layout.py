"""What the files of an export are called, and what is written down beside their vectors.

Read again by `store import`, so that a key keeps its encoder, space and prompts.
"""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from mmcli.store.manifest import canonical
from mmcli.store.slugs import key_of

EXPORT = "mmcli.export"
EXPORT_FORMAT = "mmcli.export/1"
#: Where a manifest, or a Parquet file's metadata, says what the keys are.
KEYS_METADATA = "keys"
_PARQUET_KEY = b"mmcli"
_SUFFIX = "_embedding"


def npy_names(slug: str) -> tuple[str, str, str]:
    """The files of a key: vectors, values and offsets of its sequences."""
    return f"{slug}.npy", f"{slug}.values.npy", f"{slug}.offsets.npy"


def vector_column(slug: str) -> str:
    """The column of a key's vectors in a table; `image` is the path of the picture."""
    return slug + _SUFFIX


def key_of_column(column: str) -> str | None:
    """The key whose vectors a column of that name holds; None for any other name."""
    slug = column.removesuffix(_SUFFIX)
    return key_of(slug) if slug and slug != column else None


def parquet_metadata(keys: Mapping[str, Any], source_root: str | None) -> dict[bytes, bytes]:
    """What a Parquet file says of its vector columns. keys: `column` and `entry` of each."""
    content = {"format": EXPORT_FORMAT, KEYS_METADATA: dict(keys), "source_root": source_root}
    return {_PARQUET_KEY: canonical(content).encode()}


def parquet_keys(schema: pa.Schema) -> dict[str, Any] | None:
    """What `parquet_metadata` wrote; None in a file of another program."""
    try:
        content = json.loads((schema.metadata or {})[_PARQUET_KEY])
        keys = content[KEYS_METADATA]
        sound = content["format"] == EXPORT_FORMAT and all(
            entry["column"] in schema.names and isinstance(entry["entry"], dict)
            for entry in keys.values()
        )
    except (KeyError, TypeError, ValueError):
        return None
    return content if sound and keys else None
