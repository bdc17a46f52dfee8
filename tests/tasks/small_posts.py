"""A few pictures with words, whose label needs both, and a tiny CLIP to read them with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from tests.contracts.tiny_models import clip

ROWS = 72


def write_posts(folder: Path, rows: int = ROWS) -> Path:
    """A JSONL of red or blue pictures and texts of cats or dogs; the label is whether both fit."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(3)
    lines = []
    for row in range(rows):
        red, cat = row % 2, (row // 2) % 2
        pixels = random.integers(0, 60, (36, 36, 3)).astype(np.uint8)
        pixels[..., 0 if red else 2] += 150
        Image.fromarray(pixels).save(folder / f"{row:03d}.png")
        words = " ".join(random.permutation(["a", "photo", "on", "the", "mat"])[:3])
        lines.append(
            {
                "id": f"p{row:03d}",
                "image": f"{row:03d}.png",
                "text": f"{words} {'cat' if cat else 'dog'}",
                "label": "yes" if red == cat else "no",
                "score": float(red + cat - 1) + float(random.normal(0, 0.05)),
                "split": ("train", "train", "val", "test")[(row // 4) % 4],
            }
        )
    path = folder / "posts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def config_of(posts: Path, goal: Path, clip_folder: Path, /, **told: Any) -> FinetuneConfig:
    """A small, exact run: two epochs in fp32 on one thread's worth of data."""
    tricks = {"epochs": 2, "batch": 8, "lr": 1e-3, **told.pop("tricks", {})}
    reference = f"local:{clip_folder}"
    return FinetuneConfig(
        **{
            "task": "classification",
            "data": str(posts),
            "output": str(goal),
            "encoders": {"image": (reference,), "text": (reference,)},
            "method": "early:concat",
            "quality": "fast",
            "precision": "fp32",
            "workers": 0,
            "tricks": TrickOptions(**tricks),
            **told,
        }
    )


def tiny_clip(folder: Path) -> Path:
    """The model of `config_of`."""
    return clip(folder / "clip")
