"""Small data for generative models: coloured pictures, what colour they are, in every form."""

import atexit
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from PIL import Image

from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from tests.tasks.generative.tiny_vlms import BUILDERS

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}
QUESTIONS = ("what colour is it?", "what colour is the circle?")


@cache
def tiny(name: str) -> Path:
    """A tiny model of a family, made once, gone when the tests are over."""
    place = Path(mkdtemp(prefix="mmcli-vlm-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return BUILDERS[name](place / name)


def rows(count: int, test: int = 3) -> list[dict[str, Any]]:
    """Rows of a question table; the last ones are test and, before them, as many val."""
    found = []
    for number in range(count):
        colour = list(COLOURS)[number % 3]
        split = "test" if number >= count - test else "val" if number >= count - 2 * test else ""
        found.append(
            {
                "image": f"{number}.png",
                "text": QUESTIONS[number % 2],
                "answer": colour,
                "split": split or "train",
                "question_type": "colour",
            }
        )
    return found


def table(folder: Path, made: Sequence[Mapping[str, Any]], name: str = "data.jsonl") -> Path:
    """The rows as JSONL, their pictures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(made):
        paint(folder, number, row.get("answer", "red"))
    return lines(folder / name, made)


def paint(folder: Path, number: int, colour: str) -> Path:
    """A picture of one colour; some are wider than others."""
    path = folder / f"{number}.png"
    Image.new("RGB", (40 + 4 * (number % 2), 40), COLOURS[colour]).save(path)
    return path


def lines(path: Path, made: Iterable[Any]) -> Path:
    """JSONL of anything."""
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in made)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def config(data: Path, output: Path, family: str, **more: Any) -> FinetuneConfig:
    """A short run in fp32."""
    tricks = {"epochs": 10, "batch": 6, "lr": 0.01, **more.pop("tricks", {})}
    options = {"max_new_tokens": "3", "baselines": "no", **more.pop("options", {})}
    told = {"strategy": {"": "full"}, "precision": "fp32", "checkpoint_s": -1.0, "task": "vqa"}
    return FinetuneConfig(
        **{**told, **more},
        data=str(data),
        output=str(output),
        model=f"local:{tiny(family)}",
        tricks=TrickOptions(**tricks),
        options=options,
    )
