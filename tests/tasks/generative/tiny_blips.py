"""Tiny random BLIP and BLIP-2 models, saved to disk the way real ones are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tasks.generative.tiny_parts import SIZE, VISION, save, tokenizer, torch, transformers


def _bert_words() -> Any:
    from tokenizers.processors import TemplateProcessing

    words = tokenizer(
        ["[PAD]", "[CLS]", "[SEP]", "[DEC]"],
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        bos_token="[DEC]",
    )
    ids = words.convert_tokens_to_ids
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", ids("[CLS]")), ("[SEP]", ids("[SEP]"))],
    )
    return words


def _blip(folder: Path, kind: str) -> Path:
    words = _bert_words()
    ids = words.convert_tokens_to_ids
    config = transformers.BlipConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "bos_token_id": ids("[DEC]"),
            "sep_token_id": ids("[SEP]"),
            "eos_token_id": ids("[SEP]"),
            "pad_token_id": ids("[PAD]"),
        },
        vision_config=VISION | {"hidden_size": 32, "initializer_range": 0.02},
    )
    torch.manual_seed(1)
    model = getattr(transformers, kind)(config)
    pictures = transformers.BlipImageProcessor(size={"height": SIZE, "width": SIZE})
    return save(folder, model, transformers.BlipProcessor(pictures, words))


def blip_vqa(folder: Path) -> Path:
    return _blip(folder, "BlipForQuestionAnswering")


def blip_caption(folder: Path) -> Path:
    return _blip(folder, "BlipForConditionalGeneration")


def _blip2(folder: Path, text: Callable[[Any], dict[str, Any]], words: Any) -> Path:
    pictures = transformers.BlipImageProcessor(size={"height": SIZE, "width": SIZE})
    made = transformers.Blip2Processor(pictures, words, num_query_tokens=3)
    config = transformers.Blip2Config(
        vision_config=VISION | {"initializer_range": 0.02},
        qformer_config={
            "vocab_size": 30,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "encoder_hidden_size": 24,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        text_config=text(words),
        num_query_tokens=3,
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(1)
    return save(folder, transformers.Blip2ForConditionalGeneration(config), made)


def blip2_opt(folder: Path) -> Path:
    from tokenizers.processors import TemplateProcessing

    words = tokenizer(
        ["<pad>", "</s>", "<image>"], bos_token="</s>", eos_token="</s>", pad_token="<pad>"
    )
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", words.convert_tokens_to_ids("</s>"))]
    )

    def text(words: Any) -> dict[str, Any]:
        ids = words.convert_tokens_to_ids
        return {
            "model_type": "opt",
            "vocab_size": len(words),
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 128,
            "pad_token_id": ids("<pad>"),
            "bos_token_id": ids("</s>"),
            "eos_token_id": ids("</s>"),
            "dropout": 0.0,
        }

    return _blip2(folder, text, words)


def blip2_t5(folder: Path) -> Path:
    from tokenizers.processors import TemplateProcessing

    words = tokenizer(["<pad>", "</s>", "<image>"], eos_token="</s>", pad_token="<pad>")
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", words.convert_tokens_to_ids("</s>"))]
    )

    def text(words: Any) -> dict[str, Any]:
        ids = words.convert_tokens_to_ids
        return {
            "model_type": "t5",
            "vocab_size": len(words),
            "d_model": 32,
            "d_kv": 16,
            "d_ff": 48,
            "num_layers": 1,
            "num_heads": 2,
            "pad_token_id": ids("<pad>"),
            "eos_token_id": ids("</s>"),
            "decoder_start_token_id": ids("<pad>"),
            "dropout_rate": 0.0,
        }

    return _blip2(folder, text, words)
