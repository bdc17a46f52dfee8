"""Stores of chosen vectors for the evaluation tests, made by the real writer."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.store.writer import KeyArrays, StoreWriter


def unit(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def write_store(
    path: Path,
    vectors: dict[str, np.ndarray],
    columns: dict[str, list[Any]] | None = None,
    *,
    has: dict[str, list[bool]] | None = None,
    spaces: dict[str, str] | None = None,
    entry: dict[str, Any] | None = None,
    root: Path | None = None,
    shard: int = 1000,
    sequences: dict[str, list[np.ndarray]] | None = None,
) -> Path:
    """A store whose key `k` holds `vectors[k]`; every key in space `s@000000000000` unless said.

    sequences: `(length, dim)` a row, of the keys that have them.
    """
    rows = len(next(iter(vectors.values())))
    items: dict[str, Any] = {"id": [f"i{n:03d}" for n in range(rows)], **(columns or {})}
    keys = {
        key: {
            "slug": key.replace(":", "."),
            "encoder": "e",
            "dim": found.shape[1],
            "dtype": "F32",
            "normalized": True,
            "space": (spaces or {}).get(key, "s@000000000000"),
            "sequence": key in (sequences or {}),
            **(entry or {}),
        }
        for key, found in vectors.items()
    }
    for key in vectors:
        items[f"has_{keys[key]['slug']}"] = (has or {}).get(key, [True] * rows)
    table = pa.table(items)
    source = {"source_root": str(root)} if root else {}
    with StoreWriter(path, keys, source, {"preset": "starter"}, "f") as writer:
        for index, start in enumerate(range(0, rows, shard)):
            stop = min(start + shard, rows)
            arrays = {}
            for key, found in vectors.items():
                pooled = np.ascontiguousarray(found[start:stop])
                arrays[key] = KeyArrays(pooled, *_tokens((sequences or {}).get(key), start, stop))
            part = table.slice(start, stop - start)
            writer.write_shard(index, start, part, arrays, [], (stop - start, 0, 0), {})
        writer.commit(versions={"mmcli": "0"})
    return path


def _tokens(sequences: list[np.ndarray] | None, start: int, stop: int) -> tuple[Any, Any]:
    if sequences is None:
        return None, None
    lengths = [len(tokens) for tokens in sequences[start:stop]]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.concatenate(sequences[start:stop]).astype(np.float32), offsets
