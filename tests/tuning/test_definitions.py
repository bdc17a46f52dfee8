"""Strategies against their formulas, computed here from the weights."""

import math

import pytest

from mmcli.core.errors import UsageError
from mmcli.tuning.layers import depths, find_layers
from mmcli.tuning.rates import layer_rates
from mmcli.tuning.selection import thawed
from mmcli.tuning.strategy import StrategyOptions, apply
from tests.tuning.networks import CASES, fresh, learn, torch

BERT = CASES["bert"]
VIT = CASES["vit"]


def _noise(network: object, names: tuple[str, ...]) -> None:
    """Everything that learns gets other values, so that no part of a formula hides."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():  # type: ignore[attr-defined]
            if name in names:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)


def test_lora_adds_alpha_over_rank_b_a() -> None:
    network = fresh(VIT)
    tuned = apply("lora", network, StrategyOptions(rank=2, alpha=6.0))
    _noise(network, tuned.trainable)
    layer = network.blocks[1].mlp.fc1
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape == (2, 16) and b.shape == (64, 2)
    x = torch.randn(5, 16)
    wanted = x @ layer.weight.T + layer.base_layer.bias + (6.0 / 2) * (x @ a.T @ b.T)
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-5)


def test_dora_scales_the_direction_of_each_row() -> None:
    network = fresh(VIT)
    tuned = apply("dora", network, StrategyOptions(rank=2, alpha=6.0))
    _noise(network, tuned.trainable)
    layer = network.blocks[0].attn.qkv
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    direction = layer.base_layer.weight + 3.0 * b @ a
    magnitude = layer.lora_magnitude_vector["default"].weight
    rows = direction / direction.norm(dim=1, keepdim=True) * magnitude[:, None]
    x = torch.randn(5, 16)
    torch.testing.assert_close(layer(x), x @ rows.T + layer.base_layer.bias, rtol=0, atol=1e-5)


def test_ia3_scales_keys_values_and_the_inside_of_the_feed_forward_block() -> None:
    network = fresh(BERT)
    tuned = apply("ia3", network)
    _noise(network, tuned.trainable)
    layer = network.encoder.layer[2]
    x, h = torch.randn(4, 16), torch.randn(4, 24)
    for part in (layer.attention.self.key, layer.attention.self.value):
        scale = part.ia3_l["default"].flatten()
        torch.testing.assert_close(part(x), scale * part.base_layer(x), rtol=0, atol=1e-5)
    out = layer.output.dense
    scale = out.ia3_l["default"].flatten()
    torch.testing.assert_close(out(h), out.base_layer(scale * h), rtol=0, atol=1e-5)
    assert not hasattr(layer.attention.self.query, "ia3_l")
    assert tuned.counts[0] == 3 * (16 + 16 + 24)


def test_adapters_stand_behind_each_sub_layer_before_the_residual() -> None:
    network = fresh(VIT)
    tuned = apply("adapters", network, StrategyOptions(bottleneck=3))
    _noise(network, tuned.trainable)
    block = network.blocks[0]
    x = torch.randn(2, 5, 16)

    def adapted(adapter: object, h: torch.Tensor) -> torch.Tensor:
        inner = h @ adapter.down.weight.T + adapter.down.bias  # type: ignore[attr-defined]
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        return h + inner @ adapter.up.weight.T + adapter.up.bias  # type: ignore[attr-defined]

    base = fresh(VIT).blocks[0]
    attended = x + adapted(block.attn.proj.adapter, base.attn(base.norm1(x)))
    wanted = attended + adapted(block.mlp.fc2.adapter, base.mlp(base.norm2(attended)))
    torch.testing.assert_close(block(x), wanted, rtol=0, atol=1e-5)
    assert tuned.counts[0] == 3 * 2 * (16 * 3 + 3 + 3 * 16 + 16)


def test_adapters_of_a_convolutional_network_stand_behind_each_block() -> None:
    network = fresh(CASES["efficientnet"])
    tuned = apply("adapters", network, StrategyOptions(bottleneck=3))
    _noise(network, tuned.trainable)
    block, base = network.blocks[1][0], fresh(CASES["efficientnet"]).blocks[1][0]
    x = torch.randn(2, block.conv_pw.in_channels, 8, 8)
    h = base(x)
    down, up = block.adapter.down, block.adapter.up
    inner = torch.einsum("bchw,mc->bmhw", h, down.weight[:, :, 0, 0]) + down.bias[:, None, None]
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    outer = torch.einsum("bmhw,cm->bchw", inner, up.weight[:, :, 0, 0]) + up.bias[:, None, None]
    torch.testing.assert_close(block(x), h + outer, rtol=0, atol=1e-4)


def test_prompts_are_tokens_more_in_each_layer() -> None:
    network = fresh(VIT)
    apply("prompts", network, StrategyOptions(prompts=4))
    base = fresh(VIT)
    x = torch.randn(2, 5, 16)
    for block, plain in zip(network.blocks, base.blocks, strict=True):
        with_them = plain(torch.cat([x, block.prompts.expand(2, -1, -1)], dim=1))
        torch.testing.assert_close(block(x), with_them[:, :5], rtol=0, atol=1e-6)


def test_bitfit_trains_the_biases() -> None:
    network = fresh(BERT)
    tuned = apply("bitfit", network)
    assert set(tuned.trainable) == {n for n, _ in network.named_parameters() if n.endswith("bias")}


def test_last_n_trains_the_last_layers_and_what_follows() -> None:
    names = apply("last-n", fresh(VIT), StrategyOptions(last_n=1)).trainable
    assert {n.split(".")[0] for n in names} == {"blocks", "norm"}
    assert {n.split(".")[1] for n in names if n.startswith("blocks")} == {"2"}
    names = apply("last-n", fresh(VIT), StrategyOptions(last_n=9)).trainable
    assert {n.split(".")[1] for n in names if n.startswith("blocks")} == {"0", "1", "2"}
    assert "pos_embed" not in names


@pytest.mark.parametrize(
    ("epochs", "wanted"), [(6, [1, 2, 3, 4, 4, 4]), (4, [1, 2, 3, 4]), (2, [2, 4]), (1, [4])]
)
def test_how_many_groups_have_thawed(epochs: int, wanted: list[int]) -> None:
    assert [thawed(epoch, epochs, 4) for epoch in range(epochs)] == wanted


def test_gradual_thaws_from_the_top() -> None:
    network = fresh(BERT)
    tuned = apply("gradual", network)
    tuned.keep_used(BERT.run(network))
    depth = depths(network)
    everything = set(tuned.trainable)
    for epoch, lowest in enumerate((3, 2, 1, 0, 0)):
        before = {n: p.detach().clone() for n, p in network.named_parameters()}
        tuned.at_epoch(epoch, 5)
        learn(network, BERT.run)
        changed = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
        assert changed == {n for n in everything if depth[n] >= lowest}


def test_at_epoch_is_nothing_to_other_strategies() -> None:
    network = fresh(BERT)
    tuned = apply("lora", network)
    tuned.at_epoch(0, 3)
    assert {n for n, p in network.named_parameters() if p.requires_grad} == set(tuned.trainable)


def test_what_nothing_reads_is_claimed_no_more() -> None:
    network = fresh(BERT)
    tuned = apply("full", network)
    tuned.keep_used(BERT.run(network))
    idle = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert idle == {"pooler.dense.weight", "pooler.dense.bias"}
    assert idle.isdisjoint(tuned.trainable) and idle.isdisjoint(tuned.state())


@pytest.mark.parametrize("name", list(CASES))
def test_layers_and_depths(name: str) -> None:
    case = CASES[name]
    network = fresh(case)
    assert len(find_layers(network)) == case.depth
    depth = depths(network)
    assert depth.keys() == {n for n, _ in network.named_parameters()}
    after = {case.depth + 1} if name != "resnet" else set()
    assert set(depth.values()) == {*range(case.depth + 1), *after}
    apply("lora", network)
    assert len(find_layers(network)) == case.depth


def test_rates_fall_layer_by_layer() -> None:
    network = fresh(BERT)
    rates = layer_rates(network, 0.5)
    assert rates["pooler.dense.weight"] == 1.0
    assert rates["encoder.layer.2.output.dense.bias"] == 0.5
    assert rates["encoder.layer.1.attention.self.query.weight"] == 0.25
    assert rates["encoder.layer.0.output.LayerNorm.weight"] == 0.125
    assert rates["embeddings.word_embeddings.weight"] == 0.0625
    apply("lora", network)
    rates = layer_rates(network, 0.5)
    assert rates["encoder.layer.1.output.dense.lora_A.default.weight"] == 0.25
    assert set(layer_rates(network, 1.0).values()) == {1.0}
    for decay in (0.0, 1.5):
        with pytest.raises(UsageError, match="--layer-decay"):
            layer_rates(network, decay)


def test_stages_of_a_residual_network() -> None:
    import timm

    with torch.device("meta"):
        network = timm.create_model("resnet18", num_classes=3)
    assert [layer.name for layer in find_layers(network)] == [f"layer{k}" for k in (1, 2, 3, 4)]
    rates = layer_rates(network, 0.1)
    assert rates["fc.weight"] == 1.0
    assert rates["conv1.weight"] == pytest.approx(1e-5)
