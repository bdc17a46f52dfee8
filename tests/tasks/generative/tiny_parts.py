"""What the tiny vision-language models share: words, sizes, image processors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcli.engine.torch_stack import load_torch, load_transformers

torch = load_torch()
transformers = load_transformers()

_VOCABULARY = """
a of the what colour is where how many picture question answer describe in one sentence does image
show red green blue white black square circle on left right yes no two three en caption photo and it
system user assistant helpful ? . : , <vqa>
"""
WORDS = _VOCABULARY.split()
SIZE = 28
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
}
VISION = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 14,
}


def tokenizer(special: Sequence[str], **roles: str) -> Any:
    """A word-level tokenizer; special: tokens beside <unk>; roles: `eos_token` and the like."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    every = ["<unk>", *special, *WORDS]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(every))}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|<vqa>|[^\w\s]"), "removed", invert=True)
    core.decoder = decoders.Sequence([decoders.Replace(Regex(r"$"), " "), decoders.Fuse()])
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", padding_side="right", **roles
    )
    found.add_special_tokens({"additional_special_tokens": list(special)})
    return found


def save(folder: Path, model: Any, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def clip_pictures(kind: str = "CLIPImageProcessor", **more: Any) -> Any:
    size = {"height": SIZE, "width": SIZE}
    return getattr(transformers, kind)(size=size, do_center_crop=False, **more)
