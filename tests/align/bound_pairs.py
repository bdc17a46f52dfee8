"""Stores of sequences whose pooled vectors cannot tell partners apart, and whose tokens can.

An item is two things side by side, each of a colour and a shape; its partner has the colours
exchanged. The words are colour, shape, colour, shape; the picture is a grid of four patches, the
upper two of which show the things, left and right, as the sum of both codes.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mmcli.store.writer import KeyArrays, StoreWriter

DIMS = {"text": 12, "image": 20}
KINDS = 5


def bound_pairs(
    path: Path, pairs: int = 200, *, seed: int = 0, absent: int = 0, sequence: bool = True
) -> Path:
    """Rows 2i and 2i + 1 are partners. absent: how many of the first rows have no picture."""
    draw = np.random.default_rng(seed)
    codes = np.random.default_rng(99).standard_normal((2, KINDS, 8))
    maps = {key: np.random.default_rng(len(key)).standard_normal((8, dim)) / 3
            for key, dim in DIMS.items()}  # fmt: skip
    items = []
    for _ in range(pairs):
        (first, second), shapes = draw.choice(KINDS, 2, replace=False), draw.choice(KINDS, 2)
        items += [((first, second), shapes), ((second, first), shapes)]
    sequences: dict[str, list[np.ndarray]] = {"text": [], "image": []}
    for colours, shapes in items:
        colour, shape = codes[0][list(colours)], codes[1][list(shapes)]
        words = np.stack([colour[0], shape[0], colour[1], shape[1]]) @ maps["text"]
        if draw.random() < 0.3:  # an "and": captions differ in length, partners need not
            words = np.concatenate([words, np.zeros((1, DIMS["text"]))])
        patches = np.zeros((4, 8))
        patches[:2] = colour + shape
        sequences["text"].append(words.astype(np.float32))
        noise = 0.1 * draw.standard_normal((4, DIMS["image"]))
        sequences["image"].append((patches @ maps["image"] + noise).astype(np.float32))
    _write(path, sequences, absent, sequence, seed)
    return path


def _write(
    path: Path, sequences: dict[str, list[np.ndarray]], absent: int, sequence: bool, seed: int
) -> None:
    rows = len(sequences["text"])
    keys, arrays, columns = {}, {}, {}
    for key, found in sequences.items():
        has = np.arange(rows) >= (absent if key == "image" else 0)
        found = [tokens if there else tokens[:0] for tokens, there in zip(found, has, strict=True)]
        pooled = np.stack([t.mean(0) if len(t) else np.zeros(t.shape[1]) for t in found])
        values = np.concatenate(found)
        offsets = np.cumsum([0, *map(len, found)]).astype(np.int64)
        arrays[key] = KeyArrays(pooled.astype(np.float32), *([values, offsets] * sequence))
        keys[key] = {"slug": key, "encoder": f"bound-{key}", "dim": DIMS[key], "dtype": "F32",
                     "normalized": False, "space": f"{key}@0123456789ab",
                     "weights_sha256": "0" * 64, "sequence": sequence}  # fmt: skip
        columns[f"has_{key}"] = has
    split = [("test", "val", "train", "train", "train")[i // 2 % 5] for i in range(rows)]
    names = [f"{i:04d}" for i in range(rows)]
    with StoreWriter(path, keys, {"spec": "bound"}, {}, f"seed {seed}") as writer:
        table = pa.table({"id": names, "split": split, **columns})
        writer.write_shard(0, 0, table, arrays, counts=(rows - absent, absent, 0))
        writer.commit({"mmcli": "0.1.0"})
