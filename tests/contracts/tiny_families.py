"""Tiny random models of the families of transformers, saved to disk the way real ones are."""

import json
from pathlib import Path
from typing import Any

from mmcli.engine.torch_stack import load_torch, load_transformers
from tests.contracts.tiny_models import _BERT, _json, _tokenizer

torch = load_torch()
transformers = load_transformers()

_SIZES = {k: v for k, v in _BERT.items() if k != "max_position_embeddings"}
_PICTURE = {**_SIZES, "image_size": 32, "patch_size": 8}
_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_SQUARE = {"height": 32, "width": 32}


def _save(folder: Path, model: Any, seed: int) -> Path:
    """The model, its weights drawn anew and wide enough that inputs can be told apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and "embed" not in name:
                value.copy_(torch.randn(value.shape, generator=generator) * value.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    return folder


def _pictures(folder: Path, **settings: Any) -> None:
    _json(folder / "preprocessor_config.json", {"do_resize": True, **settings})


def vit(folder: Path) -> Path:
    """A ViT with a classifier, whose preprocessing is in the oldest form."""
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**_PICTURE))
    _save(folder, model, 11)
    _pictures(folder, size=32, do_normalize=True, **_HALF)
    return folder


def dinov2(folder: Path) -> Path:
    """Trained at 48 pixels, used at 32."""
    config = transformers.Dinov2Config(**{**_PICTURE, "image_size": 48})
    _save(folder, transformers.Dinov2Model(config), 12)
    _pictures(folder, do_center_crop=True, size={"shortest_edge": 36}, crop_size=_SQUARE)
    return folder


def dinov2_registers(folder: Path) -> Path:
    config = transformers.Dinov2WithRegistersConfig(**_PICTURE, num_register_tokens=4)
    _save(folder, transformers.Dinov2WithRegistersModel(config), 13)
    _pictures(folder, do_center_crop=True, size={"shortest_edge": 36}, crop_size=_SQUARE)
    return folder


def dinov3(folder: Path) -> Path:
    config = transformers.DINOv3ViTConfig(**_PICTURE, num_register_tokens=4)
    _save(folder, transformers.DINOv3ViTModel(config), 14)
    _pictures(folder, size=_SQUARE, resample=2)
    return folder


def dinov3_convnext(folder: Path) -> Path:
    config = transformers.DINOv3ConvNextConfig(hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 2, 1])
    _save(folder, transformers.DINOv3ConvNextModel(config), 15)
    _pictures(folder, size={"height": 64, "width": 64}, resample=2)
    return folder


def florence2(folder: Path) -> Path:
    """Florence-2 as a whole, its language model with it."""
    vision = transformers.models.florence2.configuration_florence2.Florence2VisionConfig(
        embed_dim=(16, 32), depths=(1, 1), num_heads=(2, 4), num_groups=(2, 4), window_size=4
    )
    vision = {
        **vision.to_dict(),
        "patch_size": (7, 3),
        "patch_stride": (4, 2),
        "patch_padding": (3, 1),
        "patch_prenorm": (False, True),
        "projection_dim": 32,
    }
    text = {
        "model_type": "bart",
        "vocab_size": 60,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "max_position_embeddings": 64,
    }
    config = transformers.Florence2Config(text_config=text, vision_config=vision)
    _save(folder, transformers.Florence2ForConditionalGeneration(config), 16)
    _pictures(folder, size={"height": 64, "width": 64}, do_center_crop=False)
    return folder


def siglip(folder: Path, characters: str = "") -> Path:
    """SigLIP, with a tokenizer that has an end-of-text token which is its padding too."""
    size = _end_of_text(folder, "SiglipTokenizer", characters)
    config = transformers.SiglipConfig(
        text_config={**_SIZES, "vocab_size": size, "max_position_embeddings": 16},
        vision_config=_PICTURE,
    )
    _save(folder, transformers.SiglipModel(config), 17)
    _pictures(folder, size=_SQUARE, resample=3, **_HALF)
    return folder


def siglip2(folder: Path, characters: str = "") -> Path:
    """SigLIP 2 of a fixed size, which says `siglip` of itself and reads with Gemma's tokens."""
    siglip(folder, characters)
    _gemma(folder, characters)
    return folder


def naflex(folder: Path) -> Path:
    """SigLIP 2 for any proportions."""
    _gemma(folder)
    vision = {k: v for k, v in _PICTURE.items() if k != "image_size"}
    config = transformers.Siglip2Config(
        text_config={**_SIZES, "vocab_size": 64, "max_position_embeddings": 16},
        vision_config={**vision, "num_patches": 16},
    )
    _save(folder, transformers.Siglip2Model(config), 18)
    _pictures(folder, patch_size=8, max_num_patches=28, resample=2, **_HALF)
    return folder


def align(folder: Path) -> Path:
    """ALIGN with two blocks, pictures squashed and then cut."""
    size = _tokenizer(folder)
    config = transformers.AlignConfig(
        text_config={**_BERT, "vocab_size": size, "max_position_embeddings": 80},
        vision_config={
            "width_coefficient": 1.0,
            "depth_coefficient": 1.0,
            "kernel_sizes": [3, 5],
            "in_channels": [32, 16],
            "out_channels": [16, 24],
            "strides": [1, 2],
            "num_block_repeats": [1, 2],
            "expand_ratios": [1, 2],
            "hidden_dim": 24,
            "image_size": 32,
        },
        projection_dim=24,
    )
    _save(folder, transformers.AlignModel(config), 19)
    _pictures(
        folder,
        do_center_crop=True,
        do_normalize=False,
        rescale_offset=True,
        include_top=False,
        rescale_factor=1 / 127.5,
        resample=2,
        crop_size=_SQUARE,
        size={"height": 40, "width": 40},
    )
    return folder


def _pieces(more: str = "") -> list[str]:
    letters = "▁abcdefghijklmnopqrstuvwxyz" + more
    return ["<pad>", "</s>", "<bos>", "<unk>", *letters, "▁a", "▁t", "▁c"]


def _end_of_text(folder: Path, named: str, more: str = "") -> int:
    """A tokenizer of letters that ends each text with `</s>`, and pads with it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    core = Tokenizer(models.Unigram([(p, -float(len(p) < 2)) for p in _pieces(more)], unk_id=3))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="</s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    _json(path, {**json.loads(path.read_text()), "tokenizer_class": named})
    return len(_pieces(more))


def _gemma(folder: Path, more: str = "") -> None:
    """The same tokens, but padding of their own."""
    _end_of_text(folder, "GemmaTokenizer", more)
    path = folder / "tokenizer_config.json"
    _json(path, {**json.loads(path.read_text()), "pad_token": "<pad>"})
