"""The networks that attend: attention by the formula, and what every network must hold to."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.early import tokens
from mmcli.fusion.early.tokens import Tokens
from mmcli.fusion.hybrid import attention, bottleneck, cross_modal, multi_level
from mmcli.fusion.hybrid.attention import ModalityAttention
from mmcli.fusion.hybrid.bottleneck import Bottleneck
from mmcli.fusion.hybrid.cross_modal import CrossModal
from mmcli.fusion.hybrid.multi_level import MultiLevel
from mmcli.fusion.layers import Attention, Block, fitting_heads, positions

NETWORKS = (Tokens, ModalityAttention, Bottleneck, CrossModal, MultiLevel)
EXAMPLES = (tokens, attention, bottleneck, cross_modal, multi_level)
Network = Callable[[Blueprint], nn.Module]
each_network = pytest.mark.parametrize("network", NETWORKS)

#: Three modalities, the middle one a sequence, the last of two levels.
MIXED = Blueprint(
    {"image": (5,), "speech": (3,), "text": (2, 4)},
    n_outputs=2,
    width=6,
    heads=4,
    sequences=frozenset(["speech"]),
)


def batch_of(rows: int, length: int = 4, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    made = torch.Generator().manual_seed(seed)
    x = {
        "image": torch.randn(rows, 5, generator=made),
        "speech": torch.randn(rows, length, 3, generator=made),
        "text": torch.randn(rows, 6, generator=made),
    }
    lengths = torch.arange(rows) % length + 1
    return x, torch.arange(length)[None] < lengths[:, None]


def built(network: Network, blueprint: Blueprint = MIXED, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return network(blueprint).eval()


# -- attention by the formula --------------------------------------------------------------------


def test_attention_agrees_with_torch() -> None:
    torch.manual_seed(0)
    layer = Attention(8, 2).double()
    queries, keys = torch.randn(3, 4, 8).double(), torch.randn(3, 5, 8).double()
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 1]]).bool()

    def heads(states: Tensor) -> Tensor:
        return states.reshape(3, -1, 2, 4).transpose(1, 2)

    mixed = functional.scaled_dot_product_attention(
        heads(layer.query(queries)),
        heads(layer.key(keys)),
        heads(layer.value(keys)),
        attn_mask=real[:, None, None, :],
    )
    wanted = layer.output(mixed.transpose(1, 2).reshape(3, 4, 8))
    torch.testing.assert_close(layer(queries, keys, real), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("crossed", [False, True])
def test_a_block_is_attention_then_perceptron_each_added(crossed: bool) -> None:
    torch.manual_seed(0)
    block = Block(4, 1, dropout=0.5).double().eval()
    nn.init.normal_(block.before.weight)
    nn.init.normal_(block.after.bias)
    x, other = torch.randn(2, 3, 4).double(), torch.randn(2, 5, 4).double()
    source = other if crossed else x
    real = torch.ones(source.shape[:2], dtype=torch.bool)

    def norm(states: Tensor, layer: nn.LayerNorm) -> Tensor:
        centred = states - states.mean(-1, keepdim=True)
        spread = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / spread * layer.weight + layer.bias

    def linear(layer: nn.Linear, states: Tensor) -> Tensor:
        return states @ layer.weight.T + layer.bias

    part = block.attention
    normed = norm(source, block.before)
    scores = linear(part.query, norm(x, block.before)) @ linear(part.key, normed).mT / 2.0
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    h = x + linear(part.output, weights @ linear(part.value, normed))
    inner = linear(block.widen, norm(h, block.after))
    gelu = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    wanted = h + linear(block.narrow, gelu)
    found = block(x, real, other if crossed else None)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


def test_positions_are_sinusoids() -> None:
    found = positions(3, 5)
    rates = [1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3)]
    for place in range(3):
        wanted = [*(math.sin(place * r) for r in rates), *(math.cos(place * r) for r in rates)]
        torch.testing.assert_close(found[place], torch.tensor(wanted[:5]))


def test_heads_divide_the_width() -> None:
    found = [fitting_heads(*case) for case in ((128, 4), (6, 4), (7, 4), (5, 8), (4, 0))]
    assert found == [4, 3, 1, 5, 1]


def test_worked_examples_say_what_a_hand_computes() -> None:
    """gelu(sqrt 1.5), gelu(sqrt 0.5), gelu(sqrt 2); the others from the lines they print."""

    def gelu(number: float) -> str:
        return f"{number * (1 + math.erf(number / math.sqrt(2))) / 2:.3f}"

    lines = ["\n".join(module.example()) for module in EXAMPLES]
    assert "fused = norm(h_c) = [1.225, -1.225, 0.000],  y = gelu(fused_1) = 1.090" in lines[0]
    assert gelu(math.sqrt(1.5)) == "1.090"
    assert f"[0.707, 0.707, -1.414],  y = gelu(fused_1) = {gelu(math.sqrt(0.5))}" in lines[1]
    assert f"[1.414, -0.707, -0.707],  y = gelu(fused_1) = {gelu(math.sqrt(2))}" in lines[1]
    mean = (float(gelu(1.3728)) + float(gelu(-0.3923))) / 2
    assert f"1.373, -0.392) = {mean:.3f}" in lines[2]
    assert lines[2].endswith(f"y = {gelu(math.sqrt(2))}")
    assert f"y = gelu(z_1's second number) = {gelu(0.3288)}" in lines[3]
    assert lines[3].endswith(f"y = {gelu(-math.sqrt(0.5))}")
    assert f"[0.079, 1.183, -1.262]) = {gelu(1.1833)}" in lines[4]
    assert lines[4].endswith(f"y = {gelu(-0.5467)}")
    assert all(3 <= len(module.example()) <= 6 for module in EXAMPLES)


# -- what every network must hold to -------------------------------------------------------------


@each_network
def test_gradients_are_those_of_the_function(network: Network) -> None:
    dims = {"image": (2,), "speech": (2,)}
    blueprint = Blueprint(
        dims, 1, width=4, heads=2, layers=1, dropout=0.0, sequences=frozenset(["speech"])
    )
    model = built(network, blueprint).double()
    present = torch.tensor([[True, True], [True, False], [False, True]])
    valid = {"speech": torch.tensor([[True, True], [True, True], [True, False]])}
    names = list(dict(model.named_parameters()))
    weights = [p.detach().requires_grad_() for p in model.parameters()]
    torch.manual_seed(1)
    image = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    speech = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)

    def run(image: Tensor, speech: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        x = {"image": image, "speech": speech}
        found = functional_call(model, dict(zip(names, weights, strict=True)), (x, present, valid))
        return found.vector, found.output

    assert torch.autograd.gradcheck(run, (image, speech, *weights), fast_mode=True)
    assert torch.autograd.gradcheck(lambda a, b: run(a, b, *weights)[1], (image, speech))


@each_network
@pytest.mark.parametrize("seed", range(2))
def test_what_is_absent_says_nothing_even_if_it_is_nan(network: Network, seed: int) -> None:
    model = built(network, seed=seed)
    x, real = batch_of(8)
    present = (torch.arange(8)[:, None] >> torch.arange(3)) % 2 == 1  # every pattern, nothing too
    valid = {"speech": real}
    wanted = model(x, present, valid)
    noisy = {m: values.clone() for m, values in x.items()}
    for i, name in enumerate(MIXED.modalities):
        noisy[name][~present[:, i]] = torch.nan
    noisy["speech"][~real] = torch.nan  # padding as well
    found = model(noisy, present, valid)
    assert torch.equal(found.vector, wanted.vector)
    assert torch.equal(found.output, wanted.output)
    assert found.output.isfinite().all()
    assert len({tuple(row) for row in wanted.output.tolist()}) == 8
    found.output.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    nothing = model(noisy, torch.zeros_like(present), valid).output
    torch.testing.assert_close(nothing, nothing[:1].expand_as(nothing), rtol=0, atol=1e-6)


@each_network
def test_every_modality_that_is_there_is_heard(network: Network) -> None:
    model = built(network)
    x, real = batch_of(4)
    present = torch.ones(4, 3, dtype=torch.bool)
    wanted = model(x, present, {"speech": real}).output
    for name in MIXED.modalities:
        moved = {**x, name: x[name] + torch.arange(x[name].shape[-1])}
        changed = model(moved, present, {"speech": real}).output
        assert ((changed - wanted).abs().amax(1) > 1e-4).all(), name


@each_network
def test_neither_padding_nor_company_matters(network: Network) -> None:
    model = built(network)
    x, real = batch_of(7)
    present = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 1, 0], [0, 1, 0], [1, 0, 1], [1, 0, 0]] * 2)
    present = present[:7].bool()
    wanted = model(x, present, {"speech": real})
    longer = functional.pad(x["speech"], (0, 0, 0, 3), value=9.0)
    found = model({**x, "speech": longer}, present, {"speech": functional.pad(real, (0, 3))})
    torch.testing.assert_close(found.vector, wanted.vector, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.output, wanted.output, rtol=0, atol=1e-6)
    for row in range(7):
        one = slice(row, row + 1)
        short = int(real[row].sum())
        alone = {"image": x["image"][one], "text": x["text"][one]}
        alone["speech"] = x["speech"][one, :short]
        own = model(alone, present[one]).output
        torch.testing.assert_close(own, wanted.output[one], rtol=0, atol=1e-6)


@each_network
def test_a_part_without_a_real_token_is_finite(network: Network) -> None:
    x, real = batch_of(2)
    none = {"speech": torch.zeros_like(real)}
    found = built(network)(x, torch.tensor([[True, True, True], [False, True, False]]), none)
    assert found.output.isfinite().all()


@each_network
@pytest.mark.parametrize("pooled", [False, True])
def test_stacked_copies_are_each_alone(network: Network, pooled: bool) -> None:
    blueprint = Blueprint(MIXED.key_dims, 2, width=6, heads=4) if pooled else MIXED
    models = [built(network, blueprint, seed) for seed in range(3)]
    x, real = batch_of(5)
    if pooled:
        x["speech"] = x["speech"][:, 0]
    present = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]]).bool()
    valid = None if pooled else {"speech": real}
    weights, buffers = stack_module_state(models)

    def run(weights: dict[str, Tensor], x: dict[str, Tensor], present: Tensor) -> Fused:
        return functional_call(models[0], (weights, buffers), (x, present, valid))

    found = vmap(run, in_dims=(0, None, None), randomness="different")(weights, x, present)
    for i, model in enumerate(models):
        alone = model(x, present, valid)
        torch.testing.assert_close(found.vector[i], alone.vector, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.output[i], alone.output, rtol=1e-5, atol=1e-5)


@each_network
def test_stacked_copies_train_in_bfloat16(network: Network) -> None:
    models = [built(network, seed=seed).train() for seed in range(2)]
    x, real = batch_of(5)
    present = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]]).bool()
    weights, _ = stack_module_state(models)
    weights = {name: value.detach().requires_grad_() for name, value in weights.items()}

    def run(weights: dict[str, Tensor], x: dict[str, Tensor], present: Tensor) -> Fused:
        return functional_call(models[0], weights, (x, present, {"speech": real}))

    with torch.autocast("cpu", torch.bfloat16):
        found = vmap(run, in_dims=(0, None, None), randomness="different")(weights, x, present)
    found.output.float().square().sum().backward()
    assert all(value.grad.isfinite().all() for value in weights.values())
    exact = models[0].eval()(x, present, {"speech": real}).output
    with torch.autocast("cpu", torch.bfloat16):
        rough = models[0](x, present, {"speech": real}).output
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)


@each_network
@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_any_number_of_modalities(network: Network, count: int) -> None:
    dims = {f"m.{i}": (i + 1,) for i in range(count)}
    model = built(network, Blueprint(dims, 3, width=7, layers=1))
    x = {name: torch.randn(4, dim) for name, (dim,) in dims.items()}
    found = model(x, torch.ones(4, count, dtype=torch.bool))
    assert found.vector.shape == (4, 7)
    assert found.output.shape == (4, 3)
    assert found.penalty.shape == () and found.penalty.item() == 0


# -- learning ------------------------------------------------------------------------------------


def xor_rows(rows: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Two vectors of width 8, each a random sign along a direction; the target is their product."""
    made = torch.Generator().manual_seed(seed)
    ways = torch.randn(2, 8, generator=torch.Generator().manual_seed(99))
    ways = ways / ways.norm(dim=1, keepdim=True) * 8**0.5
    signs = torch.randint(0, 2, (rows, 2), generator=made) * 2.0 - 1
    noise = torch.randn(2, rows, 8, generator=made) * 0.3
    x = {m: signs[:, i : i + 1] * ways[i] + noise[i] for i, m in enumerate(("image", "text"))}
    return x, (signs.prod(1) > 0).float()


def xor_accuracy(network: Network, **more: object) -> float:
    blueprint = Blueprint({"image": (8,), "text": (8,)}, 1, width=16, dropout=0.1, **more)
    model = built(network, blueprint).train()
    x, target = xor_rows(1000, seed=1)
    present = torch.ones(1000, 2, dtype=torch.bool)
    count, lr = (100, 5e-3) if network is Bottleneck else (40, 1e-2)  # it takes longest to begin
    steps = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(count):
        rows = torch.arange(step * 50, (step + 1) * 50) % 1000
        output = model({m: values[rows] for m, values in x.items()}, present[rows]).output
        loss = functional.binary_cross_entropy_with_logits(output.squeeze(1), target[rows])
        steps.zero_grad()
        loss.backward()
        steps.step()
    fresh, wanted = xor_rows(1000, seed=2)
    output = model.eval()(fresh, present).output.squeeze(1)
    return ((output > 0) == (wanted > 0.5)).float().mean().item()


@each_network
def test_it_learns_what_only_both_together_say(network: Network) -> None:
    """The best possible is 1; whoever hears one modality only is at chance, 0.5."""
    assert xor_accuracy(network) >= 0.97


def test_what_both_say_passes_through_the_bottleneck() -> None:
    """Without its tokens nobody hears the other; one of them, and one layer asked for, are enough.

    At the least there are two layers, as what one puts in the next reads.
    """
    assert xor_accuracy(Bottleneck, options={"bottlenecks": 0}) <= 0.6
    assert xor_accuracy(Bottleneck, layers=1, options={"bottlenecks": 1}) >= 0.97


def test_levels_are_read_one_by_one() -> None:
    """Of three levels the last is read by the third step alone, and reaches no other modality."""
    blueprint = Blueprint({"image": (2, 3, 4), "text": (5,)}, 1, width=4)
    model = built(MultiLevel, blueprint)
    assert model.depth == 3
    assert [[f.in_features for f in level] for level in model.inputs] == [[2, 5], [3, 5], [4, 5]]
    heard: list[Tensor] = []
    for modality in (0, 1):
        model.norms[3][modality].register_forward_hook(lambda *call: heard.append(call[2]))
    x = {"image": torch.randn(1, 9), "text": torch.randn(1, 5)}
    present = torch.ones(1, 2, dtype=torch.bool)
    model(x, present)
    for place, reaches in ((0, True), (3, True), (8, False)):
        moved = x["image"].clone()
        moved[0, place] += 1
        model({**x, "image": moved}, present)
        assert not torch.equal(heard[-2], heard[0])
        assert torch.equal(heard[-1], heard[1]) != reaches
