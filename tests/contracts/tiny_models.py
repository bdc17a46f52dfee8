"""Tiny random models saved to disk the way real ones are, for `from_pretrained` to load."""

import json
from pathlib import Path
from typing import Any

from mmcli.engine.torch_stack import load_torch, load_transformers

torch = load_torch()
transformers = load_transformers()

WORDS = "a the of cat dog cup coffee photo red blue on mat sea light ##s ##ing".split()  # noqa: SIM905
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def _tokenizer(folder: Path, more: str = "") -> int:
    """A WordPiece tokenizer of a few words, the alphabet and more letters; returns the
    vocabulary's size."""
    letters = "abcdefghijklmnopqrstuvwxyz.,!" + more
    pieces = _SPECIAL + WORDS + list(letters) + [f"##{c}" for c in letters]
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    transformers.BertTokenizerFast(vocab=vocab).save_pretrained(folder)
    return len(vocab)


def bert(folder: Path) -> Path:
    """A plain transformers text model."""
    size = _tokenizer(folder)
    torch.manual_seed(1)
    config = transformers.BertConfig(vocab_size=size, **_BERT)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def xlm_roberta(folder: Path) -> Path:
    """What multilingual E5 is: XLM-RoBERTa, mean pooling, normalisation, no prompts of its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz.,:!"]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *letters, *(f"▁{w}" for w in WORDS), "<mask>"]
    core = Tokenizer(models.Unigram([(p, -float(len(p) < 3)) for p in pieces], unk_id=3))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", mask_token="<mask>", **special
    ).save_pretrained(folder)
    torch.manual_seed(6)
    config = transformers.XLMRobertaConfig(
        vocab_size=len(pieces), **{**_BERT, "max_position_embeddings": 66}
    )
    transformers.XLMRobertaModel(config).save_pretrained(folder)
    kinds = ["Transformer", "Pooling", "Normalize"]
    _json(
        folder / "modules.json",
        [
            {
                "idx": i,
                "name": str(i),
                "path": "" if i == 0 else f"{i}_{kind}",
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, kind in enumerate(kinds)
        ],
    )
    _json(folder / "1_Pooling/config.json", {"pooling_mode_mean_tokens": True})
    _json(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    return folder


def sentence_transformer(folder: Path, pooling: str = "cls") -> Path:
    """BERT, pooling, a dense layer with Tanh, normalisation and prompts, as modules.json says."""
    from safetensors.torch import save_file

    bert(folder)
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    _json(folder / "modules.json", modules)
    _json(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})
    _json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "a photo of "}, "default_prompt_name": None},
    )
    _json(
        folder / "1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode": pooling}
    )
    _json(
        folder / "2_Dense/config.json",
        {
            "in_features": 32,
            "out_features": 20,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        },
    )
    torch.manual_seed(2)
    dense = {"linear.weight": torch.randn(20, 32) * 0.2, "linear.bias": torch.randn(20) * 0.1}
    save_file(dense, folder / "2_Dense/model.safetensors")
    return folder


def clip(folder: Path) -> Path:
    """CLIP with a byte-level tokenizer and OpenAI's preprocessing at 32 pixels."""
    end = clip_tokenizer(folder) - 1
    torch.manual_seed(3)
    text = {**_BERT, "vocab_size": end + 1, "bos_token_id": end - 1, "eos_token_id": end}
    config = transformers.CLIPConfig(
        text_config={**text, "max_position_embeddings": 20, "pad_token_id": end},
        vision_config=_vision(),
        projection_dim=24,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    _clip_preprocessing(folder, {"shortest_edge": 36}, True)
    return folder


def clip_tokenizer(folder: Path) -> int:
    """CLIP's tokenizer with single bytes; returns the vocabulary's size."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    pieces = alphabet + [f"{c}</w>" for c in alphabet] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    folder.mkdir(parents=True, exist_ok=True)
    transformers.CLIPTokenizerFast(vocab=vocab, merges=[]).save_pretrained(folder)
    return len(vocab)


def chinese_clip(folder: Path, characters: str = "") -> Path:
    """Chinese CLIP, whose text tower is a BERT and whose pictures are squashed."""
    size = _tokenizer(folder, characters)
    torch.manual_seed(4)
    config = transformers.ChineseCLIPConfig(
        text_config={**_BERT, "vocab_size": size}, vision_config=_vision(), projection_dim=24
    )
    transformers.ChineseCLIPModel(config).save_pretrained(folder)
    _clip_preprocessing(folder, {"height": 32, "width": 32}, False)
    return folder


def timm_model(folder: Path, name: str) -> Path:
    """A timm backbone with its classifier, as timm saves it for the hub, in safetensors."""
    import timm
    from safetensors.torch import save_model

    torch.manual_seed(5)
    net = timm.create_model(name, pretrained=False, num_classes=7)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(net, str(folder / "model.safetensors"))
    given = net.pretrained_cfg
    kept = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    _json(
        folder / "config.json",
        {
            "architecture": name,
            "num_classes": 7,
            "pretrained_cfg": {k: given[k] for k in kept if k in given},
        },
    )
    return folder


def _vision() -> dict[str, Any]:
    kept = {k: v for k, v in _BERT.items() if k != "max_position_embeddings"}
    return {**kept, "image_size": 32, "patch_size": 8}


def _clip_preprocessing(folder: Path, size: dict[str, int], crop: bool) -> None:
    settings = {
        "do_center_crop": crop,
        "do_normalize": True,
        "do_resize": True,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
        "resample": 3,
        "size": size,
    }
    if crop:
        settings["crop_size"] = {"height": 32, "width": 32}
    _json(folder / "preprocessor_config.json", settings)


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
