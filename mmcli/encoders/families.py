"""Which family file can load a model folder, told by its configuration files alone.

Reads JSON; loads nothing. Knows only the families that this package has.
"""

import json
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, UsageError

#: The loader and what it takes, by `model_type` of config.json.
_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("clip", "chinese_clip"), ("clip", ("image", "text"))),
    **dict.fromkeys(("siglip", "siglip2"), ("siglip", ("image", "text"))),
    "align": ("align", ("image", "text")),
    "clap": ("clap", ("speech", "text")),
    "xclip": ("xclip", ("video", "text")),
    **dict.fromkeys(
        ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "dinov3_convnext", "florence2"),
        ("vision", ("image",)),
    ),
    **dict.fromkeys(("wav2vec2", "hubert", "wavlm"), ("wav2vec", ("speech",))),
    "whisper": ("whisper:load_hub", ("speech",)),
    "videomae": ("videomae", ("video",)),
}
#: transformers models that read text: `model_type` as config.json has it.
TEXT_TYPES = frozenset(
    (
        *("albert", "bert", "big_bird", "camembert", "deberta", "deberta-v2", "distilbert"),
        *("electra", "ernie", "fnet", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox"),
        *("llama", "longformer", "mistral", "modernbert", "mpnet", "nomic_bert", "phi3"),
        *("qwen2", "qwen3", "rembert", "roberta", "roformer", "t5", "xlm-roberta"),
        "xlm-roberta-xl",
    )
)


def detect(folder: Path, modality: str, reference: str) -> str:
    """The loader `module:function` for a folder; `reference` is named in errors.

    Raises BadInput for a folder that is no model, UsageError when it has no tower for `modality`.
    """
    kind, takes = _kind(folder, reference)
    if modality not in takes:
        raise UsageError(
            f"`{reference}` takes {' and '.join(takes)}, not {modality}",
            "see `mmcli models` for what encodes it",
        )
    return f"mmcli.encoders.{kind}" if ":" in kind else f"mmcli.encoders.{kind}:load"


def read_json(path: Path) -> Any:
    """A JSON file of a model folder. Raises BadInput when it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"`{path}` is not readable JSON", "get the model again") from error


def _kind(folder: Path, reference: str) -> tuple[str, tuple[str, ...]]:
    config_file = folder / "config.json"
    has_modules = (folder / "modules.json").is_file()
    if not config_file.is_file():
        if has_modules:
            return "text", ("text",)
        raise BadInput(
            f"`{reference}`: no config.json in it",
            "give the folder that save_pretrained wrote",
        )
    config = read_json(config_file)
    if not isinstance(config, dict):
        raise BadInput(f"`{config_file}` is not a model configuration", "get the model again")
    if {"mulan", "audio_model", "text_model"} <= config.keys():  # muq's own form
        return "muq", ("speech", "text")
    model_type = str(config.get("model_type", ""))
    if model_type == "florence2" and "auto_map" in config:
        raise BadInput(
            f"`{reference}` is Florence-2 for its authors' own code",
            "hf:florence-community/Florence-2-base has the same weights for transformers",
        )
    if model_type in _FAMILIES:
        return _FAMILIES[model_type]
    if has_modules or model_type in TEXT_TYPES:
        return "text", ("text",)
    if "architecture" in config or "pretrained_cfg" in config:
        return "timm_backbone", ("image",)
    if "auto_map" in config:
        return "text", ("text",)  # its own code: the text loader asks for --trust-remote-code
    raise BadInput(
        f"`{reference}`: models of type `{model_type or '?'}` are not supported yet",
        "known: " + ", ".join(_FAMILIES) + ", sentence-transformers, text models and timm's",
    )
