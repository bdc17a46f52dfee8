"""What passes between an extraction and the files of a store: arrays, failures, finished shards.

Knows how these are kept as Parquet rows and JSON; nothing about directories or commits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

Array = np.ndarray[Any, np.dtype[Any]]
#: How a key's dtype is spelled in a manifest, and numpy's name of it.
DTYPES = {"F32": "float32", "F16": "float16"}
FAILURE_COLUMNS = ("id", "key", "source", "error", "message")
FAILURE_SCHEMA = pa.schema([(name, pa.string()) for name in FAILURE_COLUMNS])


@dataclass(frozen=True)
class Failure:
    """A part that could not be embedded: of which item, for which key, from where, and why."""

    id: str
    key: str
    source: str
    error: str
    message: str


@dataclass
class KeyArrays:
    """The vectors of one key in one shard.

    embeddings: `(rows, dim)`. values: `(total, dim)`, the sequences end to end, and offsets:
    `(rows + 1,)` int64, where each begins; both None without sequences.
    """

    embeddings: Array
    values: Array | None = None
    offsets: Array | None = None


@dataclass(frozen=True)
class ShardRecord:
    """A shard whose files are on the disk.

    files: every file of it with its bytes and sha256. failures: the file that holds its failures,
    `failures_rows` of them from row `failures_start`; None when it has none. sources: the file that
    says what its rows were made from.
    """

    index: int
    start: int
    rows: int
    items: str
    keys: dict[str, str]
    files: dict[str, dict[str, Any]]
    ok: int
    partial: int
    failed: int
    failures: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    failures_start: int = 0
    failures_rows: int = 0
    sources: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `state.json` keeps it."""
        return dict(vars(self))  # `asdict` would copy deeply, which is slow

    def entry(self) -> dict[str, Any]:
        """As the manifest of a finished store keeps it."""
        return {
            "rows": self.rows,
            "items": self.items,
            "keys": dict(self.keys),
            "ok": self.ok,
            "partial": self.partial,
            "failed": self.failed,
            "failures": self.failures_rows,
            "notes": dict(self.notes),
            **({"sources": self.sources} if self.sources else {}),
        }


def records_of(manifest: Mapping[str, Any]) -> list[ShardRecord]:
    """The shards of a finished store; counts that a foreign manifest lacks are zero."""
    shards: list[dict[str, Any]] = manifest["shards"]
    files = manifest.get("files", {})
    starts = accumulate((s["rows"] for s in shards), initial=0)
    failure_starts = accumulate((s.get("failures", 0) for s in shards), initial=0)
    return [
        ShardRecord(
            index=index,
            start=start,
            rows=shard["rows"],
            items=shard["items"],
            keys=dict(shard["keys"]),
            files={n: files[n] for n in _names(shard) if n in files},
            ok=shard.get("ok", 0),
            partial=shard.get("partial", 0),
            failed=shard.get("failed", 0),
            failures=manifest.get("failures") if shard.get("failures") else None,
            notes=dict(shard.get("notes", {})),
            failures_start=failure_start,
            failures_rows=shard.get("failures", 0),
            sources=shard.get("sources"),
        )
        for index, (shard, start, failure_start) in enumerate(
            zip(shards, starts, failure_starts, strict=False)
        )
    ]


def _names(shard: Mapping[str, Any]) -> list[str]:
    sources = [shard["sources"]] if shard.get("sources") else []
    return [shard["items"], *shard["keys"].values(), *sources]


def tensors_of(
    key: str, entry: Mapping[str, Any], arrays: KeyArrays, rows: int
) -> dict[str, Array]:
    """The arrays of a key as they are written, once they fit the manifest and each other.

    Raises ValueError when they do not: that is a defect of the caller.
    """
    shape, dtype = (rows, entry["dim"]), DTYPES[entry.get("dtype", "F32")]
    found = arrays.embeddings
    if found.shape != shape or found.dtype.name != dtype:
        raise ValueError(f"{key}: {found.dtype} {found.shape}, expected {dtype} {shape}")
    if arrays.values is None or arrays.offsets is None:
        return {"embeddings": found}
    offsets = arrays.offsets.astype("int64", copy=False)
    fits = offsets.shape == (rows + 1,) and offsets[0] == 0 and offsets[-1] == len(arrays.values)
    if not fits or arrays.values.ndim != 2 or arrays.values.dtype.name != dtype:
        raise ValueError(f"{key}: sequences do not fit their offsets, or are not {dtype}")
    return {"embeddings": found, "values": arrays.values, "offsets": offsets}


def failure_table(failures: Sequence[Failure]) -> pa.Table:
    """Failures as Parquet rows; text that is not Unicode (a file name) is escaped."""
    columns = [[_unicode(getattr(f, name)) for f in failures] for name in FAILURE_COLUMNS]
    return pa.table([pa.array(c, pa.string()) for c in columns], schema=FAILURE_SCHEMA)


def _unicode(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
