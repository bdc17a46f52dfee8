"""Text towers as ONNX: equal to the original, or not there at all."""

import json

import numpy as np
import pytest

from mmcli.encoders.export import After, export_text
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.encode import encode_parts
from mmcli.index.query_text import load_text_tower
from tests.contracts.conftest import BF16, FP32, has_starter

TEXTS = ["a cat", "the dog of the sea, on a mat", "coffee " * 90, ""]


@pytest.mark.parametrize(
    "reference",
    [
        *("minilm-l6", "bert", "sentence_transformer", "clip", "chinese_clip", "xlm_roberta"),
        *("siglip", "siglip2", "naflex", "align", "clap", "xclip"),
    ],
)
def test_exported_tower_equals_the_original(tmp_path, tiny, reference):
    import onnxruntime
    from tokenizers import Tokenizer

    if reference == "minilm-l6":
        if not has_starter():
            pytest.skip("the starter packages are not installed")
        name = reference
    else:
        name = f"local:{tiny(reference)}"
    encoder = load(name, "text", EncoderOptions(prompt="a photo of "), FP32)
    assert export_text(encoder, tmp_path) == ""
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
    told = json.loads((tmp_path / "query.json").read_text())
    assert told["dim"] == encoder.card.dim and told["space"] == encoder.card.space
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    session = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    encoded = [tokenizer.encode(told["prompt"] + text).ids for text in TEXTS]
    length = max(map(len, encoded))
    assert length <= told["max_length"]
    ids = np.full((len(TEXTS), length), told["pad_id"], np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(encoded):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    (together,) = session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})
    np.testing.assert_allclose(together, encode_parts(encoder, TEXTS).pooled.numpy(), atol=1e-4)


def test_what_cannot_be_exported_leaves_no_files(tmp_path, tiny, get_encoder, monkeypatch):
    monkeypatch.delenv("MMCLI_DEBUG", raising=False)
    half = load(f"local:{tiny('bert')}", "text", EncoderOptions(), BF16)
    assert "fp32" in export_text(half, tmp_path)
    assert "not a text tower" in export_text(get_encoder("tiny:clip", "image"), tmp_path)
    broken = load(f"local:{tiny('bert')}", "text", EncoderOptions(), FP32)
    broken.project = lambda features: features.no_such_thing
    assert "no_such_thing" in export_text(broken, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("MMCLI_DEBUG", "1")
    with pytest.raises(Exception, match="no_such_thing"):  # with where it was raised
        export_text(broken, tmp_path)


def test_what_follows_the_encoder_is_in_the_graph_and_compared(tmp_path, tiny):
    encoder = load(f"local:{tiny('bert')}", "text", EncoderOptions(), FP32)

    def turned(vectors):
        return -vectors[:, ::2]

    told = {"space": "other@0", "dim": encoder.card.dim // 2}
    for wrong in (lambda v: -turned(v), lambda v: np.full_like(turned(v), np.nan)):
        assert "differs" in export_text(encoder, tmp_path, After(turned, wrong, told))
        assert list(tmp_path.iterdir()) == []
    assert export_text(encoder, tmp_path, After(turned, turned, told)) == ""
    tower = load_text_tower(tmp_path)
    assert (tower.settings.space, tower.settings.dim) == ("other@0", encoder.card.dim // 2)
    expected = turned(encode_parts(encoder, TEXTS).pooled.numpy())
    np.testing.assert_allclose(tower.encode(TEXTS), expected, atol=1e-4)
