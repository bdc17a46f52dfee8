"""Stores whose modalities are known functions of one hidden cause, for tests of alignment."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.store.slugs import slug_of
from mmcli.store.writer import KeyArrays, StoreWriter


def unit(x: Any) -> Any:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def planted(
    path: Path,
    rows: int = 300,
    dims: dict[str, int] | None = None,
    *,
    noise: float = 0.05,
    spaces: dict[str, str] | None = None,
    absent: dict[str, float] | None = None,
    shards: int = 2,
    seed: int = 0,
    twins: int = 1,
) -> Path:
    """Each key is a fixed linear map of an 8-d cause plus noise; `twins` rows share a cause.

    absent: share of rows that lack a key. The maps hang on the keys alone, so that stores of
    different seeds are of the same making.
    """
    dims = dims or {"text": 16, "image": 24}
    random = np.random.default_rng(seed)
    cause = np.repeat(random.standard_normal((rows // twins, 8)), twins, axis=0)
    rows = len(cause)
    vectors, present = {}, {}
    for number, (key, dim) in enumerate(dims.items()):
        maps = np.random.default_rng(sum(map(ord, key))).standard_normal((8, dim))
        drawn = np.random.default_rng((seed, number))
        x = cause @ maps / 8**0.5 + noise * drawn.standard_normal((rows, dim))
        has = drawn.random(rows) >= (absent or {}).get(key, 0.0)
        vectors[key], present[key] = (unit(x) * has[:, None]).astype(np.float32), has
    keys = {
        key: {"slug": slug_of(key), "encoder": f"planted-{key}", "dim": dim, "dtype": "F32",
              "normalized": True, "space": (spaces or {}).get(key, f"{key}@0123456789ab"),
              "weights_sha256": "0" * 64, "sequence": False}
        for key, dim in dims.items()
    }  # fmt: skip
    edges = np.linspace(0, rows, shards + 1).astype(int).tolist()
    with StoreWriter(path, keys, {"spec": "planted"}, {}, f"seed {seed}") as writer:
        for index, (start, stop) in enumerate(pairwise(edges)):
            here = slice(start, stop)
            items = pa.table({
                "id": [f"{seed}-{i}" for i in range(start, stop)],
                "cause": [i // twins for i in range(start, stop)],
                "split": ["test" if (i // twins) % 4 == 0 else "train" for i in range(start, stop)],
                **{f"has_{slug_of(key)}": present[key][here] for key in dims},
            })  # fmt: skip
            arrays = {key: KeyArrays(vectors[key][here]) for key in dims}
            writer.write_shard(index, int(start), items, arrays, counts=(stop - start, 0, 0))
        writer.commit({"mmcli": "0.1.0"})
    return path
