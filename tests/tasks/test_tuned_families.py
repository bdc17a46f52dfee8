"""Towers of other families than CLIP are tuned like CLIP's: with gradients, as one more encoder."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmcli.core.types import Encoder
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.engine.encode import encode_parts
from mmcli.engine.torch_stack import load_torch
from mmcli.tasks.towers import Tower
from mmcli.tuning.layers import find_layers
from mmcli.workflows.finetune.run import finetune
from tests.contracts import tiny_families, tiny_media
from tests.contracts.conftest import parts_of
from tests.tasks.small_posts import config_of, write_posts

torch = load_torch()
FP32 = Placement("cpu", "float32")


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        *(("vit", "image"), ("florence2", "image"), ("naflex", "image"), ("align", "image")),
        *(("siglip", "text"), ("align", "text"), ("clap", "speech"), ("clap", "text")),
        *(("xclip", "video"), ("xclip", "text"), ("videomae", "video"), ("whisper", "speech")),
        *(("wav2vec2", "speech"), ("hubert", "speech"), ("wavlm", "speech")),
    ],
)
def test_a_tower_has_layers_and_gradients(tmp_path: Path, name: str, modality: str) -> None:
    """From the pooled vector down to the first layer, in training mode."""
    make = getattr(tiny_families, name, None) or getattr(tiny_media, name)
    encoder: Encoder = load(f"local:{make(tmp_path / name)}", modality, EncoderOptions(), FP32)
    tower = Tower(encoder)
    tower.network.requires_grad_(True)
    layers = find_layers(tower.network)
    assert len(layers) >= 2
    rows = encoder.prepare(parts_of(encoder, 2))
    tower.train()
    (output,) = tower([rows[1]], [None], False).values()
    weights = torch.linspace(-1, 1, output.pooled.shape[1])
    (output.pooled * weights).sum().backward()
    for layer in (layers[0], layers[-1]):
        grads = [p.grad for p in layer.module.parameters() if p.grad is not None]
        assert grads and all(g.isfinite().all() for g in grads)
        assert max(float(g.abs().max()) for g in grads) > 0


@pytest.mark.usefixtures("few_resamples", "short_heads")
def test_siglip_is_tuned_and_read_again(tmp_path: Path) -> None:
    posts, model = write_posts(tmp_path / "posts"), tmp_path / "model"
    folder = tiny_families.siglip(tmp_path / "siglip")
    finetune(config_of(posts, model, folder, strategy={"": "lora"}))
    towers = json.loads((model / "config.json").read_text())["towers"]
    assert set(towers) == {"image", "text"}
    texts = ["a cat on the mat", "a dog"]
    before, after = (
        encode_parts(load(reference, "text", EncoderOptions(), FP32), texts)
        for reference in (f"local:{folder}", f"model:{model}")
    )
    assert np.abs((before.pooled - after.pooled).numpy()).max() > 1e-4
    tuned = load(f"model:{model}", "image", EncoderOptions(), FP32)
    assert tuned.card.space.startswith("siglip-tuned@")
