"""Vectors against other implementations: sentence-transformers, transformers, CTranslate2, timm."""

import numpy as np
import pytest
from PIL import Image

from mmcli.data.recipes import Waveform
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.encode import encode_parts
from mmcli.engine.torch_stack import load_torch, load_transformers
from tests.contracts import tiny_models
from tests.contracts.conftest import FP32, has_starter, parts_of

torch = load_torch()
TEXTS = ["a cat", "the dog of the sea", "", "coffee " * 40, "A Photo, on the mat!"]
MODES = ["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
needs_starter = pytest.mark.skipif(not has_starter(), reason="starter packages not installed")


@pytest.mark.parametrize("mode", MODES)
def test_sentence_transformers_folder(tmp_path, mode):
    """Pooling, Dense, Normalize, length and prompt as sentence-transformers itself applies them."""
    from sentence_transformers import SentenceTransformer

    from mmcli.encoders.registry import load

    folder = tiny_models.sentence_transformer(tmp_path / "model", mode)
    expected = SentenceTransformer(str(folder), device="cpu").encode(
        TEXTS, prompt_name="query", convert_to_tensor=True
    )
    plain = load(f"local:{folder}", "text", EncoderOptions(), FP32)
    assert plain.card.prompts == {"query": "a photo of "}
    encoder = load(
        f"local:{folder}", "text", EncoderOptions(prompt=plain.card.prompts["query"]), FP32
    )
    torch.testing.assert_close(encode_parts(encoder, TEXTS).pooled, expected, atol=2e-6, rtol=1e-4)
    truncated = [row.truncated for row in encoder.prepare(TEXTS)]
    assert truncated == [False, False, False, True, False]


@pytest.mark.parametrize("name", ["clip", "chinese_clip"])
def test_clip_towers(tiny, get_encoder, name):
    """Both towers against transformers' own features from its own processor."""
    transformers = load_transformers()
    folder = tiny(name)
    build = transformers.CLIPModel if name == "clip" else transformers.ChineseCLIPModel
    model = build.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["a cat", "the dog", "coffee on the mat and the sea"]
    with torch.inference_mode():
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=20, return_tensors="pt")
        expected = model.get_text_features(**inputs).pooler_output
    expected = torch.nn.functional.normalize(expected, dim=-1)
    text = get_encoder(f"tiny:{name}", "text")
    torch.testing.assert_close(encode_parts(text, texts).pooled, expected, atol=1e-5, rtol=1e-4)

    image = get_encoder(f"tiny:{name}", "image")
    pictures = parts_of(image, 3)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        pixels = processor(
            [Image.fromarray(p) for p in pictures],
            do_resize=False,
            do_center_crop=False,
            return_tensors="pt",
        )["pixel_values"]
        expected = model.get_image_features(pixel_values=pixels).pooler_output
    expected = torch.nn.functional.normalize(expected, dim=-1)
    torch.testing.assert_close(encode_parts(image, pictures).pooled, expected, atol=1e-4, rtol=1e-3)
    assert image.card.space == text.card.space
    assert image.recipe.fit == ("crop" if name == "clip" else "squash")


@needs_starter
def test_whisper_states_are_those_of_ctranslate2(get_encoder, monkeypatch):
    import ctranslate2

    from mmcli.encoders import whisper

    monkeypatch.setattr(whisper, "STEP_S", 30)
    encoder = get_encoder("whisper-tiny-en", "speech")
    wave = parts_of(encoder, 1)[0]
    states = encode_parts(encoder, [wave], sequence=True).sequence[0]
    samples = np.zeros(480_000, np.float32)
    samples[: len(wave.samples)] = wave.samples
    model = ctranslate2.models.Whisper(
        str(whisper.model_file().parent), device="cpu", compute_type="float32"
    )
    mel = whisper.log_mel(samples)[None].numpy()
    expected = model.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True)
    expected = torch.from_numpy(np.array(expected))[0, : len(states)]
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-3)


def test_log_mel_is_whispers():
    from mmcli.encoders.whisper import log_mel

    samples = np.random.default_rng(0).normal(0, 0.1, 480_000).astype(np.float32)
    extractor = load_transformers().WhisperFeatureExtractor()
    expected = extractor(samples, sampling_rate=16_000)["input_features"][0]
    np.testing.assert_allclose(log_mel(samples).numpy(), expected, atol=1e-5)


def test_a_truncated_ctranslate2_file(tmp_path):
    from mmcli.core.errors import BadInput
    from mmcli.encoders.ctranslate import read_ctranslate2

    header = b"\x06\0\0\0\x02\0A\0\x03\0\0\0\x01\0\0\0"
    for content in (b"", header, header + b"\x02\0x\0\x01\xff\xff\xff\xff\0\xff\xff\xff\xff"):
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(BadInput, match="CTranslate2"):
            read_ctranslate2(tmp_path / "model.bin")


def test_spectral_statistics_of_a_constant_tone(get_encoder):
    """A steady tone: its loudest band is the tone's, and nothing changes over time."""
    encoder = get_encoder("logmel", "speech")
    t = np.arange(32_000) / 16_000
    tone = Waveform((0.5 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32), 16_000)
    pooled = encode_parts(encoder, [tone]).pooled[0]
    mean, deviation, delta = pooled[:80], pooled[80:160], pooled[160:240]
    mel_of_1000 = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 8000 / 700)) * 81 - 1
    assert abs(int(mean.argmax()) - mel_of_1000) <= 1
    assert deviation[int(mean.argmax())] < 0.5
    assert delta.abs().max() < 0.05


def test_resampling_keeps_a_tone(get_encoder):
    """The same tone at three rates, one of them odd, has the same spectrum."""
    encoder = get_encoder("logmel", "speech")
    waves = []
    for rate in (16_000, 44_100, 44_099):
        t = np.arange(2 * rate) / rate
        waves.append(Waveform((0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32), rate))
    pooled = encode_parts(encoder, waves).pooled[:, :80]
    assert set(pooled.argmax(dim=1).tolist()) == {int(pooled[0].argmax())}


def test_a_recording_of_nothing(get_encoder):
    for name in ("logmel", "mfcc"):
        output = encode_parts(
            get_encoder(name, "speech"), [Waveform(np.zeros(0, np.float32), 16_000)]
        )
        assert output.pooled.isfinite().all()


@needs_starter
def test_silence_has_an_empty_transcript_and_a_zero_vector(get_encoder):
    encoder = get_encoder("whisper-tiny-en-minilm", "speech")
    row = encoder.text.prepare([""])[0]
    from dataclasses import replace

    from mmcli.encoders.transcript import Heard

    rows = [replace(row, data=Heard("", row.data))]
    with torch.inference_mode():
        output = encoder.head(encoder.trunk(encoder.collate(rows, 2)))
    assert output.columns == {"transcript": [""]}
    assert not output.pooled.any()


@needs_starter
def test_the_starter_shares_one_space(get_encoder):
    spaces = {
        get_encoder(name, modality).card.space
        for name, modality in (
            ("minilm-l6", "text"),
            ("conse-efficientnet-lite0", "image"),
            ("whisper-tiny-en-minilm", "speech"),
        )
    }
    assert spaces == {"minilm-l6@53aa51172d14"}


@needs_starter
def test_words_find_photographs(get_encoder):
    """Four photographs, four texts, ConSE in between."""
    skimage = pytest.importorskip("skimage.data")
    image = get_encoder("conse-efficientnet-lite0", "image")
    text = get_encoder("minilm-l6", "text")
    pictures = []
    for photo in (skimage.coffee(), skimage.chelsea(), skimage.camera()):
        one = Image.fromarray(photo).convert("RGB")
        one.thumbnail((224, 224), Image.Resampling.LANCZOS)
        canvas = Image.new("RGB", (224, 224), "white")
        canvas.paste(one, ((224 - one.width) // 2, (224 - one.height) // 2))
        pictures.append(np.asarray(canvas))
    queries = ["a cup of coffee", "a kitten", "a photographer with a tripod"]
    scores = encode_parts(text, queries).pooled @ encode_parts(image, pictures).pooled.T
    assert scores.argmax(dim=1).tolist() == [0, 1, 2]


def test_a_broken_class_cache_is_made_again(tmp_path, monkeypatch):
    if not has_starter():
        pytest.skip("starter packages not installed")
    from mmcli.encoders import conse

    names = ["tabby, tabby cat", "espresso"]
    monkeypatch.setenv("MMCLI_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(conse, "class_names", lambda: names * 500)
    monkeypatch.setattr(conse, "_embed_classes", lambda names: torch.ones(1000, 384))
    first = conse.class_vectors()
    (cache,) = tmp_path.iterdir()
    cache.write_bytes(cache.read_bytes()[:100])
    assert torch.equal(conse.class_vectors(), first)
    assert len(cache.read_bytes()) > 1000 * 384 * 4
