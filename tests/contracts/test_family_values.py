"""Vectors of the families against transformers' own processors and forward passes."""

import io

import numpy as np
import pytest
from PIL import Image

from mmcli.data.images import decode_images
from mmcli.data.recipes import PatchRecipe, Waveform
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.encode import encode_parts
from mmcli.engine.torch_stack import load_torch, load_transformers
from tests.contracts.conftest import parts_of

torch = load_torch()
transformers = load_transformers()
TEXTS = ["a cat", "The dog, of the sea!", "coffee  on the mat", "", "light " * 40]


def photo(width=90, height=60):
    ys, xs = np.mgrid[:height, :width]
    values = np.stack([xs * 2, ys * 3, 128 + 60 * np.sin(xs / 9) * np.cos(ys / 7)], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


def png(picture):
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def unit(vectors):
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


@pytest.mark.parametrize(
    ("name", "kind", "processor"),
    [
        ("siglip", "SiglipModel", "SiglipImageProcessorPil"),
        ("naflex", "Siglip2Model", "Siglip2ImageProcessorPil"),
        ("align", "AlignModel", "EfficientNetImageProcessorPil"),
    ],
)
def test_pictures_of_joint_models(tiny, get_encoder, name, kind, processor):
    """From the file on: decoding, scaling and the tower; resizing may differ by a grey level."""
    folder = tiny(name)
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    inputs = getattr(transformers, processor).from_pretrained(folder)(
        [photo(), photo(50, 120)], return_tensors="pt"
    )
    with torch.inference_mode():
        expected = unit(model.get_image_features(**inputs).pooler_output)
    encoder = get_encoder(f"tiny:{name}", "image")
    parts = [
        decode_images(png(picture), [encoder.recipe])[0] for picture in (photo(), photo(50, 120))
    ]
    found = encode_parts(encoder, parts, sequence=True)
    assert torch.cosine_similarity(found.pooled, expected).min() > 0.999
    assert torch.cosine_similarity(*expected, dim=0) < 0.98  # they could be told apart
    if name == "naflex":
        shapes = inputs["spatial_shapes"].prod(dim=1).tolist()
        assert [len(rows) for rows in found.sequence] == shapes


@pytest.mark.parametrize("most", [16, 256])
def test_sizes_in_whole_patches_are_those_of_transformers(most):
    from transformers.models.siglip2.image_processing_siglip2 import (
        get_image_size_for_max_num_patches,
    )

    recipe = PatchRecipe(16, 16, "squash", None, "nearest", most)
    for width, height in ((90, 60), (7, 900), (1000, 3), (333, 334), (64, 64), (1, 1)):
        values = decode_images(png(Image.new("RGB", (width, height))), [recipe])[0]
        assert values.shape[:2] == get_image_size_for_max_num_patches(height, width, 16, most)


@pytest.mark.parametrize("name", ["vit", "dinov2", "dinov2_registers", "dinov3", "dinov3_convnext"])
def test_picture_models(tiny, get_encoder, name):
    encoder = get_encoder(f"tiny:{name}", "image")
    model = transformers.AutoModel.from_pretrained(tiny(name)).eval()
    pictures = parts_of(encoder, 3)
    batch = encoder.collate(encoder.prepare(pictures), 1)
    with torch.inference_mode():
        states = model(pixel_values=batch.pixels[:3].contiguous()).last_hidden_state
    found = encode_parts(encoder, pictures, sequence=True)
    torch.testing.assert_close(found.pooled, states[:, 0], atol=1e-5, rtol=1e-4)
    registers = getattr(model.config, "num_register_tokens", 0)
    torch.testing.assert_close(found.sequence[1], states[1, 1 + registers :], atol=1e-5, rtol=1e-4)


def test_layers_are_hidden_states(tiny, get_encoder):
    """A layer is what its block gives, before the last normalisation."""
    encoder = get_encoder("tiny:vit", "image", options=EncoderOptions(layers=(2,)))
    model = transformers.ViTModel.from_pretrained(tiny("vit")).eval()
    pictures = parts_of(encoder, 2)
    pixels = encoder.collate(encoder.prepare(pictures), 1).pixels[:2]
    with torch.inference_mode():
        hidden = model(pixel_values=pixels, output_hidden_states=True).hidden_states[2]
    found = encode_parts(encoder, pictures, layer=2).pooled
    torch.testing.assert_close(found, hidden[:, 0], atol=1e-5, rtol=1e-4)


def test_florence2_tower(tiny, get_encoder):
    encoder = get_encoder("tiny:florence2", "image")
    model = transformers.Florence2ForConditionalGeneration.from_pretrained(tiny("florence2")).eval()
    pictures = parts_of(encoder, 2)
    pixels = encoder.collate(encoder.prepare(pictures), 1).pixels[:2]
    with torch.inference_mode():
        map_ = model.model.vision_tower(pixels).last_hidden_state
    found = encode_parts(encoder, pictures).pooled
    torch.testing.assert_close(found, map_.mean(dim=(2, 3)), atol=1e-5, rtol=1e-4)


def test_siglip_texts(tiny, get_encoder):
    """Lower case without punctuation, padded to the trained length, no mask."""
    folder = tiny("siglip")
    model = transformers.SiglipModel.from_pretrained(folder).eval()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    canonical = ["a cat", "the dog of the sea", "coffee on the mat", "", "light " * 40]
    ids = tokenizer(
        canonical, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    )["input_ids"]
    with torch.inference_mode():
        expected = unit(model.get_text_features(input_ids=ids).pooler_output)
    found = encode_parts(get_encoder("tiny:siglip", "text"), TEXTS).pooled
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["siglip2", "naflex"])
def test_siglip2_texts(tiny, get_encoder, name):
    """Lower case, punctuation kept, padded with its own padding token."""
    folder = tiny(name)
    kind = transformers.SiglipModel if name == "siglip2" else transformers.Siglip2Model
    model = kind.from_pretrained(folder).eval()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    lower = [text.lower() for text in TEXTS]
    ids = tokenizer(
        lower, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    )["input_ids"]
    assert tokenizer.pad_token == "<pad>"
    with torch.inference_mode():
        expected = unit(model.get_text_features(input_ids=ids).pooler_output)
    encoder = get_encoder(f"tiny:{name}", "text")
    torch.testing.assert_close(encode_parts(encoder, TEXTS).pooled, expected, atol=1e-5, rtol=1e-4)
    assert encoder.card.scripts == ()


@pytest.mark.parametrize(
    ("name", "kind", "limit"), [("align", "AlignModel", 64), ("clap", "ClapModel", 77)]
)
def test_texts_of_joint_models(tiny, get_encoder, name, kind, limit):
    folder = tiny(name)
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(
        TEXTS, padding="max_length", truncation=True, max_length=limit, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = unit(model.get_text_features(**inputs).pooler_output)
    found = encode_parts(get_encoder(f"tiny:{name}", "text"), TEXTS).pooled
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def waves(rate_hz, *seconds):
    rng = np.random.default_rng(3)
    found = []
    for number, duration in enumerate(seconds):
        t = np.arange(int(rate_hz * duration)) / rate_hz
        tone = 0.3 * np.sin(2 * np.pi * (300 + 170 * number) * t * (1 + t))
        found.append((tone + 0.05 * rng.normal(size=len(t))).astype(np.float32))
    return found


@pytest.mark.parametrize("name", ["clap", "clap_fused"])
def test_clap_sounds(tiny, get_encoder, name):
    """Sounds that fit one window: repeated, padded, never fused because of whom they are with."""
    folder = tiny(name)
    model = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    sounds = waves(8000, 0.2, 0.6, 1.0)
    inputs = extractor(sounds, sampling_rate=8000, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_audio_features(
            input_features=inputs["input_features"].float(),
            is_longer=torch.zeros((3, 1), dtype=torch.bool),
        ).pooler_output
    encoder = get_encoder(f"tiny:{name}", "speech")
    found = encode_parts(encoder, [Waveform(s, 8000) for s in sounds]).pooled
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_a_long_sound_is_the_mean_of_its_windows(get_encoder):
    encoder = get_encoder("tiny:clap", "speech")
    (sound,) = waves(8000, 3.0)
    whole = encode_parts(encoder, [Waveform(sound, 8000)], sequence=True)
    windows = [Waveform(sound[start : start + 8000], 8000) for start in (0, 8000, 16000)]
    parts = encode_parts(encoder, windows, sequence=True)
    expected = unit(parts.pooled.mean(dim=0, keepdim=True))
    torch.testing.assert_close(whole.pooled, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(whole.sequence[0], torch.cat(parts.sequence), atol=1e-4, rtol=1e-3)


def test_a_fused_model_sees_the_whole_sound_and_three_parts(tiny, get_encoder, monkeypatch):
    """As transformers does when its draws fall on the middles."""
    folder = tiny("clap_fused")
    model = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    (sound,) = waves(8000, 3.0)
    monkeypatch.setattr(np.random, "choice", lambda starts: starts[len(starts) // 2])
    inputs = extractor(sound, sampling_rate=8000, return_tensors="pt")
    assert inputs["is_longer"].tolist() == [[True]]
    with torch.inference_mode():
        expected = model.get_audio_features(
            input_features=inputs["input_features"].float(), is_longer=inputs["is_longer"]
        ).pooler_output
    encoder = get_encoder("tiny:clap_fused", "speech")
    found = encode_parts(encoder, [Waveform(sound, 8000)]).pooled
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm"])
def test_speech_models(tiny, get_encoder, name):
    """Each recording as if it were alone and unpadded."""
    folder = tiny(name)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    sounds = waves(16_000, 0.3, 1.0, 2.7)
    encoder = get_encoder(f"tiny:{name}", "speech")
    found = encode_parts(encoder, [Waveform(s, 16_000) for s in sounds], sequence=True)
    for row, sound in enumerate(sounds):
        inputs = extractor(sound, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            states = model(inputs["input_values"]).last_hidden_state[0]
        torch.testing.assert_close(found.sequence[row], states, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(found.pooled[row], states.mean(dim=0), atol=1e-4, rtol=1e-3)


def test_a_long_recording_is_cut_into_equal_windows(get_encoder):
    encoder = get_encoder("tiny:wav2vec2", "speech")
    (sound,) = waves(16_000, 40.0)
    row = encoder.prepare([Waveform(sound, 16_000)])[0]
    assert [len(window) for window in row.data] == [320_000, 320_000]
    found = encode_parts(encoder, [Waveform(sound, 16_000)], sequence=True)
    assert len(found.sequence[0]) == 2 * 999


def test_whisper_from_a_folder(tiny, get_encoder, monkeypatch):
    """128 bands, and the states that transformers gives for 30 seconds."""
    from mmcli.encoders import whisper

    monkeypatch.setattr(whisper, "STEP_S", 30)
    model = transformers.WhisperModel.from_pretrained(tiny("whisper")).eval()
    (sound,) = waves(16_000, 4.0)
    mel = transformers.WhisperFeatureExtractor(feature_size=128)(
        sound, sampling_rate=16_000, return_tensors="pt"
    )["input_features"]
    with torch.inference_mode():
        states = model.encoder(mel).last_hidden_state[0]
    encoder = get_encoder("tiny:whisper", "speech")
    found = encode_parts(encoder, [Waveform(sound, 16_000)], sequence=True)
    torch.testing.assert_close(found.sequence[0], states[:200], atol=1e-4, rtol=1e-3)


def test_videos(tiny, get_encoder):
    xclip = get_encoder("tiny:xclip", "video")
    films = parts_of(xclip, 3)
    pixels = xclip.collate(xclip.prepare(films), 1).pixels[:3]
    model = transformers.XCLIPModel.from_pretrained(tiny("xclip")).eval()
    with torch.inference_mode():
        expected = unit(model.get_video_features(pixels).pooler_output)
    found = encode_parts(xclip, films, sequence=True)
    torch.testing.assert_close(found.pooled, expected, atol=1e-5, rtol=1e-4)
    assert found.sequence[0].shape == (4 * 16, 32)

    processor = transformers.VideoMAEImageProcessor.from_pretrained(tiny("xclip"))
    given = processor([list(film) for film in films], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, given.view(pixels.shape), atol=1e-5, rtol=1e-4)

    mae = get_encoder("tiny:videomae", "video")
    model = transformers.VideoMAEModel.from_pretrained(tiny("videomae")).eval()
    with torch.inference_mode():
        states = model(pixels).last_hidden_state
    torch.testing.assert_close(
        encode_parts(mae, films).pooled, states.mean(dim=1), atol=1e-5, rtol=1e-4
    )


def test_xclip_texts(tiny, get_encoder):
    model = transformers.XCLIPModel.from_pretrained(tiny("xclip")).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny("xclip"))
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=20, return_tensors="pt")
    with torch.inference_mode():
        expected = unit(model.get_text_features(**inputs).pooler_output)
    found = encode_parts(get_encoder("tiny:xclip", "text"), TEXTS).pooled
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
