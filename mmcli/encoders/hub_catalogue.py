"""Encoders and presets whose weights are on the model hub: one entry each, no code.

`source` is the published card that licence, languages and width are taken from; a card that states
no licence has a `licence_source` beside it. Parameters are those of the whole checkpoint, and
`size_mb` what is downloaded.
"""

from collections.abc import Mapping
from typing import Any

from mmcli.encoders.specs import EncoderSpec, Preset

_HUB = "https://huggingface.co/"
_ENGLISH, _ANY = ("Latn",), ("Zyyy",)
#: Weights that may not be used commercially: nothing takes them unless they are asked for by name.
NON_COMMERCIAL = "CC-BY-NC-4.0 (non-commercial)"


def _hub(
    name: str,
    loader: str,
    modalities: tuple[str, ...],
    hub: str,
    summary: str,
    dim: int,
    licence: str,
    params_m: float,
    size_mb: float,
    languages: str = "any",
    prompts: Mapping[str, str] | None = None,
    **more: Any,
) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        modalities=modalities,
        loader=f"mmcli.encoders.{loader}",
        summary=summary,
        dim=dim,
        licence=licence,
        source=_HUB + hub,
        params_m=params_m,
        size_mb=size_mb,
        languages=languages,
        hub=hub,
        prompts=prompts or {},
        **more,
    )


_PAIR, _IMAGE, _SPEECH, _TEXT = ("image", "text"), ("image",), ("speech",), ("text",)

HUB_SPECS = (
    _hub(
        *("clip", "clip:load", _PAIR, "openai/clip-vit-base-patch32"),
        "CLIP ViT-B/32: pictures and English texts in one space",
        *(512, "MIT", 151, 605, "English"),
        licence_source="https://github.com/openai/CLIP/blob/main/LICENSE",
    ),
    _hub(
        *("chinese-clip", "clip:load", _PAIR, "OFA-Sys/chinese-clip-vit-base-patch16"),
        "Chinese CLIP ViT-B/16: pictures and Chinese texts in one space",
        *(512, "MIT", 188, 753, "Chinese"),
        licence_source="https://github.com/OFA-Sys/Chinese-CLIP/issues/234",
    ),
    _hub(
        *("siglip", "siglip:load", _PAIR, "google/siglip-base-patch16-224"),
        "SigLIP ViT-B/16: pictures and English texts in one space",
        *(768, "Apache-2.0", 203.2, 813, "English"),
    ),
    _hub(
        *("siglip2", "siglip:load", _PAIR, "google/siglip2-base-patch16-224"),
        "SigLIP 2 ViT-B/16: pictures and texts of a hundred languages in one space",
        *(768, "Apache-2.0", 375.2, 1501, "over 100"),
    ),
    _hub(
        *("siglip2-naflex", "siglip:load", _PAIR, "google/siglip2-base-patch16-naflex"),
        "SigLIP 2 for pictures of any proportions, which it does not squash",
        *(768, "Apache-2.0", 375.2, 1501, "over 100"),
    ),
    _hub(
        *("align", "align:load", _PAIR, "kakaobrain/align-base"),
        "ALIGN, EfficientNet-B7 and BERT: pictures and English texts in one space",
        *(640, "not stated; its original: Apache-2.0", 172.1, 690, "English"),
        licence_source=_HUB + "kakaobrain/coyo-align-b7-base",
    ),
    _hub(
        *("clap", "clap:load", ("speech", "text"), "laion/clap-htsat-unfused"),
        "CLAP: sounds of any kind and English texts in one space",
        *(512, "Apache-2.0", 153.5, 615, "English"),
    ),
    _hub(
        *("xclip", "xclip:load", ("video", "text"), "microsoft/xclip-base-patch32"),
        "X-CLIP ViT-B/32: videos of 8 frames and English texts in one space",
        *(512, "MIT", 196.6, 787, "English"),
        requires="video",
    ),
    _hub(
        *("vit", "vision:load", _IMAGE, "google/vit-base-patch16-224-in21k"),
        "ViT-B/16 by 21,000 classes of ImageNet: class token, patches as sequence",
        *(768, "Apache-2.0", 86.4, 346),
    ),
    _hub(
        *("dinov2", "vision:load", _IMAGE, "facebook/dinov2-base"),
        "DINOv2 ViT-B/14, self-supervised: class token, patches as sequence",
        *(768, "Apache-2.0", 86.6, 346),
    ),
    _hub(
        *("dinov3", "vision:load", _IMAGE, "facebook/dinov3-vits16-pretrain-lvd1689m"),
        "DINOv3 ViT-S/16, self-supervised; gated: accept its licence on the hub first",
        *(384, "DINOv3 License", 21.6, 86),
    ),
    _hub(
        *("florence2", "vision:load", _IMAGE, "florence-community/Florence-2-base"),
        "the tower of Florence-2 (DaViT-B at 768 pixels): mean of its map, map as sequence",
        *(1024, "MIT", 231, 463),
        licence_source=_HUB + "microsoft/Florence-2-base",
    ),
    _hub(
        *("wav2vec2", "wav2vec:load", _SPEECH, "facebook/wav2vec2-base"),
        "wav2vec 2.0, self-supervised on English speech: mean, 50 states a second as sequence",
        *(768, "Apache-2.0", 95, 380, "English"),
    ),
    _hub(
        *("hubert", "wav2vec:load", _SPEECH, "facebook/hubert-base-ls960"),
        "HuBERT, self-supervised on English speech: mean, 50 states a second as sequence",
        *(768, "Apache-2.0", 94.4, 378, "English"),
    ),
    _hub(
        *("wavlm", "wav2vec:load", _SPEECH, "microsoft/wavlm-base-plus"),
        "WavLM, self-supervised on English speech, speakers too: mean, 50 states a second",
        *(768, "CC-BY-SA-3.0", 94.4, 378, "English"),
        licence_source="https://github.com/microsoft/UniSpeech/blob/main/LICENSE",
    ),
    _hub(
        *("whisper", "whisper:load_hub", _SPEECH, "openai/whisper-base"),
        "states of Whisper's encoder: mean over the recording, 50 states a second as sequence",
        *(512, "Apache-2.0", 72.6, 290, "99"),
    ),
    _hub(
        *("videomae", "videomae:load", ("video",), "MCG-NJU/videomae-base"),
        "VideoMAE ViT-B, self-supervised on videos of 16 frames: mean, patches as sequence",
        *(768, NON_COMMERCIAL, 94.2, 377),
        requires="video",
    ),
    _hub(
        *("e5", "text:load", _TEXT, "intfloat/multilingual-e5-base"),
        "multilingual E5: search among texts of a hundred languages, 512 tokens",
        *(768, "MIT", 278, 1112, "about 100"),
        {"query": "query: ", "passage": "passage: "},
    ),
    _hub(
        *("bge", "text:load", _TEXT, "BAAI/bge-small-en-v1.5"),
        "BGE small: search among English texts, 512 tokens",
        *(384, "MIT", 33.4, 133, "English"),
        {"query": "Represent this sentence for searching relevant passages: "},
    ),
    _hub(
        *("gte", "text:load", _TEXT, "thenlper/gte-base"),
        "GTE base: English texts, 512 tokens, no prompts",
        *(768, "MIT", 109, 219, "English"),
    ),
    _hub(
        *("muq-mulan", "muq:load", ("speech", "text"), "OpenMuQ/MuQ-MuLan-large"),
        "MuQ-MuLan: music and texts in English or Chinese in one space",
        *(512, NON_COMMERCIAL, 630, 2600, "English and Chinese"),
        requires="muq",
    ),
)


def _preset(name: str, encoder: str, summary: str, scripts: tuple[str, ...]) -> Preset:
    """One checkpoint with a tower for each modality; its facts are those of the encoder."""
    spec = next(spec for spec in HUB_SPECS if spec.name == encoder)
    return Preset(
        name=name,
        encoders=dict.fromkeys(spec.modalities, encoder),
        summary=f"{summary}, from the hub",
        licence=spec.licence,
        size_mb=spec.size_mb,
        languages=spec.languages,
        scripts=scripts,
        requires=spec.requires,
    )


HUB_PRESETS = (
    _preset("clip", "clip", "OpenAI's CLIP ViT-B/32", _ENGLISH),
    _preset("chinese-clip", "chinese-clip", "Chinese CLIP ViT-B/16", ("Hani", "Latn")),
    _preset("siglip", "siglip", "Google's SigLIP ViT-B/16", _ENGLISH),
    _preset("siglip2", "siglip2", "Google's SigLIP 2 ViT-B/16, multilingual", _ANY),
    _preset("siglip2-naflex", "siglip2-naflex", "SigLIP 2 that keeps proportions", _ANY),
    _preset("align", "align", "ALIGN as Kakao Brain trained it", _ENGLISH),
    _preset("clap", "clap", "LAION's CLAP: sounds and English texts", _ENGLISH),
    _preset("xclip", "xclip", "Microsoft's X-CLIP: videos and English texts", _ENGLISH),
    _preset("muq", "muq-mulan", "MuQ-MuLan: music and texts", ("Latn", "Hani")),
)
