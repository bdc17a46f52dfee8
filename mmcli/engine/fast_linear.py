"""Makes the linear layers of a bf16 model faster on a CPU, without changing what they compute.

oneDNN multiplies fastest when the weights lie in its own blocked layout; torch re-reads the plain
layout at every call. Packing once gains about a tenth of a forward pass, and running the
activation that follows inside the same kernel saves a pass over the widest tensors of a
Transformer. Only inference on a CPU in bf16 is touched; everywhere else the model stays as it is.
"""

from functools import cache
from typing import Any

from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch

torch = load_torch()

#: (first linear, activation, second linear): the names Transformers give a feed-forward block.
FEED_FORWARD = (
    ("fc1", "activation_fn", "fc2"),
    ("fc1", "act", "fc2"),
    ("dense", "intermediate_act_fn", ""),
)
#: QuickGELU is x * sigmoid(1.702 x) (Hendrycks & Gimpel 2016, arXiv 1606.08415).
QUICK_GELU = 1.702


class PackedLinear(torch.nn.Module):
    """A linear layer whose weight lies in oneDNN's layout, with an activation in its kernel."""

    def __init__(self, linear: Any, activation: str = "none", algorithm: str = "") -> None:
        super().__init__()
        weight = linear.weight.detach().to(torch.bfloat16)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.bias = None if linear.bias is None else linear.bias.detach().to(torch.bfloat16)
        self.activation = activation
        self.algorithm = algorithm
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = weight  # some models read a layer's weight, or its type, by name

    def forward(self, inputs: Any) -> Any:
        """`(..., in_features)` in bf16 or fp32 to `(..., out_features)` in bf16."""
        return torch.ops.mkldnn._linear_pointwise(
            inputs.to(torch.bfloat16), self.packed, self.bias, self.activation, [], self.algorithm
        )


def applies(placement: Placement) -> bool:
    """Whether a model placed so gets packed layers."""
    return placement.device == "cpu" and placement.dtype == "bfloat16" and _supported()


def accelerate(model: Any, placement: Placement) -> Any:
    """The same model, its linear layers packed where that applies; modifies it in place.

    What stands between the linear layers keeps the type it has: a model in fp32 adds up its
    residuals in fp32 and multiplies in bf16.
    """
    if not applies(placement):
        return model
    with torch.inference_mode():
        for module in list(model.modules()):
            for names in FEED_FORWARD:
                _fuse(module, *names)
        _pack(model)
    return model


@cache
def _supported() -> bool:
    """The two operators are torch's own, made for its compiler: use them only when they work."""
    try:
        probe = torch.nn.Linear(16, 16).to(torch.bfloat16)
        with torch.inference_mode():
            PackedLinear(probe)(torch.zeros(2, 16, dtype=torch.bfloat16))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return True


def _fuse(module: Any, first: str, activation: str, second: str) -> None:
    linear, act = getattr(module, first, None), getattr(module, activation, None)
    if not isinstance(linear, torch.nn.Linear) or not isinstance(act, torch.nn.Module):
        return
    kind = type(act).__name__
    if kind == "QuickGELUActivation":
        # x * sigmoid(cx) = silu(cx) / c: scale into the layers on both sides. Rounding the scaled
        # weights is as exact as rounding the weights.
        following = getattr(module, second, None) if second else None
        if not isinstance(following, torch.nn.Linear):
            return
        linear.weight.mul_(QUICK_GELU)
        if linear.bias is not None:
            linear.bias.mul_(QUICK_GELU)
        following.weight.div_(QUICK_GELU)
        setattr(module, first, PackedLinear(linear, "swish"))
    elif kind == "GELUActivation" or (kind == "GELU" and act.approximate == "none"):
        setattr(module, first, PackedLinear(linear, "gelu", "none"))
    elif kind == "ReLU":
        setattr(module, first, PackedLinear(linear, "relu"))
    else:
        return
    setattr(module, activation, torch.nn.Identity())


def _pack(module: Any) -> None:
    for name, child in list(module.named_children()):
        if type(child) is torch.nn.Linear:
            setattr(module, name, PackedLinear(child))
        else:
            _pack(child)
