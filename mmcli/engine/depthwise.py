"""Depthwise convolutions that train on a CPU in bf16: forward in bf16, backward in fp32.

Backward through a depthwise convolution takes torch's CPU kernels longer in bf16 than in fp32 (two
thirds of a step of EfficientNet-Lite0), while everything around it is faster. Gradients are at
least as exact as autocast's. Nothing changes outside of a bf16 autocast on a CPU.
"""

from types import MethodType
from typing import Any

from mmcli.engine.torch_stack import load_torch

torch = load_torch()


def quicken_depthwise(network: Any) -> int:
    """Make every depthwise `Conv2d` of a network one of these; how many there are.

    Weights and names stay. timm's `Conv2dSame` pads by the size of what comes in, and still does.
    """
    count = 0
    for module in network.modules():
        if not isinstance(module, torch.nn.Conv2d) or module.groups != module.in_channels:
            continue
        if module.groups == 1 or module.padding_mode != "zeros":
            continue
        if type(module).forward is torch.nn.Conv2d.forward:
            module._conv_forward = MethodType(_plain, module)
        elif type(module).__name__ == "Conv2dSame":
            module.forward = MethodType(_same, module)
        else:
            continue
        count += 1
    return count


class _Depthwise(torch.autograd.Function):  # type: ignore[misc,name-defined]
    """A grouped 2-d convolution `(batch, channels, height, width)`, as the module says."""

    @staticmethod
    def forward(
        context: Any, inputs: Any, weight: Any, bias: Any, shape: tuple[Any, Any, Any, int]
    ) -> Any:
        inputs = inputs.to(torch.bfloat16)
        context.save_for_backward(inputs, weight)
        context.shape, context.bias = shape, None if bias is None else list(bias.shape)
        small = None if bias is None else bias.to(torch.bfloat16)
        return torch.nn.functional.conv2d(inputs, weight.to(torch.bfloat16), small, *shape)

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        inputs, weight = context.saved_tensors
        stride, padding, dilation, groups = context.shape
        needed = [*context.needs_input_grad[:2], context.bias is not None]
        found = torch.ops.aten.convolution_backward(
            gradient.float(), inputs.float(), weight.float(), context.bias, list(stride),
            list(padding), list(dilation), False, [0, 0], groups, needed,
        )  # fmt: skip
        of_inputs = None if found[0] is None else found[0].to(torch.bfloat16)
        return of_inputs, found[1], found[2], None


def _plain(module: Any, inputs: Any, weight: Any, bias: Any) -> Any:
    if not _here(inputs):
        return type(module)._conv_forward(module, inputs, weight, bias)
    if isinstance(module.padding, str):
        return type(module)._conv_forward(module, inputs, weight, bias)
    shape = (module.stride, module.padding, module.dilation, module.groups)
    return _Depthwise.apply(inputs, weight, bias, shape)


def _same(module: Any, inputs: Any) -> Any:
    from timm.layers.padding import pad_same

    if not _here(inputs):
        return type(module).forward(module, inputs)
    padded = pad_same(inputs, module.kernel_size, module.stride, module.dilation)
    shape = (module.stride, (0, 0), module.dilation, module.groups)
    return _Depthwise.apply(padded, module.weight, module.bias, shape)


def _here(inputs: Any) -> bool:
    """Whether this is where it is faster: learning, on a CPU, in a bf16 autocast."""
    return bool(
        inputs.device.type == "cpu"
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
