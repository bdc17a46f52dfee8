"""Entries of families of the hub: facts, prompts, refusals, against transformers itself."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import load_attribute
from mmcli.encoders.hub_catalogue import HUB_PRESETS, HUB_SPECS, NON_COMMERCIAL
from mmcli.encoders.registry import ENCODERS, PRESETS, load, resolve
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.encode import encode_parts
from mmcli.engine.torch_stack import load_torch, load_transformers
from mmcli.workflows.extract.plan import ExtractConfig, choose_encoders
from tests.conftest import ROOT
from tests.contracts.conftest import FP32

torch = load_torch()
transformers = load_transformers()

#: What the published checkpoints were made with, where it is not transformers' default.
BERT_BASE = {"vocab_size": 30522}
CHECKPOINTS = {
    "clip": ("CLIPModel", {}),
    "siglip": ("SiglipModel", {}),
    "siglip2": ("SiglipModel", {"text_config": {"vocab_size": 256000}}),
    "siglip2-naflex": ("Siglip2Model", {"text_config": {"vocab_size": 256000}}),
    "align": ("AlignModel", {}),
    "clap": ("ClapModel", {}),
    "xclip": ("XCLIPModel", {}),
    "vit": ("ViTModel", {}),
    "dinov2": ("Dinov2Model", {"image_size": 518, "patch_size": 14}),
    "dinov3": ("DINOv3ViTModel", {"num_register_tokens": 4}),
    "wav2vec2": ("Wav2Vec2ForPreTraining", {}),
    "hubert": ("HubertModel", {}),
    "wavlm": ("WavLMModel", {}),
    "videomae": ("VideoMAEForPreTraining", {"image_size": 32}),  # places are not learned, and slow
    "e5": ("XLMRobertaModel", {"vocab_size": 250002, "max_position_embeddings": 514}),
    "gte": ("BertModel", BERT_BASE),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_width_and_size_are_those_of_the_checkpoint(name: str) -> None:
    """Built without memory from the configuration that the checkpoint was published with."""
    kind, settings = CHECKPOINTS[name]
    model_class = getattr(transformers, kind)
    with torch.device("meta"):
        model = model_class(model_class.config_class(**settings))
    spec = ENCODERS.get(name)
    config = model.config
    width = getattr(config, "projection_dim", 0) or getattr(config, "hidden_size", 0)
    if name.startswith("siglip"):
        width = config.text_config.projection_size
    elif name == "wav2vec2":
        width = config.hidden_size
    assert spec.dim == width
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert spec.params_m == pytest.approx(millions, rel=0.01)
    per_parameter = 2 if name == "gte" else 4
    assert spec.size_mb == pytest.approx(per_parameter * millions, rel=0.02)


def test_every_entry_names_its_card_and_its_loader() -> None:
    for spec in HUB_SPECS:
        assert spec.source == f"https://huggingface.co/{spec.hub}"
        assert spec.licence and spec.params_m and spec.size_mb and spec.dim
        assert callable(load_attribute(spec.loader))


def test_non_commercial_weights_are_marked_and_asked_for_by_name() -> None:
    marked = {spec.name for spec in HUB_SPECS if spec.licence == NON_COMMERCIAL}
    assert marked == {"videomae", "muq-mulan"}
    for preset in PRESETS:
        if marked & set(preset.encoders.values()):
            assert preset.name == "muq" and preset.licence == NON_COMMERCIAL


def test_presets_choose_a_tower_for_each_modality() -> None:
    for preset in HUB_PRESETS:
        config = ExtractConfig("source", "store", preset=preset.name)
        chosen = choose_encoders(config, ("image", "text", "speech", "video"))
        assert set(chosen) >= set(preset.encoders)
        assert ("video" in chosen) == bool({"image", "video"} & set(preset.encoders))


def test_one_checkpoint_is_one_space(get_encoder) -> None:
    for name, modalities in (
        ("siglip", ("image", "text")),
        ("align", ("image", "text")),
        ("clap", ("speech", "text")),
        ("xclip", ("video", "text")),
    ):
        spaces = {get_encoder(f"tiny:{name}", m).card.space for m in modalities}
        assert len(spaces) == 1 and spaces.pop().startswith(f"{name}@")


def test_families_are_recognised(tiny) -> None:
    for name, modality, loader in (
        ("siglip", "image", "siglip:load"),
        ("naflex", "text", "siglip:load"),
        ("align", "text", "align:load"),
        ("clap", "speech", "clap:load"),
        ("xclip", "video", "xclip:load"),
        ("florence2", "image", "vision:load"),
        ("dinov3", "image", "vision:load"),
        ("wavlm", "speech", "wav2vec:load"),
        ("whisper", "speech", "whisper:load_hub"),
        ("videomae", "video", "videomae:load"),
    ):
        assert resolve(f"local:{tiny(name)}", modality).loader == f"mmcli.encoders.{loader}"
    with pytest.raises(UsageError, match="takes speech and text, not image"):
        resolve(f"local:{tiny('clap')}", "image")


def test_florence2_for_its_authors_code(tmp_path) -> None:
    told = {"model_type": "florence2", "auto_map": {"AutoModel": "modeling_florence2.X"}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(BadInput, match="authors' own code") as caught:
        resolve(f"local:{tmp_path}", "image")
    assert "florence-community/Florence-2-base" in caught.value.hint


def test_weights_that_are_not_there_are_not_drawn(tmp_path, tiny) -> None:
    """transformers would initialise them at random, and warn in a log."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny("dinov2"), tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    state = {k: v for k, v in state.items() if "layer.1." not in k}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"weights lack `.*layer\.1\..*` and \d+ more"):
        load(f"local:{folder}", "image", EncoderOptions(), FP32)


def test_prompts_of_an_entry(tiny, monkeypatch) -> None:
    """E5 puts `passage: ` before what is stored and `query: ` before what is asked."""
    from mmcli.encoders import text

    spec = ENCODERS.get("e5")
    plain = resolve(f"local:{tiny('xlm_roberta')}", "text")
    stored = text.load(replace(plain, spec=spec), EncoderOptions(), FP32)
    assert stored.card.prompts == {"query": "query: ", "passage": "passage: ", "used": "passage: "}
    asked = text.load(replace(plain, spec=spec), EncoderOptions(prompt="query: "), FP32)
    bare = text.load(plain, EncoderOptions(), FP32)
    assert bare.card.prompts == {}
    found = [encode_parts(e, ["a cat"]).pooled for e in (stored, asked)]
    given = ["passage: a cat", "query: a cat"]
    expected = [encode_parts(bare, [one]).pooled for one in given]
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(*found)


def test_the_guide_names_what_there_is() -> None:
    """Every preset and encoder in the commands of examples/encoders.md."""
    told = (ROOT / "examples" / "encoders.md").read_text("utf-8")
    presets = re.findall(r"--preset (\S+)", told)
    assert len(presets) > 6 and all(name in PRESETS for name in presets)
    named = re.findall(r"--(image|text|speech|video) ([a-z]\w+)(?=\s)", told)
    assert len(named) > 8
    for modality, name in named:
        assert resolve(name, modality).spec.name == name


def test_frames_that_a_video_model_does_not_take(tiny) -> None:
    for name in ("xclip", "videomae"):
        with pytest.raises(UsageError, match="takes 4 frames, not 7"):
            load(f"local:{tiny(name)}", "video", EncoderOptions(frames=7), FP32)
