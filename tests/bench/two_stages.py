"""Two stages: pairs without labels first, then fifty labels, against fifty labels alone.

Pictures alone are told apart in the second stage, by the same head and budget: on the encoders, on
the pre-trained tower beside them (as `--from` reads it), and on the tower alone. Five draws of the
labelled rows; test rows are in neither stage. On scenes captions name some labels and never others;
on Tux Paint's stamps they name what is seen, not its category.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.data.splits import SplitOptions
from mmcli.store.reader import Store
from mmcli.workflows.align.seed_intervals import mean_interval
from mmcli.workflows.data.synth import SynthConfig, synth
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from mmcli.workflows.finetune.run import finetune
from tests.bench.material import stamps

Row = dict[str, Any]
SCENES, DRAWS, LABELLED = 2_000, 5, 50
PICTURES = ("conse-efficientnet-lite0", "efficientnet-lite0")
SCENE_LABELS = ("layout", "texture_1", "shape_1", "backdrop")


def two_stages(cache: Path) -> list[Row]:
    """Accuracy on test rows after fifty labels, with and without the first stage."""
    folder = cache / "two-stages"
    scenes = folder / "scenes"
    if not (scenes / "items.jsonl").exists():
        synth(SynthConfig("scenes", str(scenes), {"n": SCENES}, force=True))
    rows = _measure(folder / "by-scenes", scenes, "scenes", SCENE_LABELS)
    unpacked = stamps(cache)
    if unpacked is not None:
        table = stamp_table(folder / "stamps.jsonl", unpacked)
        rows += _measure(folder / "by-stamps", table, "stamps", ("category",))
    return rows


def stamp_table(path: Path, root: Path) -> Path:
    """Stamps with a caption, their category, and a split by caption: a fifth tests."""
    base = root / "usr" / "share" / "tuxpaint" / "stamps"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for picture in sorted(base.rglob("*.png")):
        words = picture.with_suffix(".txt")
        if not words.exists():
            continue
        caption = words.read_text(encoding="utf-8").split("\n")[0].strip()
        category = picture.relative_to(base).parts[0]
        lines.append({"id": str(picture.relative_to(base)), "image": str(picture),
                      "text": caption, "category": category})  # fmt: skip
    captions = sorted({line["text"] for line in lines})
    order = np.random.default_rng(0).permutation(len(captions))
    held = {captions[i] for i in order[: len(captions) // 5]}
    val = {captions[i] for i in order[len(captions) // 5 : 3 * len(captions) // 10]}
    for line in lines:
        text = line["text"]
        line["split"] = "test" if text in held else "val" if text in val else "train"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def _measure(folder: Path, source: Path, name: str, labels: Sequence[str]) -> list[Row]:
    folder.mkdir(parents=True, exist_ok=True)
    pairs = _extracted(folder / "pairs", source, {"text": ("minilm-l6",), "image": PICTURES})
    first = folder / "first"
    if not (first / "manifest.json").exists():
        finetune(FinetuneConfig(task="pretrain", data=str(pairs), output=str(first), force=True))
    towers = (f"model:{first}", *(f"model:{first}#image:{p}" for p in PICTURES))
    stores = {
        "alone": _extracted(folder / "alone", source, {"image": PICTURES}),
        "two stages": _extracted(folder / "staged", source, {"image": towers}),
        "two stages, tower alone": _extracted(folder / "tower", source, {"image": towers[:1]}),
    }
    draws = [draw_file(folder / f"draw-{d}.parquet", stores["alone"], d) for d in range(DRAWS)]
    rows = []
    for label in labels:
        found = {
            what: [_accuracy(folder / "model", store, label, draw) for draw in draws]
            for what, store in stores.items()
        }
        rows += table_rows(name, label, found)
    return rows


def table_rows(name: str, label: str, found: Mapping[str, Sequence[float]]) -> list[Row]:
    """A row a way, with the gain on the first one, draw by draw."""
    base = next(iter(found.values()))
    rows = []
    for what, values in found.items():
        mean, half = mean_interval(values)
        row: Row = {"what": f"{name}: {label}, {what}", "accuracy": mean, "±": half}
        if values is not base:
            gains = [a - b for a, b in zip(values, base, strict=True)]
            row["gain"], row["gain ±"] = mean_interval(gains)
        rows.append(row)
    return rows


def draw_file(path: Path, store: Path, seed: int) -> Path:
    """A split file: fifty of the rows that pre-training may see to learn from, its test rows."""
    table = Store.open(store).items(["id", "split"])
    names = np.array(table.column("split").to_pylist(), object)
    pool = np.flatnonzero(names != "test")
    chosen = np.random.default_rng(seed).choice(pool, LABELLED, replace=False)
    split = np.where(names == "test", "test", "unlabelled").astype(object)
    split[chosen] = "train"
    pq.write_table(pa.table({"id": table.column("id"), "split": split.tolist()}), path)
    return path


def _extracted(path: Path, source: Path, encoders: Mapping[str, tuple[str, ...]]) -> Path:
    if not (path / "manifest.json").exists():
        config = ExtractConfig(str(source), str(path), encoders=encoders, only=tuple(encoders),
                               force=True)  # fmt: skip
        extract(config)
    return path


def _accuracy(model: Path, store: Path, label: str, draw: Path) -> float:
    """Of the test rows, the mean of three seeds; there is no val, so every epoch is made."""
    report = finetune(
        FinetuneConfig(
            task="classification",
            data=str(store),
            output=str(model),
            label=label,
            method="early:concat",
            quality="fast",
            seeds=3,
            splits=SplitOptions(split_file=str(draw), val_fraction=0.0),
            tricks=TrickOptions(epochs=60),
            force=True,
        )
    )
    row = next(r for r in report["table"] if r["model"] == "early:concat")
    return float(row["accuracy"])
