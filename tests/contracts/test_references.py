"""References: what users write, what it resolves to, and how refusals are worded."""

import json
import pickle
import subprocess
import sys
import warnings

import pytest

from mmcli.core.errors import BadInput, MissingResource, UsageError
from mmcli.encoders.registry import ENCODERS, PRESETS, load, resolve
from mmcli.encoders.specs import EncoderOptions
from tests.contracts.conftest import FP32

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("reference", "modality", "words"),
    [
        ("minilm", "text", "did you mean `minilm-l6`"),
        ("minilm-l6", "image", "conse-efficientnet-lite0"),
        ("sentence-transformers/all-MiniLM-L6-v2", "text", "hf:sentence-transformers/"),
        ("starter", "text", "--preset starter"),
        ("timn:resnet50", "image", "did you mean `timm:resnet50`"),
        ("timm:resnet50", "speech", "image models only"),
        ("hf:no-slash", "text", "hf:ORG/REPO"),
        ("hf:", "text", "hf:ORG/REPO"),
        ("hf:a/b@", "text", "hf:ORG/REPO"),
        ("/tmp", "text", "local:/tmp"),
        ("minilm-l6", "smell", "known: image"),
    ],
)
def test_a_wrong_reference_is_answered_with_the_right_one(reference, modality, words):
    with pytest.raises(UsageError) as caught:
        resolve(reference, modality)
    assert words in caught.value.hint
    assert "\n" not in caught.value.message


def test_a_directory_that_is_not_there():
    with pytest.raises(MissingResource, match="no such directory"):
        resolve("local:/no/such/place", "text")


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(BadInput, match=r"no config\.json"):
        resolve(f"local:{tmp_path}", "text")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "seven_legged"}))
    with pytest.raises(BadInput, match="`seven_legged` are not supported"):
        resolve(f"local:{tmp_path}", "text")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match="not readable JSON"):
        resolve(f"local:{tmp_path}", "text")


def test_local_folders_are_recognised(tiny):
    loaders = {
        ("clip", "image"): "clip",
        ("chinese_clip", "text"): "clip",
        ("bert", "text"): "text",
        ("sentence_transformer", "text"): "text",
        ("test_vit", "image"): "timm_backbone",
    }
    for (name, modality), file in loaders.items():
        assert resolve(f"local:{tiny(name)}", modality).loader == f"mmcli.encoders.{file}:load"
    with pytest.raises(UsageError, match="takes text, not image"):
        resolve(f"local:{tiny('bert')}", "image")


def test_a_revision_is_kept():
    resolved = resolve(f"hf:org/some.repo@{COMMIT}", "text")
    assert (resolved.location, resolved.revision) == ("org/some.repo", COMMIT)
    assert resolved.name == "some.repo"


def test_every_preset_names_encoders_of_its_modalities():
    for preset in PRESETS:
        for modality, reference in preset.encoders.items():
            assert modality in resolve(reference, modality).spec.modalities


def test_every_entry_is_documented():
    for spec in ENCODERS:
        assert spec.summary and spec.licence and spec.source and spec.loader
        assert len(spec.summary) < 90


def test_remote_code_needs_the_option_and_a_commit(tiny):
    trusted = EncoderOptions(trust_remote_code=True)
    for reference in ("hf:org/repo", "hf:org/repo@main", f"local:{tiny('bert')}"):
        with pytest.raises(UsageError, match="pinned commit"):
            load(reference, "text", trusted, FP32)


def test_code_in_a_folder_is_not_run_unasked(tmp_path, tiny):
    """A folder that brings its own model class: refused, and its file never imported."""
    config = json.loads((tiny("bert") / "config.json").read_text())
    config |= {"model_type": "own_kind", "auto_map": {"AutoModel": "modeling.Own"}}
    config["auto_map"]["AutoConfig"] = "modeling.Config"
    for path in tiny("bert").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises((BadInput, MissingResource)):
        load(f"local:{tmp_path}", "text", EncoderOptions(), FP32)
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    ("model", "modality", "name"),
    [
        ("bert", "text", "pytorch_model.bin"),
        ("clip", "image", "pytorch_model.bin"),
        ("test_resnet", "image", "pytorch_model.bin"),
        ("test_resnet", "image", "model.pth"),
        ("sentence_transformer", "text", "2_Dense/pytorch_model.bin"),
    ],
)
def test_a_malicious_pickle_is_never_executed(tmp_path, tiny, model, modality, name):
    folder = tmp_path / "model"
    for path in tiny(model).rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(tiny(model))
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (folder / name).with_name("model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an error is two lines on stderr, nothing of torch's
        with pytest.raises(BadInput, match="read safely") as refused:
            load(f"local:{folder}", modality, EncoderOptions(), FP32)
    assert refused.value.hint == "convert it to safetensors where you trust it"
    assert not (tmp_path / "ran").exists()


def test_a_timm_folder_cannot_name_other_files(tmp_path, tiny):
    (tmp_path / "model.safetensors").write_bytes(
        (tiny("test_resnet") / "model.safetensors").read_bytes()
    )
    told = json.loads((tiny("test_resnet") / "config.json").read_text())
    (tmp_path / "bad.pth").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    told["model_args"] = {"checkpoint_path": str(tmp_path / "bad.pth")}
    (tmp_path / "config.json").write_text(json.dumps(told))
    load(f"local:{tmp_path}", "image", EncoderOptions(), FP32)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "config.json").write_text(json.dumps({**told, "architecture": "resnet_of_mine"}))
    with pytest.raises(BadInput, match="no architecture"):
        load(f"local:{tmp_path}", "image", EncoderOptions(), FP32)


def test_weights_cut_short(tmp_path, tiny):
    for path in tiny("bert").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="cannot be loaded"):
        load(f"local:{tmp_path}", "text", EncoderOptions(), FP32)


def test_layers_and_dim_that_are_not_there(tiny):
    for options in (EncoderOptions(layers=(9,)), EncoderOptions(dim=999)):
        with pytest.raises(UsageError):
            load(f"local:{tiny('bert')}", "text", options, FP32)


@pytest.mark.parametrize("name", ["clip", "hf:some/model", "timm:resnet18"])
def test_offline_says_what_to_do(monkeypatch, tmp_path, name):
    """As by HF_HUB_OFFLINE and HF_HOME, which the hub's library reads once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingResource, match="the hub was not reached") as caught:
        load(name, "image", EncoderOptions(), FP32)
    assert "--preset starter" in caught.value.hint


def test_listing_imports_nothing_heavy():
    program = (
        "import sys; from mmcli.encoders.registry import ENCODERS, PRESETS, resolve\n"
        "[resolve(s.name, s.modalities[0]) for s in ENCODERS]\n"
        "print({m.split('.')[0] for m in sys.modules} & {'torch','transformers','numpy','timm'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
