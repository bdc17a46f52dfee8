"""Tiny random vision-language models of every family, saved to disk the way real ones are.

The configurations, processors and image processors are the real classes; the tokenizer knows some
fifty words and each family's own special tokens.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tasks.generative.tiny_blips import blip2_opt, blip2_t5, blip_caption, blip_vqa
from tests.tasks.generative.tiny_parts import (
    SIZE,
    TEXT,
    VISION,
    clip_pictures,
    save,
    tokenizer,
    torch,
    transformers,
)

#: The chat templates that the families' own repositories have, cut down to text and pictures.
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}"
    "{{ m['content'] }}{% else %}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOL_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}"
    "{% if m['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}"
    "{% elif c['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% for c in m['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}"
    "{% endfor %}{% for c in m['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ c['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def _qwen(folder: Path, name: str, vision: dict[str, Any], text: dict[str, Any]) -> Path:
    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    words = tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *marks],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    ids = words.convert_tokens_to_ids
    config = getattr(transformers, f"{name}Config")(
        text_config={**TEXT, "vocab_size": len(words), "eos_token_id": ids("<|im_end|>"), **text},
        vision_config=vision,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    torch.manual_seed(1)
    model = getattr(transformers, f"{name}ForConditionalGeneration")(config)
    model.generation_config.eos_token_id = [ids("<|im_end|>")]
    patch = vision["patch_size"]
    pixels = {"shortest_edge": (2 * patch) ** 2, "longest_edge": (4 * patch) ** 2}
    pictures = transformers.Qwen2VLImageProcessor(patch_size=patch, size=pixels)
    kind = "Qwen3VL" if name.startswith("Qwen3") else "Qwen2VL"
    films = getattr(transformers, f"{kind}VideoProcessor")(patch_size=patch)
    processor = getattr(transformers, {"Qwen2VL": "Qwen2VLProcessor"}.get(name, f"{name}Processor"))
    made = processor(pictures, words, films, chat_template=QWEN_TEMPLATE)
    return save(folder, model, made)


def qwen2_vl(folder: Path) -> Path:
    vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": 32, "patch_size": 14}
    rope = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}}
    return _qwen(folder, "Qwen2VL", vision, rope)


def qwen2_5_vl(folder: Path) -> Path:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
        "patch_size": 14,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    rope = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}}
    return _qwen(folder, "Qwen2_5_VL", vision, rope)


def qwen3_vl(folder: Path) -> Path:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
        "patch_size": 16,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    text = {
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [2, 3, 3],
            "mrope_interleaved": True,
        },
    }
    return _qwen(folder, "Qwen3VL", vision, text)


def smolvlm(folder: Path) -> Path:
    tiles = [f"<row_{r}_col_{c}>" for r in (1, 2) for c in (1, 2)]
    words = tokenizer(
        [
            *("<|im_start|>", "<end_of_utterance>", "<pad>", "<image>", "<global-img>", "<video>"),
            *("<fake_token_around_image>", *tiles),
        ],
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<pad>",
    )
    ids = words.convert_tokens_to_ids
    end = {"eos_token_id": ids("<end_of_utterance>"), "bos_token_id": ids("<|im_start|>")}
    config = transformers.SmolVLMConfig(
        text_config={
            "model_type": "llama",
            **TEXT,
            "vocab_size": len(words),
            "pad_token_id": ids("<pad>"),
            **end,
        },
        vision_config=VISION,
        image_token_id=ids("<image>"),
        scale_factor=2,
    )
    torch.manual_seed(1)
    model = transformers.SmolVLMForConditionalGeneration(config)
    model.generation_config.eos_token_id = end["eos_token_id"]
    pictures = transformers.SmolVLMImageProcessor(
        size={"longest_edge": 2 * SIZE}, max_image_size={"longest_edge": SIZE}
    )
    films = transformers.SmolVLMVideoProcessor(
        size={"longest_edge": SIZE},
        max_image_size={"longest_edge": SIZE},
        video_sampling={"fps": 1, "max_frames": 4, "video_size": {"longest_edge": SIZE}},
    )
    made = transformers.SmolVLMProcessor(
        pictures, words, films, image_seq_len=1, chat_template=SMOL_TEMPLATE
    )
    return save(folder, model, made)


def llava(folder: Path) -> Path:
    words = tokenizer(
        ["<s>", "</s>", "<pad>", "<image>"], bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    ids = words.convert_tokens_to_ids
    config = transformers.LlavaConfig(
        text_config={
            "model_type": "llama",
            **TEXT,
            "vocab_size": len(words),
            "pad_token_id": ids("<pad>"),
            "eos_token_id": ids("</s>"),
            "bos_token_id": ids("<s>"),
        },
        vision_config={"model_type": "clip_vision_model", **VISION, "projection_dim": 24},
        image_token_index=ids("<image>"),
        image_seq_length=4,
    )
    torch.manual_seed(1)
    model = transformers.LlavaForConditionalGeneration(config)
    made = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
        ),
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    return save(folder, model, made)


def paligemma(folder: Path) -> Path:
    words = tokenizer(
        ["<pad>", "<eos>", "<bos>", "<image>"],
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
    )
    pictures = transformers.SiglipImageProcessor(size={"height": SIZE, "width": SIZE})
    pictures.image_seq_length = 4
    made = transformers.PaliGemmaProcessor(pictures, words)
    ids = words.convert_tokens_to_ids
    config = transformers.PaliGemmaConfig(
        text_config={
            "model_type": "gemma",
            **TEXT,
            "head_dim": 16,
            "vocab_size": len(words),
            "pad_token_id": ids("<pad>"),
            "eos_token_id": ids("<eos>"),
            "bos_token_id": ids("<bos>"),
        },
        vision_config={
            "model_type": "siglip_vision_model",
            **VISION,
            "vision_use_head": False,
        },
        image_token_index=ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    torch.manual_seed(1)
    return save(folder, transformers.PaliGemmaForConditionalGeneration(config), made)


def florence2(folder: Path) -> Path:
    from tokenizers.processors import TemplateProcessing

    words = tokenizer(
        ["<s>", "<pad>", "</s>", "<image>"],
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
    ids = words.convert_tokens_to_ids
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", ids("<s>")), ("</s>", ids("</s>"))]
    )
    pictures = clip_pictures()
    pictures.image_seq_length = 2
    config = transformers.Florence2Config(
        text_config={
            "model_type": "bart",
            "vocab_size": len(words),
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 128,
            "bos_token_id": ids("<s>"),
            "eos_token_id": ids("</s>"),
            "pad_token_id": ids("<pad>"),
            "decoder_start_token_id": ids("</s>"),
            "forced_eos_token_id": None,
        },
        vision_config={
            "embed_dim": [8, 8, 16, 24],
            "num_heads": [1, 1, 2, 2],
            "num_groups": [1, 1, 2, 2],
            "depths": [1, 1, 1, 1],
            "window_size": 4,
            "projection_dim": 32,
            "drop_path_rate": 0.0,
        },
        image_token_id=ids("<image>"),
    )
    torch.manual_seed(1)
    model = transformers.Florence2ForConditionalGeneration(config)
    made = transformers.Florence2Processor(pictures, words)
    return save(folder, model, made)


#: Every named family, the two heads of BLIP and the two language models of BLIP-2.
BUILDERS: dict[str, Callable[[Path], Path]] = {
    "blip-vqa": blip_vqa,
    "blip-caption": blip_caption,
    "blip-2-opt": blip2_opt,
    "blip-2-t5": blip2_t5,
    "florence-2": florence2,
    "qwen2-vl": qwen2_vl,
    "qwen2.5-vl": qwen2_5_vl,
    "qwen3-vl": qwen3_vl,
    "smolvlm": smolvlm,
    "llava": llava,
    "paligemma": paligemma,
}
