"""Contrastive losses against their definitions, in one piece and in chunks, with gradients."""

from math import log
from typing import Any

import pytest

from mmcli.align.distributions import mmd, moments, transport
from mmcli.align.losses import info_nce, sigmoid_loss, torch

F = torch.nn.functional
N, DIM = 50, 16


def vectors(seed: int) -> tuple[Any, Any, Any, Any]:
    made = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(N, DIM, generator=made, requires_grad=True) for _ in range(2))
    groups = torch.randint(0, 20, (N,), generator=made)
    return x, y, groups, made


def defined_info_nce(q: Any, k: Any, scale: Any, groups: Any) -> Any:
    target = torch.eye(N) if groups is None else (groups[:, None] == groups[None]).float()
    target = target / target.sum(1, keepdim=True)
    scores = scale * q @ k.T
    there, back = scores.log_softmax(1), scores.T.log_softmax(1)
    return -((target * there).sum() + (target * back).sum()) / (2 * N)


def defined_sigmoid(q: Any, k: Any, scale: Any, bias: Any, groups: Any) -> Any:
    groups = torch.arange(N) if groups is None else groups
    signs = torch.where(groups[:, None] == groups[None], 1.0, -1.0)
    return -(signs * (scale * q @ k.T + bias)).sigmoid().log().sum() / N


def results(loss: Any, seed: int, *scalars: float, grouped: bool, **options: Any) -> list[Any]:
    """Loss and every gradient."""
    x, y, groups, _ = vectors(seed)
    given = [torch.tensor(value, requires_grad=True) for value in scalars]
    q, k = F.normalize(x, dim=1), F.normalize(y, dim=1)
    value = loss(q, k, *given, groups if grouped else None, **options)
    value.backward()
    return [value.detach(), x.grad, y.grad, *(s.grad for s in given)]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
@pytest.mark.parametrize("chunk", [1, 7, 50, None])
def test_info_nce_is_its_definition(grouped: bool, scale: float, chunk: int | None) -> None:
    expected = results(defined_info_nce, 1, scale, grouped=grouped)
    found = results(info_nce, 1, scale, grouped=grouped, chunk=chunk)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_info_nce_where_no_score_is_near_the_largest() -> None:
    """Scores so far below the shift that one exponential would underflow."""
    x = torch.zeros(4, 8)
    x[:, :4] = torch.eye(4)
    y = -x
    value = info_nce(x, y, torch.tensor(100.0))
    # three scores of 0 and the right one of -100: 100 + log(3 + e^-100)
    assert float(value) == pytest.approx(100 + log(3), rel=1e-6)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("chunk", [7, 50])
def test_sigmoid_is_its_definition(grouped: bool, chunk: int) -> None:
    expected = results(defined_sigmoid, 2, 10.0, -10.0, grouped=grouped)
    found = results(sigmoid_loss, 2, 10.0, -10.0, grouped=grouped, chunk=chunk)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_gradients_by_finite_differences() -> None:
    made = torch.Generator().manual_seed(3)
    x, y = (torch.randn(6, 4, generator=made, dtype=torch.float64) for _ in range(2))
    x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
    q = x.clone().requires_grad_()
    info_nce(q, y, torch.tensor(5.0)).backward()
    step = 1e-3
    for i, j in ((0, 0), (3, 2), (5, 3)):
        moved = [x.clone(), x.clone()]
        moved[0][i, j] += step
        moved[1][i, j] -= step
        up, down = (info_nce(m, y, torch.tensor(5.0)).double() for m in moved)
        assert float(q.grad[i, j]) == pytest.approx(float((up - down) / (2 * step)), abs=5e-4)


@pytest.mark.parametrize("shape", [(5, 7), (300, 200), (256, 1024)])
def test_half_precision_sums_are_as_exact_as_they_say(shape: tuple[int, int]) -> None:
    from mmcli.align.losses import _sums

    made = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=made).bfloat16()
    for matrix in (x, x.T, x.float(), x.float().T):
        exact = matrix.double().sum(1)
        torch.testing.assert_close(_sums(matrix).double(), exact, rtol=4e-3, atol=0)


def test_bf16_products_change_little() -> None:
    x, y, _, _ = vectors(4)
    q, k = F.normalize(x.detach(), dim=1), F.normalize(y.detach(), dim=1)
    exact = info_nce(q, k, torch.tensor(14.0))
    with torch.autocast("cpu", torch.bfloat16):
        found = info_nce(q, k, torch.tensor(14.0))
    assert float(found) == pytest.approx(float(exact), rel=5e-3)


def test_batches_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="do not match"):
        info_nce(torch.ones(2, 3), torch.ones(3, 3), torch.tensor(1.0))


def test_mmd_by_hand() -> None:
    """Two points against two: the median squared distance is 1, so kernels are exp(-d² / width)."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]])
    widths = torch.tensor([0.25, 0.5, 1.0, 2.0, 4.0])
    k1 = float(torch.exp(-1 / widths).mean())
    # distances: within 1; across 0, 1, 1, 0; of the twelve ordered pairs the median is 1
    expected = 2 * k1 - 2 * (2 + 2 * k1) / 4
    assert float(mmd(x, y)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distance", [mmd, moments])
def test_distributions_that_differ_are_further_apart(distance: Any) -> None:
    made = torch.Generator().manual_seed(0)
    x, same = torch.randn(400, 3, generator=made), torch.randn(400, 3, generator=made)
    moved, wider = same + 1, same * 2
    near = float(distance(x, same))
    assert abs(near) < 0.2
    assert float(distance(x, moved)) > near + 0.1
    assert float(distance(x, wider)) > near + 0.03


def test_transport_gives_every_row_and_column_its_share() -> None:
    made = torch.Generator().manual_seed(0)
    plan = transport(torch.rand(6, 4, generator=made), rounds=200)
    torch.testing.assert_close(plan.sum(1), torch.ones(6))
    torch.testing.assert_close(plan.sum(0), torch.full((4,), 1.5), atol=1e-3, rtol=0)
    clear = transport(torch.eye(5))
    assert (clear.argmax(1) == torch.arange(5)).all() and float(clear.diagonal().min()) > 0.99
