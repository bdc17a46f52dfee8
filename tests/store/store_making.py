"""Small stores for the tests: made by the real writer, from numbers that a seed gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.store.writer import Failure, KeyArrays, StoreWriter

DIM = 4
ROWS = 5
SHARDS = 3
KEYS: dict[str, dict[str, Any]] = {
    "image": {"slug": "image", "encoder": "e", "dim": DIM, "dtype": "F32", "normalized": True,
              "space": "e@0123456789ab", "sequence": False},
    "text:other": {"slug": "text.other", "encoder": "o", "dim": 3, "dtype": "F16",
                   "normalized": False, "space": "o@ba9876543210", "sequence": True},
}  # fmt: skip
OPTIONS = {"preset": "starter", "shard_size": ROWS, "layers": []}
SOURCE = {"spec": "photos", "kind": "folder", "source_root": "/data/photos"}


def writer(path: Path, **changes: Any) -> StoreWriter:
    settings = {"keys": KEYS, "source": SOURCE, "options": OPTIONS, "fingerprint": "f0"}
    return StoreWriter(path, **{**settings, **changes})


def shard(index: int, salt: int = 0) -> dict[str, Any]:
    """The arguments of `write_shard`: row 0 of shard 1 failed, row 1 has no text."""
    random = np.random.default_rng(100 * salt + index)
    image = random.standard_normal((ROWS, DIM)).astype(np.float32)
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    text = random.standard_normal((ROWS, 3)).astype(np.float16)
    lengths = random.integers(1, 4, ROWS)
    has_image, has_text = np.ones(ROWS, bool), np.ones(ROWS, bool)
    text[1], lengths[1], has_text[1] = 0, 0, False
    ids = [f"{index}/item-{row}-é" for row in range(ROWS)]
    failures = []
    if index == 1:
        image[0], has_image[0] = 0, False
        failures = [Failure(ids[0], "image", "a.jpg", "corrupt", "cannot be decoded")]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = random.standard_normal((int(offsets[-1]), 3)).astype(np.float16)
    items = pa.table({
        "id": ids,
        "label": [row % 2 for row in range(ROWS)],
        "has_image": has_image,
        "has_text.other": has_text,
    })  # fmt: skip
    return {
        "index": index,
        "start": index * ROWS,
        "items": items,
        "arrays": {"image": KeyArrays(image), "text:other": KeyArrays(text, values, offsets)},
        "failures": failures,
        "counts": (ROWS - len(failures), len(failures), 0),
        "notes": {"text:other:truncated": index},
    }


def make_store(path: Path, salt: int = 0, **changes: Any) -> dict[str, Any]:
    with writer(path, **changes) as store:
        for index in range(SHARDS):
            store.write_shard(**shard(index, salt))
        return store.commit(versions={"mmcli": "0.1.0"})


def contents(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(path.iterdir())}
