"""Stores of clustered vectors with ids, labels and texts, without an encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.store.writer import KeyArrays, StoreWriter

DIM = 32
SPACE = "made-up@0123456789ab"
WORDS = ("red", "green", "blue", "grey", "猫在睡觉", "一只老虎")


def clustered(n: int, seed: int = 0, dim: int = DIM, clusters: int = 40) -> NDArray[np.float32]:
    """Unit vectors `(n, dim)` around common centres."""
    centres = np.random.default_rng(99).standard_normal((clusters, dim))
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, clusters, n)] + 0.6 * rng.standard_normal((n, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows, np.float32)


def write_store(
    path: Path,
    vectors: NDArray[np.float32],
    ids: Sequence[str],
    space: str = SPACE,
    shard_rows: int = 1 << 20,
    root: Path | None = None,
    **columns: Sequence[object],
) -> Path:
    """A store with key `image`; every hundredth item is a cat unless `label` is given.

    root: what the paths in it are relative to.
    """
    entry = {
        "slug": "image",
        "encoder": "made-up",
        "dim": vectors.shape[1],
        "dtype": "F32",
        "normalized": True,
        "space": space,
        "sequence": False,
    }
    labels = ["cat" if i % 100 == 0 else "dog" for i in range(len(ids))]
    texts = [f"{WORDS[i % len(WORDS)]} thing {i}" for i in range(len(ids))]
    given = {"label": labels, "text": texts, **columns}
    table = pa.table({"id": list(ids), **given, "has_image": [True] * len(ids)})
    source = {"source_root": None if root is None else str(root)}
    with StoreWriter(path, {"image": entry}, source, {}, f"{path}") as writer:
        for index, start in enumerate(range(0, len(ids), shard_rows)):
            part = table.slice(start, shard_rows)
            arrays = {"image": KeyArrays(vectors[start : start + shard_rows])}
            writer.write_shard(index, start, part, arrays, [], (len(part), 0, 0), {})
        writer.commit(versions={"mmcli": "0"})
    return path


def names(n: int, prefix: str = "a") -> list[str]:
    """Ids `a000000`, `a000001` …"""
    return [f"{prefix}{i:06d}" for i in range(n)]
