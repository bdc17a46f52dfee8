"""Combiners of experts: numbers computed by hand, and what every one must hold to."""

import math

import pytest
import torch
from torch import Tensor, nn

from mmcli.fusion.late import mean, product, stack, vote, weighted
from mmcli.fusion.late.mean import Mean
from mmcli.fusion.late.outputs import KINDS, as_outputs, choices, chosen, prior_of
from mmcli.fusion.late.product import Product
from mmcli.fusion.late.stack import Stack
from mmcli.fusion.late.vote import Vote
from mmcli.fusion.late.weighted import Weighted
from tests.fusion.expert_rows import SIZES, fit_rows

COMBINERS = (Mean, Weighted, Vote, Product, Stack)
each_combiner = pytest.mark.parametrize("combiner", COMBINERS)
each_kind = pytest.mark.parametrize("kind", KINDS)


def fitted(combiner: type[nn.Module], kind: str, modalities: int = 2, seed: int = 0) -> nn.Module:
    model = combiner(modalities, SIZES[kind], kind)
    model.fit(*fit_rows(kind, modalities=modalities, seed=seed))
    return model


def said(values: list[list[float]], kind: str) -> Tensor:
    """One row of outputs, of experts that say these probabilities, or numbers."""
    found = torch.tensor([values])
    if kind == "number":
        return found
    return found.log() + 1.5 if kind == "classes" else found.logit()  # logits may have any level


def probabilities(outputs: Tensor, kind: str) -> Tensor:
    """What an output says in probabilities of classes or of yes; of a number, itself."""
    if kind == "number":
        return outputs
    return outputs.exp() if kind == "classes" else outputs.sigmoid()


def answers(model: nn.Module, values: list[list[float]], present: list[bool]) -> list[float]:
    """The combined probabilities, or number, of one row."""
    output = model(said(values, model.kind), torch.tensor([present]))
    return probabilities(output, model.kind)[0].tolist()


def close(numbers: list[float]) -> object:
    return pytest.approx(numbers, abs=1e-5)


# -- outputs, choices and priors -----------------------------------------------------------------


def test_choices_are_log_probabilities_and_outputs_come_back() -> None:
    logits = torch.tensor([[2.0, -1.0, -3.0]])
    for kind in ("classes", "several", "ordinal"):
        logs = choices(logits, kind)
        torch.testing.assert_close(logs.exp().sum(-1), torch.ones(logs.shape[:-1]))
        wanted = logits.log_softmax(-1) if kind == "classes" else logits
        torch.testing.assert_close(as_outputs(logs, kind), wanted)
    rising = torch.tensor([[0.0, 1.0, -1.0]])
    fallen = as_outputs(choices(rising, "ordinal"), "ordinal")
    torch.testing.assert_close(fallen, torch.tensor([[0.0, 0.0, -1.0]]))
    extreme = choices(torch.tensor([[1e9, -1e9]]), "classes")
    assert extreme[0, 0].tolist() == close([0.0, math.log(1e-7)])


def test_targets_as_choices() -> None:
    levels = chosen(torch.tensor([0, 2, 3]), 3, "ordinal")[..., 1]
    assert levels.tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert chosen(torch.tensor([2, 0]), 3, "classes").tolist() == [[[0, 0, 1]], [[1, 0, 0]]]
    yes = chosen(torch.tensor([[1.0, 0.0]]), 2, "several")
    assert yes.tolist() == [[[0, 1], [1, 0]]]


def test_priors_are_smoothed_shares() -> None:
    classes = prior_of(torch.tensor([0, 0, 1]), 3, "classes")
    assert classes.exp().tolist() == close([3 / 6, 2 / 6, 1 / 6])
    several = prior_of(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), 2, "several")
    assert several.sigmoid().tolist() == close([3 / 5, 1 / 5])
    ordinal = prior_of(torch.tensor([0, 2, 2]), 2, "ordinal")
    assert ordinal.sigmoid().tolist() == close([4 / 6, 3 / 6])
    assert prior_of(torch.tensor([1.0, 2.0]), 1, "number").tolist() == [1.5]


# -- numbers by hand -----------------------------------------------------------------------------


def test_mean_by_hand() -> None:
    three, all_there = [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2]], [True, True]
    assert answers(Mean(2, 3, "classes"), three, all_there) == close([0.5, 0.35, 0.15])
    yes = [[0.9, 0.5, 0.1], [0.7, 0.1, 0.1]]
    assert answers(Mean(2, 3, "several"), yes, all_there) == close([0.8, 0.3, 0.1])
    assert answers(Mean(2, 3, "ordinal"), yes, all_there) == close([0.8, 0.3, 0.1])
    assert answers(Mean(2, 1, "number"), [[1.0], [4.0]], all_there) == close([2.5])


def test_weighted_by_hand() -> None:
    three, some = [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]], [True, True, False]
    yes = [[0.9, 0.5, 0.1], [0.5, 0.1, 0.1], [0.5, 0.5, 0.5]]
    wanted = {
        "classes": (three, [0.6 * 0.8 + 0.4 * 0.2, 0.6 * 0.1 + 0.4 * 0.6, 0.6 * 0.1 + 0.4 * 0.2]),
        "several": (yes, [0.74, 0.34, 0.1]),
        "ordinal": (yes, [0.74, 0.34, 0.1]),
        "number": ([[1.0], [4.0], [9.0]], [0.6 + 1.6]),
    }
    for kind, (values, numbers) in wanted.items():
        model = Weighted(3, SIZES[kind], kind)
        model.weights.copy_(torch.tensor([0.3, 0.2, 0.5]))  # of the first two 0.6 and 0.4
        assert answers(model, values, some) == close(numbers)


def test_vote_by_hand() -> None:
    three = [[0.5, 0.4, 0.1], [0.5, 0.3, 0.2], [0.1, 0.85, 0.05]]
    numbers = answers(Vote(3, 3, "classes"), three, [True] * 3)
    average = [1.1 / 3, 1.55 / 3, 0.35 / 3]
    assert average[1] > average[0] and numbers[0] > numbers[1]  # a plurality against the mean
    votes = zip((2, 1, 0), average, strict=True)
    assert numbers == close([(v + p) / 4 for v, p in votes])
    tie = answers(Vote(3, 3, "classes"), three, [True, False, True])
    assert tie == close([(1 + 0.3) / 3, (1 + 0.625) / 3, 0.075 / 3])
    yes = [[0.9, 0.6, 0.1], [0.7, 0.4, 0.1], [0.2, 0.1, 0.1]]
    voted = [(2 + 0.6) / 4, (1 + 1.1 / 3) / 4, 0.1 / 4]
    assert answers(Vote(3, 3, "several"), yes, [True] * 3) == close(voted)
    assert answers(Vote(3, 3, "ordinal"), yes, [True] * 3) == close(voted)
    values = [[9.0], [1.0], [2.0]]
    assert answers(Vote(3, 1, "number"), values, [True] * 3) == close([2.0])
    assert answers(Vote(3, 1, "number"), values, [True, False, True]) == close([5.5])


def test_product_by_hand() -> None:
    both = [True, True]
    model = Product(2, 3, "classes")
    model.prior.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
    model.temperatures.copy_(torch.tensor([1.0, 2.0]))
    root = [math.sqrt(p) for p in (0.2, 0.6, 0.2)]  # temperature 2 is a square root, normalised
    raw = [0.8 * root[0] / 0.5, 0.1 * root[1] / 0.25, 0.1 * root[2] / 0.25]
    three = [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2]]
    assert answers(model, three, both) == close([p / sum(raw) for p in raw])

    model = Product(2, 3, "several")
    model.prior.copy_(torch.tensor([0.5, 0.2, 0.5]).logit())
    odds = [0.9 / 0.1 * 0.7 / 0.3, 0.5 / 0.5 * 0.1 / 0.9 / 0.25, (0.1 / 0.9) ** 2]
    yes = [[0.9, 0.5, 0.1], [0.7, 0.1, 0.1]]
    assert answers(model, yes, both) == close([o / (1 + o) for o in odds])

    model = Product(2, 3, "ordinal")
    model.prior.copy_(torch.tensor([0.9, 0.2, 0.1]).logit())
    odds = [0.4 / 0.6 * 0.4 / 0.6 / 9, 0.4 / 0.6 * 0.4 / 0.6 * 4, (0.1 / 0.9) ** 2 * 9]
    assert odds[1] > odds[0]  # P(y > 1) may not exceed P(y > 0)
    falling = [odds[0], odds[0], min(odds[0], odds[2])]
    found = answers(model, [[0.4, 0.4, 0.1], [0.4, 0.4, 0.1]], both)
    assert found == close([o / (1 + o) for o in falling])

    model = Product(2, 1, "number")
    model.variances.copy_(torch.tensor([1.0, 4.0]))
    assert answers(model, [[1.0], [6.0]], both) == close([(1 * 1 + 6 / 4) / (1 + 1 / 4)])


def test_stack_by_hand() -> None:
    """Before it is fitted it is the mean of log-probabilities, logits or numbers."""
    both = [True, True]
    raw = [math.sqrt(a * b) for a, b in ((0.8, 0.2), (0.1, 0.6), (0.1, 0.2))]
    three = [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2]]
    assert answers(Stack(2, 3, "classes"), three, both) == close([p / sum(raw) for p in raw])
    yes = [[0.9, 0.5, 0.1], [0.7, 0.1, 0.1]]
    odds = [math.sqrt(a / (1 - a) * b / (1 - b)) for a, b in zip(*yes, strict=True)]
    for kind in ("several", "ordinal"):
        assert answers(Stack(2, 3, kind), yes, both) == close([o / (1 + o) for o in odds])
    model = Stack(2, 1, "number")
    model.prior.fill_(3.0)
    assert answers(model, [[1.0], [4.0]], both) == close([2.5])
    assert answers(model, [[1.0], [4.0]], [False, True]) == close([3.5])  # who is absent says 3


def test_worked_examples() -> None:
    lines = ["\n".join(module.example()) for module in (mean, weighted, vote, product, stack)]
    assert "= [0.60, 0.40]" in lines[0] and "text absent:  [0.80, 0.20]" in lines[0]
    assert "p_1 = 0.75 * 0.8 + 0.25 * 0.4 = 0.70" in lines[1] and "[0.40, 0.60]" in lines[1]
    assert f"/ 4 = {2.433333 / 4:.3f}" in lines[2] and "/ 3 = 0.450" in lines[2]
    assert "p = [0.667, 0.333]" in lines[3] and "p = [0.800, 0.200]" in lines[3]
    assert "0 * 1 + 0.2 * 1 + 0.1 = 1.50" in lines[4] and "0.2 * 0 + 0.1 = 0.85" in lines[4]


# -- what every combiner must hold to ------------------------------------------------------------


@each_combiner
@each_kind
def test_nothing_present_gives_the_prior(combiner: type[nn.Module], kind: str) -> None:
    model = fitted(combiner, kind)
    outputs = torch.full((2, 2, SIZES[kind]), torch.nan)
    found = model(outputs, torch.zeros(2, 2, dtype=torch.bool))
    wanted = prior_of(fit_rows(kind)[2], SIZES[kind], kind).float()
    torch.testing.assert_close(found, wanted.expand(2, -1))
    if kind == "ordinal":
        assert (found.diff(dim=1) < 0).all()


@each_combiner
@each_kind
def test_what_is_absent_says_nothing(combiner: type[nn.Module], kind: str) -> None:
    """Neither when it is fitted nor afterwards, even if it is NaN; nor does a row's company."""
    outputs, present, target = fit_rows(kind)
    noisy = torch.where(present[..., None], outputs, torch.nan)
    model, other = combiner(2, SIZES[kind], kind), combiner(2, SIZES[kind], kind)
    model.fit(outputs, present, target)
    other.fit(noisy, present, target)
    found = model(outputs, present)
    assert torch.equal(other(noisy, present), found)
    assert found.isfinite().all() and found.shape == (60, SIZES[kind])
    torch.testing.assert_close(model(outputs[7:8], present[7:8]), found[7:8])
    if kind == "classes":
        torch.testing.assert_close(found.exp().sum(1), torch.ones(60))
    if kind == "ordinal":
        assert (found.diff(dim=1) <= 0).all()


@each_combiner
@each_kind
def test_it_is_kept_by_its_state(combiner: type[nn.Module], kind: str) -> None:
    model, other = fitted(combiner, kind), combiner(2, SIZES[kind], kind)
    other.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    outputs, present, _ = fit_rows(kind, seed=5)
    assert torch.equal(other(outputs, present), model(outputs, present))
    again = fitted(combiner, kind)
    assert torch.equal(again(outputs, present), model(outputs, present))


@pytest.mark.parametrize("combiner", [Mean, Weighted, Vote, Product])
@each_kind
def test_one_modality_gives_that_experts_own_answer(combiner: type[nn.Module], kind: str) -> None:
    """Of votes the choice, of the product the answer at its temperature."""
    model = fitted(combiner, kind, modalities=1)
    outputs, _, _ = fit_rows(kind, modalities=1, seed=5)
    found = model(outputs, torch.ones(60, 1, dtype=torch.bool))
    if combiner is Product and kind != "number":
        assert model.temperatures.item() != 1
        outputs = outputs / model.temperatures.item()
    own = outputs[:, 0]
    if kind == "classes":
        own = own.log_softmax(-1).clamp(min=math.log(1e-7))
    if combiner is Vote and kind != "number":
        if kind == "classes":
            assert torch.equal(found.argmax(1), own.argmax(1))
        else:
            assert torch.equal(found > 0, own > 0)
    else:
        torch.testing.assert_close(found, own, rtol=1e-4, atol=1e-4)


@each_combiner
@each_kind
def test_it_fits_on_no_rows_at_all(combiner: type[nn.Module], kind: str) -> None:
    outputs, present, target = fit_rows(kind)
    model = combiner(2, SIZES[kind], kind)
    model.fit(outputs[:0], present[:0], target[:0])
    assert model(outputs, present).isfinite().all()
    model.fit(outputs, torch.zeros_like(present), target)
    assert model(outputs, present).isfinite().all()
    assert model(outputs[:0], present[:0]).shape == (0, SIZES[kind])


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind is `class`, not one of classes, several"):
        Mean(2, 2, "class")
