"""Depthwise convolutions in bf16 against the same in fp32, and untouched where they should be."""

import pytest

from mmcli.engine.depthwise import quicken_depthwise
from mmcli.engine.torch_stack import load_torch

torch = load_torch()


def network(kind: str) -> object:
    from timm.layers.conv2d_same import Conv2dSame

    torch.manual_seed(0)
    depthwise = (
        torch.nn.Conv2d(12, 12, 3, padding=1, groups=12)
        if kind == "plain"
        else Conv2dSame(12, 12, 5, stride=2, groups=12, bias=False)
    )
    return torch.nn.Sequential(torch.nn.Conv2d(3, 12, 1), depthwise, torch.nn.Conv2d(12, 4, 1))


def gradients(net: object, bf16: bool) -> list[object]:
    torch.manual_seed(1)
    inputs = torch.randn(2, 3, 17, 15, requires_grad=True)
    net.zero_grad()  # type: ignore[attr-defined]
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        net(inputs).float().square().mean().backward()  # type: ignore[operator]
    return [inputs.grad, *(p.grad.clone() for p in net.parameters())]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["plain", "same"])
def test_gradients_are_those_of_fp32_as_far_as_bf16_goes(kind: str) -> None:
    net = network(kind)
    expected = gradients(net, False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}  # type: ignore[attr-defined]
    assert quicken_depthwise(net) == 1
    for exact, found in zip(expected, gradients(net, True), strict=True):
        assert found.dtype == exact.dtype  # type: ignore[attr-defined]
        cosine = torch.nn.functional.cosine_similarity(exact.flatten(), found.flatten(), 0)  # type: ignore[attr-defined]
        assert cosine > 0.999
    for exact, found in zip(expected, gradients(net, False), strict=True):
        assert torch.equal(exact, found)  # outside of a bf16 autocast nothing is touched
    assert list(net.state_dict()) == list(before)  # type: ignore[attr-defined]


def test_only_depthwise_ones() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.Conv2d(8, 8, 3, groups=2))
    assert quicken_depthwise(net) == 0
