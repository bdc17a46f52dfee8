"""Tiny random models that hear or watch, saved to disk the way real ones are."""

from pathlib import Path
from typing import Any

from mmcli.engine.torch_stack import load_torch, load_transformers
from tests.contracts.tiny_families import _PICTURE, _SIZES, _SQUARE, _pictures, _save
from tests.contracts.tiny_models import _BERT, _json, clip_tokenizer, xlm_roberta

_LIGHT = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
torch = load_torch()
transformers = load_transformers()


def _roberta_tokenizer(folder: Path) -> int:
    from tokenizers.pre_tokenizers import ByteLevel

    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    folder.mkdir(parents=True, exist_ok=True)
    transformers.RobertaTokenizer(vocab=vocab, merges=[]).save_pretrained(folder)
    return len(vocab)


def clap(folder: Path, fused: bool = False) -> Path:
    """CLAP that hears one second at 8 kHz."""
    size = _roberta_tokenizer(folder)
    text = {**_BERT, "vocab_size": size, "max_position_embeddings": 80}
    side, bands = (64, 64) if fused else (32, 16)  # transformers fuses 64 bands only
    config = transformers.ClapConfig(
        text_config={**text, "projection_dim": 24},
        audio_config={
            "spec_size": side,
            "num_mel_bins": bands,
            "window_size": 4,
            "patch_embeds_hidden_size": 8,
            "hidden_size": 16,
            "depths": [1, 2],
            "num_attention_heads": [2, 2],
            "enable_fusion": fused,
            "fusion_type": "aff_2d" if fused else None,
            "projection_dim": 24,
            "aff_block_r": 2,
        },
        projection_dim=24,
    )
    _save(folder, transformers.ClapModel(config), 21)
    transformers.ClapFeatureExtractor(
        feature_size=bands,
        sampling_rate=8000,
        hop_length=160,
        max_length_s=1,
        fft_window_size=256,
        frequency_max=4000,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)
    return folder


def clap_fused(folder: Path) -> Path:
    """CLAP that sees the whole of a long recording beside parts of it."""
    return clap(folder, fused=True)


def xclip(folder: Path) -> Path:
    """X-CLIP with videos of four frames."""
    end = clip_tokenizer(folder) - 1
    text = {**_BERT, "vocab_size": end + 1, "max_position_embeddings": 20}
    config = transformers.XCLIPConfig(
        text_config={**text, "pad_token_id": end, "bos_token_id": end - 1, "eos_token_id": end},
        vision_config={
            **_PICTURE,
            "num_frames": 4,
            "mit_hidden_size": 24,
            "mit_intermediate_size": 48,
            "mit_num_hidden_layers": 1,
            "mit_num_attention_heads": 4,
        },
        projection_dim=24,
        prompt_layers=1,
        prompt_num_attention_heads=4,
    )
    _save(folder, transformers.XCLIPModel(config), 22)
    _pictures(folder, do_center_crop=True, size={"shortest_edge": 32}, crop_size=_SQUARE, **_LIGHT)
    return folder


def videomae(folder: Path) -> Path:
    """VideoMAE with a classifier."""
    config = transformers.VideoMAEConfig(**_PICTURE, num_frames=4)
    _save(folder, transformers.VideoMAEForVideoClassification(config), 23)
    _pictures(folder, do_center_crop=True, size={"shortest_edge": 32}, crop_size=_SQUARE, **_LIGHT)
    return folder


def _waves(**more: Any) -> dict[str, Any]:
    """A state for every 320 samples."""
    return {
        **_SIZES,
        "conv_dim": (16, 16, 16),
        "conv_kernel": (10, 8, 8),
        "conv_stride": (5, 8, 8),
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        **more,
    }


def wav2vec2(folder: Path) -> Path:
    """wav2vec 2.0 with a recognition head, normalising over time as the base models do."""
    config = transformers.Wav2Vec2Config(**_waves(vocab_size=20))
    _save(folder, transformers.Wav2Vec2ForCTC(config), 24)
    _json(folder / "preprocessor_config.json", {"sampling_rate": 16000, "do_normalize": True})
    return folder


def hubert(folder: Path) -> Path:
    """HuBERT built as the large models are."""
    large = _waves(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)
    _save(folder, transformers.HubertModel(transformers.HubertConfig(**large)), 25)
    _json(folder / "preprocessor_config.json", {"sampling_rate": 16000, "do_normalize": True})
    return folder


def wavlm(folder: Path) -> Path:
    """WavLM, which is not normalised."""
    _save(folder, transformers.WavLMModel(transformers.WavLMConfig(**_waves())), 26)
    _json(folder / "preprocessor_config.json", {"sampling_rate": 16000, "do_normalize": False})
    return folder


def whisper(folder: Path) -> Path:
    """Whisper with its decoder, 128 bands as the large models have."""
    config = transformers.WhisperConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_mel_bins=128,
        vocab_size=60,
        max_target_positions=20,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 50),
        decoder_start_token_id=51,
    )
    _save(folder, transformers.WhisperForConditionalGeneration(config), 27)
    return folder


def muq_mulan(folder: Path) -> Path:
    """MuQ-MuLan as its package saves it, with a MuQ and an XLM-RoBERTa of its own beside it."""
    from muq import MuQ, MuQMuLan
    from muq.muq.muq import MuQConfig

    text = xlm_roberta(folder.parent / "xlm-roberta-tiny")
    conformer = transformers.Wav2Vec2ConformerConfig(
        num_attention_heads=2,
        intermediate_size=32,
        conv_depthwise_kernel_size=5,
        position_embeddings_type="rotary",
        layerdrop=0.0,
    )
    torch.manual_seed(28)
    sound = MuQ(
        MuQConfig(
            codebook_size=16,
            conv_dim=8,
            encoder_dim=16,
            encoder_depth=2,
            stat={"melspec_2048_mean": 0.0, "melspec_2048_std": 20.0},
            w2v2_config={k: v for k, v in conformer.to_dict().items() if not isinstance(v, dict)},
        )
    )
    sound.save_pretrained(folder.parent / "muq-tiny")
    small = {"dim": 32, "tf_depth": 1, "heads": 2, "dim_head": 16}
    model = MuQMuLan(
        {
            "mulan": {"sr": 24000, "clip_secs": 1, "dim_latent": 24},
            "audio_model": {
                "name": str(folder.parent / "muq-tiny"),
                "model_dim": 16,
                "use_layer_idx": -1,
            },
            "text_model": {"name": str(text), "model_dim": 32},
            "audio_transformer": small,
            "text_transformer": small,
        }
    )
    model.save_pretrained(folder)
    return folder
