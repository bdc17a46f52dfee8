"""Small stores with labels, pooled vectors, tokens and layers, for tests of fusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.store.slugs import slug_of
from mmcli.store.writer import KeyArrays, StoreWriter


def write_store(
    path: Path,
    vectors: Mapping[str, Any],
    columns: Mapping[str, Sequence[Any]],
    *,
    present: Mapping[str, Any] | None = None,
    sequences: Mapping[str, Sequence[Any]] | None = None,
    layers: Mapping[str, int] | None = None,
    weights: str = "0",
) -> Path:
    """vectors: `(rows, dim)` a key. sequences: of a key, one `(length, dim)` a row."""
    rows = len(next(iter(vectors.values())))
    has = {k: np.ones(rows, bool) if present is None else present.get(k, np.ones(rows, bool))
           for k in vectors}  # fmt: skip
    keys, arrays = {}, {}
    for key, values in vectors.items():
        keys[key] = {
            "slug": slug_of(key), "encoder": f"made-{key}", "dim": values.shape[1],
            "dtype": "F32", "normalized": False, "space": f"{key}@{weights * 12}",
            "weights_sha256": weights * 64, "sequence": key in (sequences or {}),
        }  # fmt: skip
        if key in (layers or {}):
            keys[key]["layer"] = layers[key]
        found = np.where(has[key][:, None], values, 0).astype(np.float32)
        if key in (sequences or {}):
            parts = [
                np.asarray(t, np.float32) if here else np.zeros((0, t.shape[1]), np.float32)
                for t, here in zip(sequences[key], has[key], strict=True)
            ]
            offsets = np.concatenate([[0], np.cumsum([len(t) for t in parts])]).astype(np.int64)
            arrays[key] = KeyArrays(found, np.concatenate(parts), offsets)
        else:
            arrays[key] = KeyArrays(found)
    items = pa.table(
        {
            "id": [f"r{i:05d}" for i in range(rows)],
            **columns,
            **{f"has_{slug_of(k)}": pa.array(h) for k, h in has.items()},
        }
    )
    with StoreWriter(path, keys, {"spec": "made"}, {}, "made") as writer:
        writer.write_shard(0, 0, items, arrays, counts=(rows, 0, 0))
        writer.commit({"mmcli": "test"})
    return path


def splits(rows: int, train: float = 0.5, val: float = 0.2) -> list[str]:
    """train, then val, then test, by row number."""
    return [
        "train" if i < train * rows else "val" if i < (train + val) * rows else "test"
        for i in range(rows)
    ]


def bits(rows: int, dim: int, values: Any, seed: int, noise: float = 0.1) -> Any:
    """Vectors that show a value (1 or -1) along a random direction."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(dim)
    direction /= np.linalg.norm(direction)
    return np.outer(values, direction) + noise * rng.standard_normal((rows, dim))


def everything(path: Path, rows: int = 160, seed: int = 0) -> Path:
    """Four modalities, one with tokens, one with layers, a fifth of all parts absent.

    Columns: `label` of three classes, the third in no validation row; `grade` (ordered numbers),
    `tags` (lists), `score` (a number), `price` and `city`.
    """
    rng = np.random.default_rng(seed)
    split = splits(rows)
    label = rng.integers(0, 3, rows)
    label[[i for i, name in enumerate(split) if name == "val"]] %= 2
    sign = np.where(label == 1, 1.0, -1.0)
    vectors = {
        "text": bits(rows, 6, sign, 1),
        "image": bits(rows, 5, label - 1.0, 2),
        "image:net@1": bits(rows, 4, label - 1.0, 3),
        "image:net@2": bits(rows, 4, sign, 4),
        "speech": rng.standard_normal((rows, 3)),
    }
    tokens = [rng.standard_normal((1 + i % 4, 6)) + 0.5 * sign[i] for i in range(rows)]
    parts = rng.random((3, rows)) >= 0.2
    present = {"text": parts[0], "image": parts[1], "image:net@1": parts[1],
               "image:net@2": parts[1], "speech": parts[2]}  # fmt: skip
    columns = {
        "label": [["red", "green", "blue"][v] for v in label],
        "grade": (label + (rng.random(rows) < 0.1)).tolist(),
        "tags": [[n for n, on in (("a", v > 0), ("b", v == 1)) if on] for v in label],
        "score": (sign + 0.3 * rng.standard_normal(rows)).tolist(),
        "price": [None if i % 7 == 0 else float(v) for i, v in enumerate(rng.random(rows))],
        "city": [["Paris", "北京", None][i % 3] for i in range(rows)],
        "split": split,
    }
    return write_store(path, vectors, columns, present=present, sequences={"text": tokens},
                       layers={"image:net@1": 1, "image:net@2": 2})  # fmt: skip


def xor_store(path: Path, rows: int = 900, seed: int = 0) -> Path:
    """The label is whether two bits, one a modality, differ; either alone says nothing.

    Half of the rows test, so that chance is near a half.
    """
    rng = np.random.default_rng(seed)
    a, b = rng.choice([-1, 1], rows), rng.choice([-1, 1], rows)
    vectors = {"text": bits(rows, 8, a, 10), "image": bits(rows, 12, b, 11)}
    columns = {"label": np.where(a != b, "yes", "no").tolist(), "split": splits(rows, 0.4, 0.1)}
    return write_store(path, vectors, columns)
