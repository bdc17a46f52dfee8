"""Prompts: learned tokens that a layer attends to beside the input's own, new ones in each layer.

What becomes of a prompt in a layer is dropped behind it, so every layer gives as many tokens as it
got. The block's class is exchanged for one that adds and drops them: hooks and names stay as they
are. Sources: Jia et al. 2022, arXiv 2203.12119 (deep prompts); Lester et al. 2021,
arXiv 2104.08691.
"""

import inspect
import re
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmcli.core.errors import UsageError
from mmcli.tuning.change import Change
from mmcli.tuning.layers import Layer, changed_class, find_layers, linear_maps
from mmcli.tuning.options import StrategyOptions

NAME = "prompts"
_DEVIATION = 0.02
_MASKS = ("attention_mask", "attn_mask", "mask")
#: Attention that knows places or windows: a token without a place does not fit in.
_PLACED = re.compile(r"relative|rel_pos|attention_bias|rotary|rope|window|partition", re.IGNORECASE)


def prompts(network: nn.Module, options: StrategyOptions) -> Change:
    """Give every layer its prompts, drawn as Transformers draw their tokens: normal, 0.02."""
    names = []
    for layer in find_layers(network):
        like = next(layer.module.parameters())
        values = torch.empty(options.prompts, _width(layer)).normal_(std=_DEVIATION)
        values = values.to(like.device, like.dtype)
        layer.module.register_parameter(NAME, nn.Parameter(values))
        kind: Any = type(layer.module)
        layer.module.__class__ = _prompted(kind)
        names.append(f"{layer.name}.{NAME}")
    return Change(tuple(names))


def without_tokens(network: nn.Module, options: StrategyOptions) -> str:
    """Why a token more does not fit in."""
    layers = find_layers(network)
    kinds = {type(module).__name__ for layer in layers for module in layer.body.modules()}
    if not any("attention" in kind.lower() or "attn" in kind.lower() for kind in kinds):
        return "its layers do not attend to tokens"
    everywhere = {type(module).__name__ for module in network.modules()}
    names = {name for name, _ in network.named_parameters()}
    names |= {name for name, _ in network.named_buffers()}
    if any(_PLACED.search(word) for word in everywhere | names):
        return "its attention depends on places"
    return ""


@cache
def _prompted(kind: Any) -> Any:
    """A subclass of a block's class whose forward adds its prompts and drops them again."""
    signature = inspect.signature(kind.forward)
    states_name = list(signature.parameters)[1]
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        given, others = bound.arguments, bound.arguments.get(rest, {})
        states = given[states_name]
        if states.ndim != 3:
            raise UsageError(
                f"the strategy `prompts` does not fit a layer of shape {tuple(states.shape)}",
                "it takes networks whose layers pass on (batch, tokens, dim)",
            )
        masks = [(a, n) for a in (given, others) for n in _MASKS if a.get(n) is not None]
        for arguments, name in masks:
            arguments[name] = _widened(arguments[name], len(self.prompts))
        # behind the others, the class token stays the first; where there is an order, in front, so
        # that all tokens see them
        first = bool(masks or given.get("is_causal") or others.get("is_causal"))
        added = self.prompts.to(states.dtype).expand(len(states), -1, -1)
        given[states_name] = torch.cat([added, states] if first else [states, added], dim=1)
        found = super(made, self).forward(*bound.args[1:], **bound.kwargs)
        kept = slice(len(self.prompts), None) if first else slice(0, states.shape[1])
        if isinstance(found, tuple):
            return (found[0][:, kept], *found[1:])
        return found[:, kept]

    made = changed_class(kind, "Prompted", {"forward": forward})
    return made


def _widened(mask: Tensor, count: int) -> Tensor:
    """A mask whose first columns, the prompts', are open to all.

    What the prompts themselves see is no matter, since what becomes of them is dropped.
    """
    seen = 0.0 if mask.is_floating_point() and mask.ndim == 4 else 1
    wide = functional.pad(
        mask.float() if mask.dtype == torch.bool else mask, (count, 0), value=seen
    )
    wide = wide.to(mask.dtype)
    if mask.ndim == 4 and mask.shape[2] > 1:
        wide = torch.cat([wide[:, :, :1].expand(-1, -1, count, -1), wide], dim=2)
    return wide


def _width(layer: Layer) -> int:
    """The width of a layer's tokens: what its first linear map takes."""
    first = next(m for m in linear_maps(layer).values() if isinstance(m, nn.Linear))
    return int(first.in_features)
