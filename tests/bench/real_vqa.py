"""Questions about collages of real stamps on real photographs, held-out stamps, two languages.

The starter's text encoder is English: of Chinese it knows single characters only, so the Chinese
rows say what a model makes of questions whose words it can tell apart but hardly read.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mmcli.workflows.demo_photographs import find_photographs
from tests.bench.collages import make_collages
from tests.bench.material import stamps

Row = dict[str, Any]
PICTURES, DRAWS, EPOCHS = 1500, 3, 24
MODELS = ("votes", "question only", "picture only", "most frequent answer")


def real_vqa(cache: Path) -> list[Row]:
    """The VQA score on held-out stamps, by language and kind of question, over three draws."""
    from mmcli.workflows.align.seed_intervals import mean_interval

    root = stamps(cache)
    if root is None:
        return []
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    sizes: dict[str, list[int]] = defaultdict(list)
    for draw in range(DRAWS):
        folder = cache / "real-vqa" / f"draw-{draw}"
        table = make_collages(root, find_photographs(), folder, PICTURES, draw)
        for what, rows, by_model in _draw(table, folder / "model", draw):
            sizes[what].append(rows)
            for model, value in by_model.items():
                scores[what, model].append(value)
    found = []
    for what, rows in sizes.items():
        row: Row = {"what": what, "test rows": int(np.mean(rows))}
        for model in MODELS:
            values = scores.get((what, model))
            if values:
                mean, half = mean_interval(values)
                row[model] = f"{mean:.3f} ± {half:.3f}"
        found.append(row)
    return found


def _draw(table: Path, model: Path, seed: int) -> list[tuple[str, int, dict[str, float]]]:
    from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
    from mmcli.workflows.finetune.vqa.predict import predict_vqa
    from mmcli.workflows.finetune.vqa.run import run
    from mmcli.workflows.predict.raw import RawPredict

    report = run(
        FinetuneConfig(
            task="vqa",
            data=str(table),
            output=str(model),
            tricks=TrickOptions(epochs=EPOCHS),
            seeds=1,
            seed=seed,
            force=True,
        )
    )
    found = [
        (row["type"], row["rows"], {name: row[name] for name in MODELS})
        for row in report["by_type"]
    ]
    output = model.parent / "predictions"
    predict_vqa(RawPredict(str(model), str(table), str(output), split="test", force=True))
    said = pq.read_table(next(output.glob("items*.parquet"))).to_pylist()
    kinds = {row["id"]: row for row in _rows(table)}
    right: dict[str, list[float]] = defaultdict(list)
    for row in said:
        name = f"{kinds[row['id']]['kind']}, {row['question_type']}"
        right[name].append(float(row["prediction"] == row["label"]))
    found += [(n, len(v), {"votes": float(np.mean(v))}) for n, v in sorted(right.items())]
    return found


def _rows(table: Path) -> list[Row]:
    return [json.loads(line) for line in table.read_text("utf-8").splitlines()]
