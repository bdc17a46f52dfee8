"""Mixup, from its definition."""

import pytest

from mmcli.tuning.mixing import Mixture, draw
from tests.tuning.networks import torch


def _generator(seed: int = 0) -> "torch.Generator":
    return torch.Generator().manual_seed(seed)


MIXTURE = Mixture(torch.tensor([1, 2, 0]), torch.tensor([0.75, 0.5, 1.0]))


def test_vectors_are_blended() -> None:
    x = {"image": torch.tensor([[4.0, 0.0], [0.0, 8.0], [2.0, 2.0]])}
    vectors, valid = MIXTURE.vectors(x)
    assert valid is None
    assert vectors["image"].tolist() == [[3.0, 2.0], [1.0, 5.0], [2.0, 2.0]]


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
    share = MIXTURE.share[:, None]
    classes = torch.nn.functional.one_hot(target, 4)
    soft = share * classes + (1 - share) * classes[MIXTURE.order]
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
