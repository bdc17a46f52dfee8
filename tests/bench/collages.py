"""Collages: Tux Paint's stamps on photographs of scikit-image, with questions in two languages.

Made at run time and never kept in the repository: the stamps (`tuxpaint-stamps-default`, GPL-2 and
what its copyright file says of single pictures) by apt, the photographs (public domain, CC0) from
the scikit-image package. Held out are stamps, by caption, and photographs, other ones of each seed:
no test picture shows anything that a train picture did. Category = first folder; the captions in
questions are the package's own English and zh_CN ones, the other Chinese words are ours.
"""

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

Row = dict[str, Any]
SIDE = 224
LANGUAGES = {"en": "English", "zh": "Chinese"}
#: Category by folder: in English and in Chinese.
CATEGORIES = {
    "animals": ("animal", "动物"),
    "food": ("food", "食物"),
    "household": ("household item", "家居用品"),
    "plants": ("plant", "植物"),
    "vehicles": ("vehicle", "交通工具"),
    "town": ("building or sign", "建筑或标志"),
}
#: Names of colours, and the hue that each begins at, in degrees.
COLOURS = (
    ("red", "红色", 345), ("orange", "橙色", 15), ("yellow", "黄色", 42), ("green", "绿色", 70),
    ("blue", "蓝色", 165), ("purple", "紫色", 260),
)  # fmt: skip
GREYS = (("brown", "棕色"), ("black", "黑色"), ("grey", "灰色"), ("white", "白色"))
#: Share of a stamp's pixels that must have a colour for it to be asked for.
CLEAR = 0.55
PLACES = (("left", "左边"), ("right", "右边"))
SPLITS = {"train": 0.65, "val": 0.1, "test": 0.25}
SIZES = {"large": 118, "small": 76}


@dataclass(frozen=True)
class Stamp:
    """One stamp. colour: number in COLOURS + GREYS, None where it has no clear one."""

    path: Path
    category: str
    english: str
    chinese: str
    colour: int | None


def make_collages(stamps: Path, photographs: Path, folder: Path, n: int, seed: int = 0) -> Path:
    """Write `n` pictures and their questions into `folder`; the table of them."""
    table = folder / "questions.jsonl"
    if table.exists():
        return table
    (folder / "images").mkdir(parents=True, exist_ok=True)
    known = _by_split(read_stamps(stamps), seed)
    photos = {
        path.stem: path
        for path in sorted([*photographs.glob("*.png"), *photographs.glob("*.jpg")])
        if Image.open(path).mode == "RGB" and min(Image.open(path).size) >= SIDE
    }
    grounds: dict[str, list[Path]] = defaultdict(list)
    for name, part in _parts(set(photos), seed).items():
        grounds[part].append(photos[name])
    rows: list[Row] = []
    for number in range(n):
        draw = Random(f"collage {seed} {number}")
        split = draw.choices([*SPLITS], [0.7, 0.08, 0.22])[0]
        rows += _collage(draw, known[split], grounds[split], folder, f"{number:05d}", split)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    table.write_text("".join(lines), "utf-8")
    return table


def read_stamps(root: Path) -> list[Stamp]:
    """Every stamp of the categories that has a caption in English and in Chinese."""
    base = root / "usr/share/tuxpaint/stamps"
    found = []
    for path in sorted(base.rglob("*.png")):
        text = path.with_suffix(".txt")
        category = path.relative_to(base).parts[0]
        if category not in CATEGORIES or not text.exists():
            continue
        lines = text.read_text("utf-8", "replace").splitlines()
        chinese = [line.partition("=")[2] for line in lines if line.startswith("zh_CN.utf8=")]
        english = lines[0].strip().rstrip(".!")
        if chinese and chinese[0].strip() and len(english.split()) <= 8:
            found.append(Stamp(path, category, english, chinese[0].strip(" 。！."), _colour(path)))
    return found


def _by_split(stamps: list[Stamp], seed: int) -> dict[str, dict[str, list[Stamp]]]:
    """Stamps by split and category; those of one caption stay together."""
    found: dict[str, dict[str, list[Stamp]]] = {n: defaultdict(list) for n in SPLITS}
    for category in CATEGORIES:
        of = [stamp for stamp in stamps if stamp.category == category]
        parts = _parts({stamp.english for stamp in of}, seed)
        for stamp in of:
            found[parts[stamp.english]][category].append(stamp)
    return found


def _parts(names: set[str], seed: int) -> dict[str, str]:
    """The split of each name: by a hash, in exact shares, so that none is empty."""
    order = sorted(names, key=lambda n: hashlib.sha256(f"{seed} {n}".encode()).hexdigest())
    first, second = (round(share * len(order)) for share in (SPLITS["train"], 1 - SPLITS["test"]))
    return {
        name: "train" if i < first else "val" if i < second else "test"
        for i, name in enumerate(order)
    }


def _colour(path: Path) -> int | None:
    """The colour that most of a stamp's opaque pixels have, where most do."""
    pixels = np.asarray(Image.open(path).convert("RGBA").resize((64, 64)), np.float64)
    opaque = pixels[pixels[..., 3] > 128][:, :3] / 255
    if not len(opaque):
        return None
    top, low = opaque.max(1), opaque.min(1)
    spread = top - low
    r, g, b = opaque.T
    safe = np.where(spread > 0, spread, 1)
    hue = np.where(
        top == r, (g - b) / safe, np.where(top == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    )
    hue = (60 * hue) % 360
    starts = np.array([start for _, _, start in COLOURS])
    code = (np.searchsorted(starts[1:], hue, "right")) % len(COLOURS)
    code = np.where(hue >= starts[0], 0, code)
    plain = (spread < 0.15 * np.maximum(top, 0.3)) | (top < 0.2)
    code = np.where((code == 1) & (top < 0.65), len(COLOURS), code)
    shade = np.where(top < 0.3, 1, np.where(top < 0.8, 2, 3))
    code = np.where(plain, len(COLOURS) + shade, code)
    counts = np.bincount(code, minlength=len(COLOURS) + len(GREYS)) / len(code)
    return int(counts.argmax()) if counts.max() >= CLEAR else None


def _collage(
    draw: Random,
    stamps: dict[str, list[Stamp]],
    grounds: list[Path],
    folder: Path,
    name: str,
    split: str,
) -> list[Row]:
    """One picture of one or two stamps, the second of another category, and what is asked."""
    count = draw.choice((1, 2, 2))
    kinds = draw.sample([*CATEGORIES], count)
    chosen = [draw.choice(stamps[kind]) for kind in kinds]
    sizes = draw.sample([*SIZES], 2)[:count]
    photo = Image.open(draw.choice(grounds)).convert("RGB")
    scale = draw.uniform(1.0, 1.5) * SIDE / min(photo.size)
    photo = photo.resize([max(SIDE, round(side * scale)) for side in photo.size])
    left, top = (draw.randint(0, side - SIDE) for side in photo.size)
    canvas = photo.crop((left, top, left + SIDE, top + SIDE))
    side = draw.randrange(2)  # of a single stamp
    for slot, (stamp, size) in enumerate(zip(chosen, sizes, strict=True)):
        picture = Image.open(stamp.path).convert("RGBA")
        width = SIZES[size]
        factor = width / max(picture.size)
        shape = [max(1, round(s * factor)) for s in picture.size]
        picture = picture.resize(shape, Image.Resampling.LANCZOS)
        middle = (56, 168)[slot if count == 2 else side] + draw.randint(-4, 4)
        x = min(max(0, middle - shape[0] // 2), SIDE - shape[0])
        y = draw.randint(0, SIDE - shape[1])
        canvas.paste(picture, (x, y), picture)
    image = f"images/{name}.png"
    canvas.save(folder / image)
    base = {
        "image": image,
        "split": split,
        "stamps": "|".join(s.english for s in chosen),
    }
    rows = []
    for number, (kind, english, chinese) in enumerate(_questions(draw, chosen, sizes, side)):
        for language, (question, answer) in (("en", english), ("zh", chinese)):
            rows.append(
                {
                    "id": f"{name}-{number}-{language}",
                    **base,
                    "question": question,
                    "answer": answer,
                    "type": LANGUAGES[language],
                    "kind": kind,
                }
            )
    return rows


def _questions(
    draw: Random, stamps: list[Stamp], sizes: list[str], side: int
) -> list[tuple[str, tuple[str, str], tuple[str, str]]]:
    """Type, and question with answer in English and in Chinese."""
    places = [PLACES[slot if len(stamps) == 2 else side] for slot in range(len(stamps))]
    slot = draw.randrange(len(stamps))
    here, zh_here = CATEGORIES[stamps[slot].category]
    place, zh_place = places[slot]
    found = [
        ("what", (f"what is on the {place}?", here), (f"{zh_place}是什么？", zh_here)),
        (
            "count",
            ("how many stamps are there?", str(len(stamps))),
            ("有几个图章？", str(len(stamps))),
        ),
        ("where", (f"where is the {here}?", place), (f"{zh_here}在哪里？", zh_place)),
        (
            "where named",
            (f"where is this: {stamps[slot].english}?", place),
            (f"{stamps[slot].chinese}在哪里？", zh_place),
        ),
    ]
    there = draw.random() < 0.5
    absent = [kind for kind in CATEGORIES if kind not in {s.category for s in stamps}]
    asked = CATEGORIES[stamps[slot].category if there else draw.choice(absent)]
    found.append(
        (
            "yes-no",
            (f"is there any {asked[0]}?", "yes" if there else "no"),
            (f"有{asked[1]}吗？", "是" if there else "否"),
        )
    )
    if len(stamps) == 2:
        big = sizes.index("large")
        names = [CATEGORIES[s.category] for s in stamps]
        pair = draw.sample(names, 2)
        found.append(
            (
                "which",
                (f"which is larger, the {pair[0][0]} or the {pair[1][0]}?", names[big][0]),
                (f"{pair[0][1]}和{pair[1][1]}哪个更大？", names[big][1]),
            )
        )
    if stamps[slot].colour is not None:
        english, chinese = [*((e, c) for e, c, _ in COLOURS), *GREYS][stamps[slot].colour]
        found.append(
            (
                "colour",
                (f"what colour is the thing on the {place}?", english),
                (f"{zh_place}的东西是什么颜色？", chinese),
            )
        )
    return found
