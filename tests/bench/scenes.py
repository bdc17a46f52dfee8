"""Scenes whose captions differ only in binding: words alone, a retriever, and what re-ranks it.

Held-out pairs only. A query is right when its own target scores higher than its partner's; a tie is
half right, so that whoever knows the words and not their order gets 0.5.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import mmcli_command

Row = dict[str, Any]
SCENES, SEEDS = 4000, 3
#: The last layer's tokens, and those of layer 4, in which words are still more themselves.
TEXT_KEYS = ("text", "text:minilm-l6@4")
#: Scores of queries (rows of the store) with targets (rows), in a direction.
Score = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


def scenes(cache: Path) -> list[Row]:
    """Accuracy over the matched pairs, both directions, mean and range over seeds."""
    from mmcli.store.reader import Store
    from mmcli.workflows.align.data import DataConfig, load_data

    store = scenes_store(cache)
    seeds = range(int(os.environ.get("MMCLI_BENCH_SEEDS", SEEDS)))
    opened = Store.open(store)
    pooled = load_data(opened, DataConfig(("text", "image"), ("text", "image")))
    queries = pooled.test[np.isin(pooled.test ^ 1, pooled.test)]
    rows = [_row("words without order, ridge", queries, [(_bag_of_words(opened, pooled), 0.0)])]
    rows.append(_row("contrastive", queries, [_contrastive(pooled, seed) for seed in seeds]))
    for key in TEXT_KEYS:
        data = load_data(opened, DataConfig(("text", "image"), (key, "image")), sequence=True)
        found = [_cross_attention(data, seed) for seed in seeds]
        rows.append(_row(f"cross-attention over {key}", queries, found))
    return rows


def scenes_store(cache: Path) -> Path:
    """The pictures and captions, and their tokens and patches, made once."""
    made, store = cache / "scenes", cache / "scenes-tokens"
    if not (store / "manifest.json").exists():
        for words in (
            ("data", "synth", "scenes", "-o", made, "-n", SCENES, "--force", "-q"),
            ("extract", made, "-o", store, "--only", "text,image", "--image", "efficientnet-lite0",
             "--sequence", "--layers", "4", "--store-dtype", "fp16", "--force", "-q"),
        ):  # fmt: skip
            subprocess.run(mmcli_command(*words), check=True)
    return store


def _row(name: str, queries: np.ndarray, found: list[tuple[Score, float]]) -> Row:
    row: Row = {"what": name, "queries": len(queries)}
    for direction in ("text-to-image", "image-to-text"):
        each = [_accuracy(score, direction, queries) for score, _ in found]
        row[f"{direction} of 2"] = float(np.mean(each))
        row[f"range {direction}"] = f"{min(each):.3f} to {max(each):.3f}"
    row["train s"] = float(np.mean([seconds for _, seconds in found]))
    return row


def _accuracy(score: Score, direction: str, queries: np.ndarray) -> float:
    own, partner = score(direction, queries, queries), score(direction, queries, queries ^ 1)
    return float(((own > partner) + 0.5 * (own == partner)).mean())


def _bag_of_words(store: Any, data: Any) -> Score:
    """Counts of words, mapped to the pictures' vectors by ridge regression."""
    texts = [re.findall(r"\w+", text) for text in store.items(["text"])["text"].to_pylist()]
    words = {word: i for i, word in enumerate(sorted({w for text in texts for w in text}))}
    counts = np.zeros((len(texts), len(words)))
    for row, text in enumerate(texts):
        for word in text:
            counts[row, words[word]] += 1
    image = store.load("image").astype(np.float64)
    spread = np.maximum(image[data.features.train].std(0), 1e-6)
    image = (image - image[data.features.train].mean(0)) / spread
    known = np.union1d(data.features.train, data.features.val)
    x = counts[known] - counts[known].mean(0)
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ image[known])
    mapped = (counts - counts[known].mean(0)) @ weights
    return _cosines({"text": mapped, "image": image})


def _contrastive(data: Any, seed: int) -> tuple[Score, float]:
    from mmcli.align.contrastive import fit
    from mmcli.align.fitting import AlignOptions, FitRun

    began = time.perf_counter()
    towers = fit(data.features, AlignOptions(), FitRun(seed=seed)).directions["both"]
    seconds = time.perf_counter() - began
    every = np.arange(len(data.features.groups))
    parts = data.features.parts
    return _cosines({n: towers[n].apply(parts[n].take(every)) for n in parts}), seconds


def _cosines(vectors: dict[str, np.ndarray]) -> Score:
    def score(direction: str, queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
        asked, answered = direction.split("-to-")
        x, y = vectors[asked][queries], vectors[answered][targets]
        product = np.einsum("nd,nd->n", x, y) / np.linalg.norm(y, axis=1)
        return (product / np.linalg.norm(x, axis=1)).astype(np.float32)

    return score


def _cross_attention(data: Any, seed: int) -> tuple[Score, float]:
    """The scorer as it is trained, in the precision of `--precision auto`."""
    from mmcli.align.cross_attention import fit
    from mmcli.align.fitting import AlignOptions, FitRun
    from mmcli.align.pair_model import PairModel, PairShape, torch
    from mmcli.align.pair_scores import Placed
    from mmcli.engine.device import place, probe
    from mmcli.store.mapped_sequences import MappedSequences

    there = place("auto", "auto", probe())
    began = time.perf_counter()
    fitted = fit(data.features, AlignOptions(), FitRun(seed, there.device, there.dtype))
    seconds = time.perf_counter() - began
    assert fitted.config is not None and fitted.arrays is not None
    model = PairModel(PairShape.from_json(fitted.config["model"]))
    model.load_state_dict({n: torch.from_numpy(a) for n, a in fitted.arrays.items()})
    placed = Placed(model.eval())
    read = []
    for number, part in enumerate(data.features.parts.values()):
        sequences = MappedSequences(data.features.store, part.keys[0])
        read.append(placed.read(number, sequences.take(data.test)))
    place_of = {int(row): i for i, row in enumerate(data.test)}

    def score(direction: str, queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
        pair = (queries, targets) if direction == "text-to-image" else (targets, queries)
        first, second = (np.array([place_of[int(r)] for r in rows], np.int64) for rows in pair)
        return placed.match(read[0], read[1], first, second)

    return score, seconds
