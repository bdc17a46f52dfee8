"""Hybrid fusions of pooled vectors: each against its formula, written again row by row in numpy."""

from collections.abc import Callable, Sequence
from itertools import combinations, product
from math import erf, prod
from typing import Any

import numpy as np
import pytest
import torch

from mmcli.core.errors import UsageError
from mmcli.fusion.blueprint import Blueprint, Fused
from mmcli.fusion.hybrid import bilinear, combiner, gated, low_rank, misa, tensor
from mmcli.fusion.hybrid.combiner import GatedSum, TabularAttention, WeightedSum, main_of

Weights = dict[str, np.ndarray]
Parts = Sequence[np.ndarray | None]

TWO: dict[str, tuple[int, ...]] = {"image": (3,), "text": (2, 2)}
THREE = {**TWO, "tabular": (1,)}
BETA = 0.7


def blueprint(dims: dict[str, tuple[int, ...]], **options: Any) -> Blueprint:
    given = {"width": 4, "heads": 2, "rank": 3, "dropout": 0.0, "options": {"beta": BETA}}
    return Blueprint(dims, n_outputs=2, tabular="tabular", **{**given, **options})


def made(method: type, dims: dict[str, tuple[int, ...]], seed: int = 0, **options: Any) -> Any:
    """In double, every weight moved from where it starts, so that none is a plain 0 or 1."""
    torch.manual_seed(seed)
    model = method(blueprint(dims, **options)).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def batch(dims: dict[str, tuple[int, ...]], seed: int = 1) -> tuple[dict[str, Any], Any]:
    """Every combination of parts twice, nothing at all among them; absent parts hold NaN."""
    torch.manual_seed(seed)
    present = torch.tensor([*product([True, False], repeat=len(dims))] * 2)
    x = {m: torch.randn(len(present), sum(d), dtype=torch.float64) for m, d in dims.items()}
    for i, values in enumerate(x.values()):
        values[~present[:, i]] = torch.nan
    return x, present


# -- the formulas ------------------------------------------------------------------------------


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def linear(w: Weights, name: str, x: Any) -> Any:
    return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0.0)


def gelu(x: Any) -> Any:
    return np.array([v * (1 + erf(v / 2**0.5)) / 2 for v in x])


def norm(w: Weights, name: str, x: Any) -> Any:
    centred = x - x.mean()
    scaled = centred / np.sqrt((centred**2).mean() + 1e-5)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def gated_(w: Weights, x: Parts, dims: list[int]) -> Any:
    everything = np.concatenate([np.zeros(d) if v is None else v for v, d in zip(x, dims)])
    found = np.zeros(4)
    for m, v in enumerate(x):
        if v is not None:
            opened = sigmoid(linear(w, f"gates.{m}", everything))
            found += opened * np.tanh(linear(w, f"states.maps.{m}", v))
    return found


def with_ones(w: Weights, x: Parts) -> list[Any]:
    width = len(w["states.maps.0.bias"])
    found = [np.zeros(width) if v is None else linear(w, f"states.maps.{m}", v).clip(min=0)
             for m, v in enumerate(x)]  # fmt: skip
    return [[*v, 1.0] for v in found]


def tensor_(w: Weights, x: Parts, dims: list[int]) -> Any:
    return np.array([prod(chosen) for chosen in product(*with_ones(w, x))])


def low_rank_(w: Weights, x: Parts, dims: list[int]) -> Any:
    found = w["bias"].copy()
    for r, weight in enumerate(w["rank_weights"]):
        for unit in range(len(found)):
            met = [w["factors"][m, r, unit] @ v for m, v in enumerate(with_ones(w, x))]
            found[unit] += weight * prod(met)
    return found


def bilinear_(w: Weights, x: Parts, dims: list[int]) -> Any:
    found = [np.tanh(linear(w, f"states.maps.{m}", v)) for m, v in enumerate(x) if v is not None]
    met = [a * b for a, b in combinations(found, 2)] or found or [np.zeros(4)]
    return linear(w, "mixing", np.mean(met, axis=0))


def sides(w: Weights, x: Parts) -> tuple[Any, list[tuple[Any, Any]]]:
    """The main projection (text stands second), and the others', None where absent."""
    found = [None if v is None else linear(w, f"sides.states.maps.{m}", v)
             for m, v in enumerate(x)]  # fmt: skip
    return found[1], [(found[m], x[m]) for m in range(len(x)) if m != 1]


def gated_sum_(w: Weights, x: Parts, dims: list[int]) -> Any:
    main, others = sides(w, x)
    g = np.zeros(4) if main is None else main
    shift = np.zeros(4)
    for m, (y, v) in enumerate(others):
        if y is not None:
            shift += linear(w, f"gates.{m}", np.concatenate([g, v])).clip(min=0) * y
    size = np.sqrt((shift**2).sum())
    if main is None or size == 0:
        return g + shift
    return g + min(1.0, BETA * np.sqrt((g**2).sum()) / size) * shift


def weighted_sum_(w: Weights, x: Parts, dims: list[int]) -> Any:
    main, others = sides(w, x)
    found = np.zeros(4) if main is None else main
    for m, (y, _) in enumerate(others):
        found = found if y is None else found + w[f"weights.{m}"] * y
    return found


def tabular_attention_(w: Weights, x: Parts, dims: list[int]) -> Any:
    main, others = sides(w, x)
    g = np.zeros(4) if main is None else main
    states = [y for y in (main, *(y for y, _ in others)) if y is not None]
    scores = [(w["score.weight"][0] @ np.concatenate([g, y])) for y in states]
    weights = np.exp([s if s > 0 else 0.2 * s for s in scores])
    return sum((a * y for a, y in zip(weights / weights.sum(), states)), np.zeros(4))


def misa_states(w: Weights, x: Parts) -> dict[int, tuple[Any, Any, Any]]:
    """Input, shared and private state of each modality there is."""
    found = {}
    for m, v in enumerate(x):
        if v is not None:
            u = norm(w, f"norms.{m}", linear(w, f"states.maps.{m}", v))
            found[m] = u, sigmoid(linear(w, "shared", u)), sigmoid(linear(w, f"private.{m}", u))
    return found


def misa_(w: Weights, x: Parts, dims: list[int]) -> Any:
    states, many, heads = misa_states(w, x), len(x), 2
    tokens = {m: c for m, (_, c, _) in states.items()}
    tokens |= {many + m: p for m, (_, _, p) in states.items()}
    found = [np.zeros(4)] * (2 * many)
    normed = {i: norm(w, "block.before", t) for i, t in tokens.items()}
    for i, token in tokens.items():
        mixed = []
        for part in np.split(np.arange(4), heads):
            q, k, v = (
                {j: linear(w, f"block.attention.{name}", t)[part] for j, t in normed.items()}
                for name in ("query", "key", "value")
            )
            scores = np.exp([q[i] @ k[j] / len(part) ** 0.5 for j in tokens])
            mixed.append(sum(s * v[j] for s, j in zip(scores / scores.sum(), tokens)))
        token = token + linear(w, "block.attention.output", np.concatenate(mixed))
        inner = gelu(linear(w, "block.widen", norm(w, "block.after", token)))
        found[i] = token + linear(w, "block.narrow", inner)
    return np.concatenate(found)


def misa_penalty(w: Weights, rows: list[Parts]) -> float:
    states = [misa_states(w, x) for x in rows]

    def chosen(*wanted: tuple[int, int]) -> list[Any]:
        there = [s for s in states if all(m in s for m, _ in wanted)]
        return [np.array([s[m][which] for s in there]) for m, which in wanted]

    def discrepancy(a: Any, b: Any) -> float:
        first, second = a - a.mean(0), b - b.mean(0)
        gaps = [(first**k).mean(0) - (second**k).mean(0) for k in range(2, 6)]
        return sum(np.linalg.norm(gap) for gap in (a.mean(0) - b.mean(0), *gaps))

    def correlation(a: Any, b: Any) -> float:
        a, b = a - a.mean(0), b - b.mean(0)
        a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
        return (sum(np.outer(u, v) for u, v in zip(a, b)) ** 2).sum() / len(a) ** 2

    many = len(rows[0])
    pairs = list(combinations(range(many), 2))
    alike = np.mean([discrepancy(*chosen((i, 1), (j, 1))) for i, j in pairs])
    apart = sum(correlation(*chosen((m, 1), (m, 2))) for m in range(many))
    apart += sum(correlation(*chosen((i, 2), (j, 2))) for i, j in pairs)
    errors = []
    for m in range(many):
        u, c, p = chosen((m, 0), (m, 1), (m, 2))
        decoded = np.array([linear(w, "decoder", v) for v in c + p])
        errors.append(((decoded - u) ** 2).mean())
    return 1.0 * alike + BETA * apart + 1.0 * np.mean(errors)


FORMULAS: dict[type, Callable[[Weights, Parts, list[int]], Any]] = {
    gated.Gated: gated_,
    tensor.TensorFusion: tensor_,
    low_rank.LowRank: low_rank_,
    bilinear.Bilinear: bilinear_,
    GatedSum: gated_sum_,
    WeightedSum: weighted_sum_,
    TabularAttention: tabular_attention_,
    misa.Misa: misa_,
}
every = pytest.mark.parametrize("method", FORMULAS, ids=lambda m: m.__name__)


# -- the tests -----------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("dims", [TWO, THREE], ids=["two", "three"])
def test_it_is_the_formula(method: type, dims: dict[str, tuple[int, ...]]) -> None:
    model, (x, present) = made(method, dims), batch(dims)
    found = model(x, present)
    w = {name: values.detach().numpy() for name, values in model.named_parameters()}
    rows: list[Parts] = [
        [x[m][i].numpy() if present[i, j] else None for j, m in enumerate(dims)]
        for i in range(len(present))
    ]
    vectors = [FORMULAS[method](w, row, [sum(d) for d in dims.values()]) for row in rows]
    outputs = [linear(w, "head.output", gelu(linear(w, "head.hidden", v))) for v in vectors]
    np.testing.assert_allclose(found.vector.detach(), vectors, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.output.detach(), outputs, rtol=0, atol=1e-9)
    expected = misa_penalty(w, rows) if method is misa.Misa else 0.0
    assert found.penalty.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("lines", "numbers"),
    [
        (gated.example, ["= -0.3422", "= 0.3808"]),
        (tensor.example, ["= [6, 2, 3, 1]", "= [0, 2, 0, 1]"]),
        (low_rank.example, ["= 0.75", "= 2.25"]),
        (bilinear.example, ["= 0.0789", "= -0.2519", "= 0.8616"]),
        (combiner.example_gated_sum, ["= [5.5, 4]", "[3, 4]"]),
        (combiner.example_weighted_sum, ["= [4, 1]", "[3, 4]"]),
        (combiner.example_tabular_attention, ["= [4.5, 1]", "[3, 4]"]),
        (misa.example, ["= 0.9975", "= 0.4250"]),
    ],
)
def test_the_worked_examples(lines: Callable[[], list[str]], numbers: list[str]) -> None:
    said = lines()
    assert 3 <= len(said) <= 6 and max(map(len, said)) <= 100
    for line, number in zip(said[-len(numbers) :], numbers, strict=True):
        assert line.split(":")[1].strip().endswith(number), line


@every
def test_gradients_are_those_of_finite_differences(method: type) -> None:
    model, (x, present) = made(method, THREE), batch(THREE)
    names = [name for name, _ in model.named_parameters()]

    def run(*given: Any) -> Any:
        inputs = dict(zip(x, given[len(names) :], strict=True))
        weights = dict(zip(names, given, strict=False))
        found = torch.func.functional_call(model, weights, (inputs, present))
        return found.vector, found.output, found.penalty

    weights = [w.detach().clone().requires_grad_() for w in model.parameters()]
    inputs = [values.nan_to_num(0.5).requires_grad_() for values in x.values()]
    assert torch.autograd.gradcheck(run, (*weights, *inputs), fast_mode=True)


@every
def test_what_is_absent_changes_nothing(method: type) -> None:
    model, (x, present) = made(method, THREE), batch(THREE)
    x = {m: values.requires_grad_() for m, values in x.items()}
    found: Fused = model(x, present)
    other = model({m: values.detach().nan_to_num(7.0) for m, values in x.items()}, present)
    for one, two in zip(found, other, strict=True):
        assert torch.equal(one, two) and one.isfinite().all()
    (found.output.sum() + found.penalty + found.vector.sum()).backward()
    for i, values in enumerate(x.values()):
        assert values.grad is not None and values.grad.isfinite().all()
        assert not values.grad[~present[:, i]].any()
    assert all(w.grad.isfinite().all() for w in model.parameters() if w.grad is not None)
    nothing = model(x, torch.zeros_like(present))
    assert all(part.isfinite().all() for part in nothing)
    alone = model({m: values[3:4] for m, values in x.items()}, present[3:4])
    torch.testing.assert_close(alone.output, found.output[3:4], rtol=0, atol=1e-12)


@every
def test_copies_run_together_as_they_run_alone(method: type) -> None:
    x, present = batch(THREE)
    models = [made(method, THREE, seed) for seed in range(3)]
    weights, buffers = torch.func.stack_module_state(models)

    def loss(weights: Any, buffers: Any, x: Any, present: Any) -> Any:
        found = torch.func.functional_call(models[0], (weights, buffers), (x, present))
        return found.output.pow(2).sum() + found.penalty, found

    run = torch.func.vmap(
        torch.func.grad(loss, has_aux=True), in_dims=(0, 0, None, None), randomness="different"
    )
    slopes, together = run(weights, buffers, x, present)
    for i, model in enumerate(models):
        alone = model(x, present)
        for one, many in zip(alone, together, strict=True):
            torch.testing.assert_close(many[i], one, rtol=0, atol=1e-10)
        (alone.output.pow(2).sum() + alone.penalty).backward()
        for name, weight in model.named_parameters():
            torch.testing.assert_close(slopes[name][i], weight.grad, rtol=1e-9, atol=1e-9)


@every
def test_copies_train_together_in_bfloat16(method: type) -> None:
    x, present = batch(THREE)
    x = {m: values.float() for m, values in x.items()}
    models = [made(method, THREE, seed, dropout=0.3).float().train() for seed in range(3)]
    weights, buffers = torch.func.stack_module_state(models)

    def loss(weights: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            found = torch.func.functional_call(models[0], (weights, {}), (x, present))
        return found.output.float().pow(2).sum() + found.penalty.float()

    slopes = torch.func.vmap(torch.func.grad(loss), randomness="different")(weights)
    assert not buffers and all(slope.isfinite().all() for slope in slopes.values())
    assert all(slope.any() for name, slope in slopes.items() if "key.bias" not in name)


@every
def test_tokens_stand_for_their_mean(method: type) -> None:
    x, present = batch(THREE)
    model = made(method, THREE, sequences=frozenset({"text"}))
    real = torch.tensor([[True, True, False], [True, True, True]] * 8)
    tokens = torch.where(real[..., None], torch.randn(16, 3, 4, dtype=torch.float64), torch.nan)
    tokens[~present[:, 1]] = torch.nan
    found = model({**x, "text": tokens}, present, {"text": real})
    means = model({**x, "text": tokens.nanmean(1)}, present)
    torch.testing.assert_close(found.output, means.output, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.penalty, means.penalty, rtol=0, atol=1e-12)


@every
@pytest.mark.parametrize("many", [1, 4])
def test_any_number_of_modalities_also_in_bfloat16(method: type, many: int) -> None:
    dims = dict([("tabular", (1,)), ("speech", (5,)), ("image", (3,)), ("video", (1, 1))][:many])
    model, (x, present) = made(method, dims).float(), batch(dims)
    x = {m: values.float() for m, values in x.items()}
    exact = model(x, present)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x, present)
    assert exact.output.shape == (len(present), 2) and exact.penalty.shape == ()
    for one, two in zip(exact, rough, strict=True):
        torch.testing.assert_close(two.float(), one, rtol=0.05, atol=0.2)


def test_the_tensor_stays_within_its_bound() -> None:
    found = [tensor.inner_width(many, 10**6) for many in range(1, 13)]
    assert found == [8191, 89, 19, 8, 5, 3, 2, 2, 1, 1, 1, 1]
    assert tensor.inner_width(2, 32) == 32
    with pytest.raises(UsageError, match="at most 12"):
        tensor.inner_width(13, 8)


def test_the_main_modality() -> None:
    assert main_of(blueprint(THREE)) == "text"
    assert main_of(blueprint({"tabular": (2,), "image": (3,), "speech": (3,)})) == "image"
    assert main_of(blueprint({"tabular": (2,)})) == "tabular"


@every
def test_it_learns_exclusive_or(method: type) -> None:
    """The label is whether two signs differ: neither modality alone says anything about it."""
    torch.manual_seed(0)
    ways = torch.randn(2, 8)
    signs = torch.randint(0, 2, (2000, 2))
    noise = 0.1 * torch.randn(2, 2000, 8)
    image, text = ((2 * signs[:, m, None] - 1) * ways[m] + noise[m] for m in range(2))
    label, present = signs.sum(1) % 2, torch.ones(2000, 2, dtype=torch.bool)
    model = method(Blueprint({"image": (8,), "text": (8,)}, n_outputs=2, width=16))
    steps = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(100):
        rows = torch.arange(step * 100, (step + 1) * 100) % 1000
        found = model({"image": image[rows], "text": text[rows]}, present[rows])
        loss = torch.nn.functional.cross_entropy(found.output, label[rows]) + found.penalty
        steps.zero_grad()
        loss.backward()
        steps.step()
    fresh = model.eval()({"image": image[1000:], "text": text[1000:]}, present[1000:])
    assert (fresh.output.argmax(1) == label[1000:]).float().mean() >= 0.97
