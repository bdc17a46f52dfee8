"""Activation checkpointing: what a layer computed inside is dropped, and computed again when its
gradient is wanted. Source: Chen et al. 2016, arXiv 1604.06174.

transformers' own switch is used where it works, which is in training mode, for every stack of a
model; layers in evaluation mode, wrapped ones and those of other libraries are run through
`torch.utils.checkpoint` here. Knows nothing about strategies.
"""

from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmcli.core.errors import UsageError
from mmcli.engine.torch_stack import load_transformers
from mmcli.tuning.layers import changed_class, find_layers


def checkpointed(network: nn.Module) -> nn.Module:
    """The same network, its layers recomputed in the backward pass; in place.

    Layers get a class of their own, under which names, hooks and gradients stay what they are.
    Raises UsageError for a network without layers.
    """
    found = [layer.module for layer in find_layers(network)]
    if not found:
        raise UsageError(
            f"`{type(network).__name__}` has no layers to recompute", "leave out `--checkpointing`"
        )
    found += _switched_on(network)
    for module in found:
        if not hasattr(module, "recomputed"):
            kind: Any = type(module)
            module.__class__ = _recomputing(kind)
    return network


def _switched_on(network: nn.Module) -> list[nn.Module]:
    """Turn transformers' own switch on; the layers that it is for."""
    transformers = load_transformers()
    from transformers.modeling_layers import GradientCheckpointingLayer

    for module in network.modules():
        model: Any = module
        if (
            isinstance(module, transformers.PreTrainedModel)
            and model.supports_gradient_checkpointing
        ):
            model.gradient_checkpointing_enable({"use_reentrant": False})
    return [m for m in network.modules() if isinstance(m, GradientCheckpointingLayer)]


@cache
def _recomputing(kind: Any) -> Any:
    """A subclass of a layer's class that is run through `torch.utils.checkpoint`."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = super(made, self).__call__
        by_itself = self.training and getattr(self, "gradient_checkpointing", False)
        if by_itself or not torch.is_grad_enabled():
            return run(*args, **kwargs)
        return checkpoint(partial(run, **kwargs), *args, use_reentrant=False)

    made = changed_class(kind, "Recomputed", {"__call__": call, "recomputed": True})
    return made
