"""What learns is what was said, however the steps are cut; a run that was cut off ends alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from mmcli.core.errors import BadInput, UsageError
from mmcli.engine.training import TrainOptions, train
from mmcli.tasks.generative.learning import AnswerTraining
from mmcli.tasks.generative.loading import find_base, load_network, speak
from mmcli.tasks.generative.tuned import plan, tune, with_adapter, write_adapter
from mmcli.tuning.options import StrategyOptions
from mmcli.workflows.finetune.generative.rows import load_rows
from mmcli.workflows.finetune.generative.run import run
from mmcli.workflows.listeners import Listeners
from tests.tasks.generative.making import config, rows, table, tiny
from tests.tasks.generative.tiny_parts import torch


class Cut(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("colours"), rows(14, test=1))


def method(name: str, data: Path, strategy: dict[str, str], **more: Any) -> AnswerTraining:
    base = find_base(f"local:{tiny(name)}")
    network = load_network(base, "float32", "cpu")
    torch.manual_seed(0)
    tuned = tune(network, base.family, plan(strategy, base.family), StrategyOptions())
    examples = load_rows(str(data), "vqa").examples
    found = AnswerTraining(
        tuned, speak(base, "vqa"), base.family.vision, examples[:12], examples[12:],
        **{"batch": 4, **more},
    )  # fmt: skip
    found.drop_idle()
    return found


def gradients(one: AnswerTraining) -> dict[str, Any]:
    one.model.train()
    one.model.zero_grad()
    loss = one.step(next(one.batches(0, 0)), lambda value: value.backward())["loss"]
    found = {n: p.grad.clone() for n, p in one.model.named_parameters() if p.grad is not None}
    return {"loss": loss, **found}


# -- strategies ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("llava", {"": "full"}),
        ("llava", {"": "lora"}),
        ("llava", {"": "probe"}),
        ("llava", {"text": "frozen", "image": "lora"}),
        ("llava", {"": "gradual", "image": "full"}),
        ("qwen3-vl", {"": "full"}),
        ("qwen3-vl", {"": "last-n", "connector": "full"}),
        ("florence-2", {"": "dora"}),
        ("florence-2", {"": "bitfit"}),
        ("blip-2-t5", {"": "ia3", "image": "full"}),
        ("blip-vqa", {"": "lora"}),
    ],
)
def test_what_it_says_learns_is_what_changes_and_nothing_else(
    name: str, strategy: dict[str, str], data: Path
) -> None:
    one = method(name, data, strategy, epochs=3)
    before = {n: p.detach().clone() for n, p in one.model.named_parameters()}
    train(one, TrainOptions(epochs=3, lr=1e-2, weight_decay=0.1, device="cpu", checkpoint_s=-1))
    changed = {n for n, p in one.model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert changed == one.learned
    assert changed
    family = find_base(f"local:{tiny(name)}").family
    told = plan(strategy, family)
    sees = [n for n in changed if n.removeprefix("network.").startswith(family.vision)]
    leads = [n for n in changed if n.removeprefix("network.").startswith(family.connector or "-")]
    assert bool(set(sees) - set(leads)) == (told["image"] != "frozen")
    assert bool(leads) == (told["connector"] == "full")


def test_by_default_words_learn_by_lora_and_the_tower_is_frozen() -> None:
    family = find_base(f"local:{tiny('llava')}").family
    assert plan({}, family) == {"text": "lora", "image": "frozen", "connector": "frozen"}


def test_the_frozen_tower_drops_nothing_out(data: Path) -> None:
    one = method("llava", data, {"": "full"})
    one.model.train()
    assert not one.model.network.get_submodule("model.vision_tower").training
    assert one.model.network.get_submodule("model.language_model").training


# -- steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llava", "blip-vqa"])
def test_passes_of_a_step_add_up_to_the_step(name: str, data: Path) -> None:
    whole = gradients(method(name, data, {"": "full"}, batch=8, accumulate=1))
    cut = gradients(method(name, data, {"": "full"}, batch=2, accumulate=4))
    assert whole.keys() == cut.keys()
    for key, value in whole.items():
        np.testing.assert_allclose(value, cut[key], rtol=2e-3, atol=2e-6, err_msg=key)


@pytest.mark.parametrize("name", ["qwen2-vl", "blip-2-t5"])
def test_activations_computed_again_give_the_same_gradients(name: str, data: Path) -> None:
    kept = gradients(method(name, data, {"": "lora"}))
    one = method(name, data, {"": "lora"})
    one.tuned.network.gradient_checkpointing_enable({"use_reentrant": False})
    again = gradients(one)
    for key, value in kept.items():
        np.testing.assert_allclose(value, again[key], rtol=1e-4, atol=1e-7, err_msg=key)


def test_the_loss_is_nats_a_token_of_the_answers(data: Path) -> None:
    """At the start every word is about as likely as any other."""
    one = method("llava", data, {"": "full"})
    words = one.model.network.config.get_text_config().vocab_size
    assert gradients(one)["loss"] == pytest.approx(np.log(words), rel=0.1)
    assert one.nats(one.val_rows) == pytest.approx(np.log(words), rel=0.1)
    assert one.score() == -one.nats(one.val_rows)


def test_layers_further_down_learn_slower(data: Path) -> None:
    base = find_base(f"local:{tiny('florence-2')}")
    network = load_network(base, "float32", "cpu")
    told = plan({"": "full", "image": "full"}, base.family)
    tuned = tune(network, base.family, told, StrategyOptions(), layer_decay=0.5)
    of = {n: r for n, r in tuned.rates.items() if ".decoder.layers." in n and "fc1.weight" in n}
    assert {int(n.split(".layers.")[1].split(".")[0]): r for n, r in of.items()} == {
        0: 0.25,
        1: 0.5,
    }
    assert "lm_head.weight" not in tuned.rates


# -- cut off and resumed -----------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "cuts"), [("full", (2, 5, 9)), ("lora", (7,))])
def test_a_run_cut_off_anywhere_writes_the_same_weights(
    strategy: str, cuts: tuple[int, ...], data: Path, tmp_path: Path
) -> None:
    def told(output: str, **more: Any) -> Any:
        return config(
            data, tmp_path / output, "blip-2-opt", strategy={"": strategy}, checkpoint_s=0.0,
            tricks={"epochs": 4, "batch": 4}, options={"baselines": "yes"}, **more,
        )  # fmt: skip

    run(told("whole"))
    for cut in cuts:

        def stop(done: int, total: int, at: int = cut) -> None:
            if total == 12 and done == at:
                raise Cut

        with pytest.raises(Cut):
            run(told("cut", resume=True), Listeners(progress=stop))
    report = run(told("cut", resume=True))
    assert report["epochs"] == 4
    (whole,) = (tmp_path / "whole").rglob("*model.safetensors")
    (cut_off,) = (tmp_path / "cut").rglob("*model.safetensors")
    ours, theirs = load_file(whole), load_file(cut_off)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_other_data_or_options_are_not_resumed(data: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Cut

    told = config(data, tmp_path / "model", "llava", checkpoint_s=0.0)
    with pytest.raises(Cut):
        run(told, Listeners(progress=stop))
    other = config(data, tmp_path / "model", "llava", tricks={"lr": 1e-3}, resume=True)
    with pytest.raises(BadInput, match="begun with other options"):
        run(other)


# -- adapters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "strategy"), [("llava", "lora"), ("florence-2", "dora"), ("blip-2-t5", "ia3")]
)
def test_peft_loads_an_adapter_and_merges_it_to_the_same(
    name: str, strategy: str, data: Path, tmp_path: Path
) -> None:
    told = (
        {"": strategy, "image": strategy}
        if name == "llava" and strategy == "lora"
        else {"": strategy}
    )
    one = method(name, data, told, epochs=2)
    train(one, TrainOptions(epochs=2, lr=5e-2, device="cpu", checkpoint_s=-1))
    assert one.tuned.is_adapter
    expected = one.nats(one.train_rows)
    write_adapter(one.tuned, tmp_path / "adapter", "org/base")
    base = find_base(f"local:{tiny(name)}")
    fresh = method(name, data, {"": "full"})
    untrained = fresh.nats(fresh.train_rows)
    assert abs(untrained - expected) > 1e-4  # so that the rest says something
    fresh.model.network = with_adapter(load_network(base, "float32", "cpu"), tmp_path / "adapter")
    assert fresh.nats(fresh.train_rows) == pytest.approx(expected, abs=1e-5)
    one.tuned.merge()
    assert one.nats(one.train_rows) == pytest.approx(expected, abs=1e-5)
    names = {n for n, _ in one.model.network.named_parameters()}
    assert names == {n for n, _ in load_network(base, "float32", "cpu").named_parameters()}


def test_an_adapter_beside_other_weights_is_merged_into_a_whole_model(
    data: Path, tmp_path: Path
) -> None:
    told = config(
        data, tmp_path / "model", "llava", strategy={"": "lora", "connector": "full"},
        tricks={"epochs": 1},
    )  # fmt: skip
    report = run(told)
    assert not report["adapter"]
    assert (tmp_path / "model/model/model.safetensors").is_file()
    assert not (tmp_path / "model/adapter").exists()
    load_network(find_base(f"local:{tmp_path}/model/model"), "float32", "cpu")


def test_a_connector_learns_whole_or_not_at_all() -> None:
    family = find_base(f"local:{tiny('llava')}").family
    with pytest.raises(UsageError, match="a connector has no layers to choose from"):
        plan({"": "lora", "connector": "lora"}, family)
