"""Mixup and weight averages, from their definitions and against torch's own."""

import numpy as np
import pytest

from mmcli.core.errors import BadInput
from mmcli.tuning.averaging import mean_state
from mmcli.tuning.mixing import Mixture, draw
from tests.tuning.networks import torch


def _generator(seed: int = 0) -> "torch.Generator":
    return torch.Generator().manual_seed(seed)


MIXTURE = Mixture(torch.tensor([1, 2, 0]), torch.tensor([0.75, 0.5, 1.0]))


def test_vectors_and_targets_are_blended_alike() -> None:
    x = {"image": torch.tensor([[4.0, 0.0], [0.0, 8.0], [2.0, 2.0]])}
    vectors, valid = MIXTURE.vectors(x)
    assert valid is None
    assert vectors["image"].tolist() == [[3.0, 2.0], [1.0, 5.0], [2.0, 2.0]]
    assert MIXTURE.targets(torch.tensor([1.0, -1.0, 3.0])).tolist() == [0.5, 1.0, 3.0]
    soft = MIXTURE.targets(torch.tensor([0, 1, 1]), n_classes=2)
    assert soft.tolist() == [[0.75, 0.25], [0.0, 1.0], [0.0, 1.0]]
    several = MIXTURE.targets(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    assert several.tolist() == [[0.75, 0.25], [0.5, 1.0], [1.0, 1.0]]


def test_tokens_are_blended_where_both_rows_have_one() -> None:
    mixture = Mixture(torch.tensor([1, 0]), torch.tensor([0.75, 0.75]))
    x = {"text": torch.tensor([[[4.0], [6.0], [0.0]], [[8.0], [0.0], [0.0]]])}
    real = {"text": torch.tensor([[True, True, False], [True, False, False]])}
    tokens, valid = mixture.vectors(x, real)
    assert tokens["text"].squeeze(2).tolist() == [[5.0, 6.0, 0.0], [7.0, 6.0, 0.0]]
    assert valid is not None
    assert valid["text"].tolist() == [[True, True, False], [True, True, False]]
    assert real["text"].tolist()[1] == [True, False, False], "what was given stays as it is"


def test_losses_are_those_of_soft_targets() -> None:
    logits = torch.randn(3, 4, generator=_generator())
    target = torch.tensor([0, 3, 2])
    soft = MIXTURE.targets(target, n_classes=4)
    wanted = torch.nn.functional.cross_entropy(logits, soft, reduction="none")
    own = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    other = torch.nn.functional.cross_entropy(logits, target[MIXTURE.order], reduction="none")
    torch.testing.assert_close(MIXTURE.losses(own, other), wanted)


def test_rows_are_mixed_with_rows_that_have_the_same_parts() -> None:
    present = torch.rand(200, 3, generator=_generator(1)) < 0.5
    mixture = draw(present, 0.4, _generator(2))
    assert sorted(mixture.order.tolist()) == list(range(200))
    assert torch.equal(present[mixture.order], present)
    assert (mixture.order != torch.arange(200)).float().mean() > 0.8
    again = draw(present, 0.4, _generator(2))
    assert torch.equal(again.order, mixture.order) and torch.equal(again.share, mixture.share)
    assert not torch.equal(draw(present, 0.4, _generator(3)).share, mixture.share)
    assert len(draw(present[:0], 0.4, _generator()).order) == 0


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_moments_of_a_beta_distribution(alpha: float) -> None:
    share = draw(torch.ones(40_000, 1, dtype=torch.bool), alpha, _generator()).share.double()
    assert float(share.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.005)


def test_the_mean_of_weights_is_torchs_own() -> None:
    from torch.optim.swa_utils import AveragedModel

    torch.manual_seed(0)
    models = [torch.nn.BatchNorm1d(3) for _ in range(4)]
    average = AveragedModel(models[0], use_buffers=True)
    for number, model in enumerate(models):
        model(torch.randn(8, 3))
        torch.nn.init.normal_(model.weight)
        model.num_batches_tracked += number
        average.update_parameters(model)
    found = mean_state(iter([m.state_dict() for m in models]))
    wanted = average.module.state_dict()
    for name in ("weight", "bias", "running_mean", "running_var"):
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=1e-6)
        assert found[name].dtype == torch.float32
    assert int(found["num_batches_tracked"]) == int(models[0].num_batches_tracked)


def test_a_mean_is_taken_in_double_precision() -> None:
    states = [{"w": torch.tensor([1.0 + k * 2**-8], dtype=torch.bfloat16)} for k in range(2)]
    value = float(np.mean([float(s["w"]) for s in states]))
    assert float(mean_state(states)["w"]) == float(torch.tensor(value, dtype=torch.bfloat16))
    big = [{"w": torch.tensor([2.0**24])}, {"w": torch.tensor([1.0])}, {"w": torch.tensor([1.0])}]
    assert float(mean_state(big)["w"]) == pytest.approx((2**24 + 2) / 3, rel=1e-7)


def test_weights_of_different_networks() -> None:
    a = {"w": torch.zeros(2), "b": torch.zeros(1)}
    with pytest.raises(BadInput, match=r"number 1 and 2 .*`b`"):
        mean_state([a, {"w": torch.zeros(2)}])
    with pytest.raises(BadInput, match=r"number 1 and 3 .*`w`"):
        mean_state([a, a, {**a, "w": torch.zeros(3)}])
    with pytest.raises(BadInput, match="no weights"):
        mean_state([])
