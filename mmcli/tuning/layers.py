"""The layers of any network, from the bottom up: the blocks of a Transformer, the stages of a
convolutional network; and how deep each parameter lies.

Knows nothing about strategies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Layer:
    """name, module: what is called. body: the block itself, where what is called wraps it as its
    `layer` (CLIP's last one, computed for the class token alone); else the same."""

    name: str
    module: nn.Module
    body_name: str
    body: nn.Module


def find_layers(network: nn.Module) -> tuple[Layer, ...]:
    """The layers, bottom first; empty where there is no such thing.

    They are the children of the list that holds the most parameters, of all lists whose children
    are of one class; or timm's stages, where these hold more.
    """
    best: list[str] = []
    most = 0
    for names in _candidates(network):
        size = sum(p.numel() for n in names for p in network.get_submodule(n).parameters())
        if size > most:
            best, most = names, size
    return tuple(_layer(network, name, best) for name in best)


def _candidates(network: nn.Module) -> list[list[str]]:
    """Names of modules that could be the layers; of lists, the outer before the inner."""
    found, single = [], []
    for name, module in network.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        children = list(module.children())
        names = [f"{name}.{child}".lstrip(".") for child, _ in module.named_children()]
        if len(children) > 1 and _alike(children):
            found.append(names)
        elif len(children) == 1 and isinstance(module, nn.ModuleList):
            single.append(names)
    stages = [info.get("module", "") for info in getattr(network, "feature_info", None) or ()]
    known = dict(network.named_modules())
    stages = [n for n in dict.fromkeys(stages) if n in known and list(known[n].parameters())]
    if len(stages) > 1:
        found.append(stages)
    return found or single


def changed_class(kind: Any, prefix: str, members: dict[str, Any]) -> Any:
    """A subclass of a layer's class to exchange it for, under which it still counts as the same."""
    plain = getattr(kind, "plain_class", kind)
    return type(f"{prefix}{kind.__name__}", (kind,), {**members, "plain_class": plain})


def _kind(module: Any) -> Any:
    return getattr(module, "plain_class", type(module))


def _alike(children: Sequence[nn.Module]) -> bool:
    kinds = dict.fromkeys(map(_kind, children))
    return any(
        all(_kind(child) is kind or _wrapped(child, kind) is not None for child in children)
        for kind in kinds
    )


def _wrapped(child: nn.Module, kind: Any) -> nn.Module | None:
    """What a module of another class holds as its `layer`, where that is of this class."""
    inner = getattr(child, "layer", None)
    if _kind(child) is not kind and isinstance(inner, nn.Module) and _kind(inner) is kind:
        return inner
    return None


def _layer(network: nn.Module, name: str, names: Sequence[str]) -> Layer:
    module = network.get_submodule(name)
    for kind in dict.fromkeys(_kind(network.get_submodule(n)) for n in names):
        inner = _wrapped(module, kind)
        if inner is not None:
            return Layer(name, module, f"{name}.layer", inner)
    return Layer(name, module, name, module)


def plain_name(name: str, layers: Sequence[Layer]) -> str:
    """A parameter's name as it is where no layer is wrapped: what is written to disk."""
    for layer in layers:
        if layer.body_name != layer.name and name.startswith(layer.body_name + "."):
            return layer.name + name[len(layer.body_name) :]
    return name


def depths(network: nn.Module) -> dict[str, int]:
    """How deep each parameter lies: 0 before the layers, 1 … n in them, n + 1 after them."""
    layers = find_layers(network)
    found: dict[str, int] = {}
    at = 0
    for name, _ in network.named_parameters():
        inside = next(
            (k for k, layer in enumerate(layers, 1) if name.startswith(layer.name + ".")), None
        )
        if inside is not None:
            found[name] = at = inside
        else:
            found[name] = at if at < len(layers) or not layers else len(layers) + 1
    return found


def linear_maps(layer: Layer) -> dict[str, Any]:
    """The linear maps and plain convolutions of a layer, by name within its body.

    Left out are depthwise convolutions, what attention of torch's own reads as a bare weight, and
    maps that do more with their weight than multiply by it.
    """
    held = {
        f"{name}.out_proj"
        for name, module in layer.body.named_modules()
        if isinstance(module, nn.MultiheadAttention)
    }
    return {n: m for n, m in layer.body.named_modules() if n not in held and _is_linear(m)}


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Linear):
        return type(module).forward is nn.Linear.forward
    if isinstance(module, nn.Conv2d) and module.groups == 1:
        # timm's Conv2dSame pads its input, and is a convolution otherwise
        return type(module).forward is nn.Conv2d.forward or type(module).__name__ == "Conv2dSame"
    return False
