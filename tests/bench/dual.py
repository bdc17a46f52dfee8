"""Dual learning with a tenth of the pairs and the rest unpaired, beside contrastive on those pairs.

Five draws of pairs and seeds, on Tux Paint's stamps (a fold each) and on synthetic scenes.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.bench.material import stamps

Row = dict[str, Any]
METHODS = ("linear:kernel", "contrastive", "dual:mmd", "dual:moments", "dual:transport")
BASE = "contrastive"
DRAWS, PAIRED = 5, 0.1
SCENES = 2000


def dual(cache: Path) -> list[Row]:
    """text-to-image hit@1 and hit@10, and the paired gain over contrastive, means of the draws."""
    from mmcli.data.splits import SplitOptions
    from mmcli.store.reader import Store
    from mmcli.workflows.align.data import DataConfig, load_data
    from mmcli.workflows.align.seed_intervals import mean_interval

    rows: list[Row] = []
    for name, store in (("stamps", _stamps(cache)), ("scenes", _scenes(cache))):
        if store is None:
            rows.append({"data": name, "note": "no Tux Paint stamps here"})
            continue
        found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
        for draw in range(DRAWS):
            splits = SplitOptions(seed=draw, fold=draw if name == "stamps" else None)
            config = DataConfig(("text", "image"), positive_by="caption", paired=PAIRED,
                                splits=splits)  # fmt: skip
            data = load_data(Store.open(store), config)
            for method in METHODS:
                found[method].append(_scores(data, method, draw))
        for method in METHODS:
            row: Row = {"data": name, "method": method}
            for k in ("hit@1", "hit@10"):
                mean, half = mean_interval([s[k] for s in found[method]])
                gains = [a[k] - b[k] for a, b in zip(found[method], found[BASE], strict=True)]
                gain, gain_half = mean_interval(gains)
                row |= {k: f"{mean:.3f} ± {half:.3f}"}
                row |= {f"{k} gain": "" if method == BASE else f"{gain:+.3f} ± {gain_half:.3f}"}
            rows.append(row)
    return rows


def _scores(data: Any, method: str, seed: int) -> dict[str, float]:
    from mmcli.align.fitting import AlignOptions, FitRun
    from mmcli.core.registry import load_attribute
    from mmcli.workflows.align.train import parse_method

    spec, variant = parse_method(method)
    fit = load_attribute(spec.fit)
    fitted = fit(data.features, AlignOptions(variant=variant), FitRun(seed=seed))
    scores: dict[str, float] = fitted.score(data.features, data.test)["text-to-image"]
    return scores


def _stamps(cache: Path) -> Path | None:
    from mmcli.workflows.extract.plan import ExtractConfig
    from mmcli.workflows.extract.run import extract

    source = stamps(cache)
    if source is None:
        return None
    store = cache / "captioned"
    if (store / "manifest.json").exists():
        return store
    lines = []
    for picture in sorted((source / "usr/share/tuxpaint/stamps").rglob("*.png")):
        text = picture.with_suffix(".txt")
        if text.exists():
            caption = text.read_text("utf-8").splitlines()[0].strip()
            fold = int(hashlib.sha256(caption.encode()).hexdigest(), 16) % 5
            row = {"image": str(picture), "text": caption, "caption": caption, "fold": fold}
            lines.append(json.dumps(row) + "\n")
    table = cache / "captioned.jsonl"
    table.write_text("".join(lines), "utf-8")
    encoders = {"image": ("conse-efficientnet-lite0", "efficientnet-lite0")}
    extract(ExtractConfig(source=str(table), output=str(store), encoders=encoders))
    return store


def _scenes(cache: Path) -> Path:
    from mmcli.workflows.data.synth import SynthConfig, synth
    from mmcli.workflows.extract.plan import ExtractConfig
    from mmcli.workflows.extract.run import extract

    store = cache / "scenes-store"
    if (store / "manifest.json").exists():
        return store
    made = cache / "scenes"
    if not (made / "manifest.json").exists():
        synth(SynthConfig("scenes", str(made), {"n": SCENES, "seed": 0}))
    table = cache / "scenes.jsonl"
    with (made / "items.jsonl").open(encoding="utf-8") as items, table.open("w") as out:
        for line in items:
            row = json.loads(line)
            row |= {"image": str(made / row["image"]), "caption": row["text"]}
            kept = {key: row[key] for key in ("id", "image", "text", "caption", "split")}
            out.write(json.dumps(kept) + "\n")
    encoders = {"image": ("efficientnet-lite0",)}
    extract(ExtractConfig(source=str(table), output=str(store), encoders=encoders))
    return store
