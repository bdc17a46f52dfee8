"""Questions whose answers are known: tokens of made pictures in a store, and small raw tables.

A picture is a grid of 3 x 3 patches, two of which hold a shape in a colour; a question names a
shape and asks its colour, or whether it has one. Neither the picture nor the question alone says
more than how often each answer occurs.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from tests.evaluate.small_stores import write_store

SHAPES, COLOURS = 4, ("red", "green", "blue", "pink")
CELLS = 9
RGB = {"red": (220, 30, 30), "green": (30, 160, 40), "blue": (30, 60, 220)}


def token_store(path: Path, rows: int = 400, seed: int = 0) -> Path:
    """A store whose image and text keys are sequences; columns answer, type, scene and split."""
    random = np.random.default_rng(seed)
    width = SHAPES + len(COLOURS)
    pictures, questions = [], []
    columns: dict[str, list[Any]] = {n: [] for n in ("answer", "type", "image", "text", "split")}
    for row in range(rows):
        shapes = random.permutation(SHAPES)[:2]
        colours = random.permutation(len(COLOURS))[:2]
        patches = 0.3 * random.standard_normal((CELLS, width))
        for cell, shape, colour in zip(random.permutation(CELLS)[:2], shapes, colours, strict=True):
            patches[cell, shape] += 2
            patches[cell, SHAPES + colour] += 2
        asked = int(random.integers(2))
        words = np.zeros((2, width + 1))
        words[0, shapes[asked]] = 2
        words[1, -1] = 2
        kind, answer = "colour", COLOURS[colours[asked]]
        pictures.append(patches.astype(np.float32))
        questions.append(words.astype(np.float32))
        columns["answer"].append(answer)
        columns["type"].append(kind)
        columns["image"].append(f"{row}.png")
        columns["text"].append(f"what colour is shape {shapes[asked]}?")
        columns["split"].append(("train", "train", "train", "val", "test")[row % 5])
    return write_store(
        path,
        {
            "image": np.stack([p.mean(0) for p in pictures]),
            "text": np.stack([q.mean(0) for q in questions]),
        },
        columns,
        sequences={"image": pictures, "text": questions},
        root=path.parent,
    )


def picture_table(folder: Path, pictures: int = 12, **changes: dict[str, Any]) -> Path:
    """A JSONL of two questions a picture: what colour its left and its right half have.

    changes: values by column of single rows, by `r` and their number, as in `r3={"text": ""}`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    names = list(RGB)
    lines = []
    for number in range(pictures):
        left, right = random.permutation(names)[:2]
        canvas = Image.new("RGB", (64, 64), RGB[left])
        ImageDraw.Draw(canvas).rectangle((32, 0, 63, 63), fill=RGB[right])
        canvas.save(folder / f"{number}.png")
        for side, answer in (("left", left), ("right", right)):
            lines.append(
                {
                    "id": f"p{number}-{side}",
                    "image": f"{number}.png",
                    "text": f"what colour is the {side} half?",
                    "answer": str(answer),
                    "split": ("train", "train", "train", "val", "test", "test")[number % 6],
                }
            )
    for name, values in changes.items():
        lines[int(name[1:])].update(values)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def config_of(data: Path, output: Path, /, **told: Any) -> FinetuneConfig:
    """A short, exact run."""
    tricks = {"epochs": 15, "batch": 48, "head_lr": 4e-3, **told.pop("tricks", {})}
    return FinetuneConfig(
        **{
            "task": "vqa",
            "data": str(data),
            "output": str(output),
            "precision": "fp32",
            "workers": 0,
            "seeds": 1,
            "strategy": {"": "probe"},
            "tricks": TrickOptions(**tricks),
            "options": {"width": "32", "noise": "0.3", **told.pop("options", {})},
            **told,
        }
    )
