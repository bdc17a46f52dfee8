"""The folder that peft reads: by peft itself, on a base that it has never seen tuned."""

import json
from pathlib import Path

import pytest

from mmcli.core.errors import UsageError
from mmcli.tuning.registry import STRATEGIES
from mmcli.tuning.strategy import StrategyOptions, apply
from tests.tuning.networks import CASES, Case, fresh, learn, torch

OPTIONS = StrategyOptions(rank=2, alpha=5.0)
PEFT = [spec.name for spec in STRATEGIES if spec.peft]
BASES = {
    "bert": CASES["bert"],
    "whisper": CASES["whisper"],
    "clip text": CASES["clip text"],
    "clip vision": CASES["clip vision"],
    "vit": CASES["vit"],
    "efficientnet": CASES["efficientnet"],
}


def _saved(name: str, case: Case, folder: Path) -> torch.Tensor:
    """Train two steps, write, and give the outputs."""
    network = fresh(case)
    tuned = apply(name, network, OPTIONS)
    learn(network, case.run)
    tuned.save_peft(folder, "a/base")
    with torch.no_grad():
        return case.run(network)


@pytest.mark.parametrize("name", PEFT)
@pytest.mark.parametrize("base", BASES)
def test_peft_loads_it_and_gives_the_same(name: str, base: str, tmp_path: Path) -> None:
    import peft

    case = BASES[base]
    wanted = _saved(name, case, tmp_path)
    plain = fresh(case)
    peft.PeftModel.from_pretrained(plain, str(tmp_path)).eval()
    with torch.no_grad():
        torch.testing.assert_close(case.run(plain), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", PEFT)
def test_a_wrapped_layer_is_written_as_a_plain_one(name: str, tmp_path: Path) -> None:
    import peft

    wanted = _saved(name, CASES["clip class token"], tmp_path)
    case = CASES["clip vision"]
    plain = fresh(case)
    peft.PeftModel.from_pretrained(plain, str(tmp_path)).eval()
    with torch.no_grad():
        torch.testing.assert_close(case.run(plain), wanted, rtol=0, atol=1e-5)


def test_a_tower_and_its_dense_layers_are_written_as_the_tower(tmp_path: Path) -> None:
    import peft

    case = CASES["bert and dense"]
    wanted = _saved("lora", case, tmp_path)
    plain = fresh(case)
    peft.PeftModel.from_pretrained(plain[0], str(tmp_path)).eval()
    with torch.no_grad():
        torch.testing.assert_close(case.run(plain), wanted, rtol=0, atol=1e-5)


def test_equal_adapters_give_equal_bytes(tmp_path: Path) -> None:
    for place in ("a", "b"):
        _saved("ia3", CASES["bert"], tmp_path / place)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    config = json.loads((tmp_path / "a/adapter_config.json").read_text())
    assert config["peft_type"] == "IA3" and config["base_model_name_or_path"] == "a/base"
    assert config["auto_mapping"]["base_model_class"] == "BertModel"


@pytest.mark.parametrize("name", [s.name for s in STRATEGIES if not s.peft])
def test_others_have_no_such_folder(name: str, tmp_path: Path) -> None:
    tuned = apply(name, fresh(CASES["bert"]))
    with pytest.raises(UsageError, match=f"`{name}` cannot be written as a PEFT folder"):
        tuned.save_peft(tmp_path / "out", "a/base")
    assert not (tmp_path / "out").exists()


def test_what_was_merged_is_no_adapter_any_more(tmp_path: Path) -> None:
    tuned = apply("lora", fresh(CASES["bert"]))
    tuned.merge()
    with pytest.raises(UsageError, match="PEFT folder"):
        tuned.save_peft(tmp_path, "a/base")
