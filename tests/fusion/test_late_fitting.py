"""Combiners of experts: what each one that learns learns, against definitions and grids."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mmcli.fusion.late import stack, weighted
from mmcli.fusion.late.mean import Mean
from mmcli.fusion.late.outputs import KINDS, choices, chosen
from mmcli.fusion.late.product import Product
from mmcli.fusion.late.stack import Stack
from mmcli.fusion.late.weighted import Weighted
from tests.fusion.expert_rows import SIZES, fit_rows

each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_weighted_gives_all_to_the_only_good_expert(kind: str) -> None:
    _, _, target = fit_rows(kind, rows=400)
    made = torch.Generator().manual_seed(3)
    outputs = torch.randn(400, 3, SIZES[kind], generator=made)
    if kind == "number":
        outputs[:, 1, 0] = target
    elif kind == "classes":
        outputs[:, 1] = 4.0 * nn.functional.one_hot(target, 3)
    else:
        outputs[:, 1] = 6 * chosen(target, 3, kind)[..., 1].float() - 3
    present = torch.rand(400, 3, generator=made) > 0.2
    model = Weighted(3, SIZES[kind], kind)
    model.fit(outputs, torch.ones_like(present), target)
    assert model.weights.tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    model.fit(outputs, present, target)
    assert model.weights[1].item() > (0.9 if kind == "number" else 0.99)
    alone = torch.tensor([[True, False, False]])  # who has next to no weight still speaks
    wanted = Mean(3, SIZES[kind], kind)(outputs[:1], alone)
    torch.testing.assert_close(model(outputs[:1], alone), wanted)


def test_mixture_weights_are_the_most_likely() -> None:
    """No weight on a fine grid is likelier, with parts missing; the first expert is too sure."""
    outputs, present, target = fit_rows("classes", rows=300)
    outputs = outputs * torch.tensor([4.0, 0.5])[:, None]
    model = Weighted(2, 3, "classes")
    model.fit(outputs, present, target)

    def likelihood(first: float) -> float:
        model.weights.copy_(torch.tensor([first, 1 - first]))
        return model(outputs, present).double()[torch.arange(300), target].sum().item()

    learned = model.weights[0].item()
    assert 0.05 < learned < 0.95
    grid = np.linspace(0.001, 0.999, 999)
    best = grid[np.argmax([likelihood(first) for first in grid])]
    assert learned == pytest.approx(best, abs=2e-3)


def test_mixture_weights_of_three_have_no_slope_left() -> None:
    """The derivative along every weight is zero, with all patterns of missing parts."""
    made = torch.Generator().manual_seed(0)
    likelihood = torch.rand(200, 3, 2, generator=made).double()
    present = torch.rand(200, 3, generator=made) > 0.4
    present[:, 0] |= ~present.any(1)
    weights = weighted.mixture_weights(likelihood, present)
    assert weights.min() > 0.1
    free = weights.clone().requires_grad_()
    there = present * free
    mixed = (there[..., None] * likelihood).sum(1) / there.sum(1, keepdim=True)
    (slope,) = torch.autograd.grad(mixed.log().sum(), free)
    assert slope.abs().max().item() < 1e-3


def test_weights_of_numbers_are_least_squares() -> None:
    made = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 3, generator=made).double()
    exact = inputs @ torch.tensor([0.6, 0.3, 0.1]).double()
    weights = weighted.least_squares_weights(inputs, exact)
    assert weights.tolist() == pytest.approx([0.6, 0.3, 0.1], abs=1e-5)
    against = inputs @ torch.tensor([1.0, -1.0, 1.0]).double()
    weights = weighted.least_squares_weights(inputs, against)
    two = torch.linalg.lstsq(inputs[:, [0, 2]], against[:, None]).solution[:, 0]
    wanted = (two / two.sum()).tolist()
    assert weights.tolist() == pytest.approx([wanted[0], 0, wanted[1]], abs=1e-5)
    same = inputs[:, :1].expand(-1, 2)
    assert weighted.least_squares_weights(same, inputs[:, 0]).tolist() == pytest.approx([0.5, 0.5])
    assert weighted.least_squares_weights(-same, inputs[:, 0]).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("kind", ["classes", "several", "ordinal"])
def test_a_temperature_makes_the_rows_most_likely(kind: str) -> None:
    outputs, present, target = fit_rows(kind, rows=300)
    present[:, 0] = True
    model = Product(2, 3, kind)
    model.fit(outputs, present, target)
    shares = chosen(target, 3, kind)

    def loss(temperature: float) -> float:
        logs = choices(outputs[:, 0].double() / temperature, kind)
        return -(shares * logs).sum().item()

    grid = np.exp(np.linspace(math.log(0.05), math.log(20), 2001))
    best = grid[np.argmin([loss(t) for t in grid])]
    assert model.temperatures[0].item() == pytest.approx(best, rel=4e-3)
    model.fit(outputs * 3, present, target)  # three times as sure of itself: three times as hot
    assert model.temperatures[0].item() == pytest.approx(3 * best, rel=4e-3)


def test_variances_are_mean_squared_errors() -> None:
    outputs = torch.tensor([[[1.0], [5.0]], [[2.0], [9.0]]])
    model = Product(2, 1, "number")
    model.fit(outputs, torch.tensor([[True, True], [True, False]]), torch.tensor([0.0, 4.0]))
    assert model.variances.tolist() == pytest.approx([(1 + 4) / 2, 25.0])


@each_kind
def test_stack_is_at_the_least_of_what_it_minimises(kind: str) -> None:
    """The gradient of loss and penalty is zero there."""
    outputs, present, target = fit_rows(kind, rows=80)
    model = Stack(2, SIZES[kind], kind)
    features = model._features(outputs.double(), present)
    wanted = (target[:, None] > torch.arange(3)).double() if kind == "ordinal" else target
    wanted = wanted if kind == "classes" else wanted.double()
    start = model.weight.double()
    weights = torch.linspace(0.1, 1, len(target), dtype=torch.float64)
    found = stack._fitted(features, wanted, weights, start, start, 2.0, kind)
    errors = {
        "classes": lambda z: z.softmax(-1) - nn.functional.one_hot(target, SIZES[kind]),
        "number": lambda z: z - target[:, None],
    }.get(kind, lambda z: z.sigmoid() - wanted)
    weighted = weights[:, None] * errors(features @ found.T)
    gradient = weighted.T @ features + 2.0 * (found - start)
    assert gradient.abs().max().item() < 1e-3
    assert (found - start).abs().max().item() > 1e-2


def test_stack_learns_whom_to_trust() -> None:
    """One expert is right when it is turned round, the other is noise."""
    made = torch.Generator().manual_seed(0)
    target = torch.randint(0, 2, (400,), generator=made)
    outputs = torch.randn(400, 2, 2, generator=made)
    outputs[:, 0] -= 3.0 * nn.functional.one_hot(target, 2)
    present = torch.ones(400, 2, dtype=torch.bool)
    model = Stack(2, 2, "classes")
    model.fit(outputs[:200], present[:200], target[:200])
    right = (model(outputs[200:], present[200:]).argmax(1) == target[200:]).float().mean()
    assert right.item() > 0.95
    assert (Mean(2, 2, "classes")(outputs, present).argmax(1) == target).float().mean() < 0.2


def test_stack_fitted_on_whole_rows_knows_what_to_say_of_others() -> None:
    """With a modality missing it once gave all rows the class of most."""
    made = torch.Generator().manual_seed(0)
    target = (torch.rand(600, generator=made) < 0.3).long()
    noise = torch.randn(600, 2, 2, generator=made)
    outputs = 0.2 * nn.functional.one_hot(target, 2)[:, None] + 0.1 * noise  # less sure than right
    present = torch.ones(600, 2, dtype=torch.bool)
    model = Stack(2, 2, "classes")
    model.fit(outputs[:300], present[:300], target[:300])
    for modality in (0, 1):
        masked = present[300:].clone()
        masked[:, 1 - modality] = False
        said = model(outputs[300:], masked).argmax(1)
        alone = outputs[300:, modality].argmax(1)
        accuracy, best = ((s == target[300:]).float().mean().item() for s in (said, alone))
        assert accuracy > best - 0.03
        assert 0.1 < said.float().mean().item() < 0.5


@each_kind
def test_few_rows_do_stack_no_harm(kind: str) -> None:
    """Fitted on eight rows of noise it is still close to what it was before."""
    outputs, present, target = fit_rows(kind, rows=8)
    model, before = Stack(2, SIZES[kind], kind), Stack(2, SIZES[kind], kind)
    model.fit(torch.randn(outputs.shape, generator=torch.Generator()), present, target)
    assert (model.weight - before.weight).abs().max().item() < 0.01


def test_stack_with_many_classes_reads_matching_outputs_only() -> None:
    made = torch.Generator().manual_seed(0)
    target = torch.arange(300) % 60
    outputs = torch.randn(300, 2, 60, generator=made)
    outputs[:, 1] += 5 * nn.functional.one_hot(target, 60)
    present = torch.rand(300, 2, generator=made) > 0.1
    model = Stack(2, 60, "classes")
    assert model.weight.shape == (60, 5)
    torch.testing.assert_close(
        model(outputs, torch.ones_like(present)),
        outputs.log_softmax(-1).mean(1).log_softmax(-1),
    )
    start = model(outputs, present)
    model.fit(outputs, present, target)
    rows = torch.arange(300)
    gain = (model(outputs, present) - start)[rows, target].mean().item()
    assert gain > 0.3
