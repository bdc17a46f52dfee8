"""Adapters: a bottleneck behind every sub-layer of a Transformer, before its residual is added;
in a convolutional network, one of 1x1 convolutions behind every block (Rebuffi et al. 2017,
arXiv 1705.08045).

They begin as the identity. Normalisation layers stay frozen, unlike in the paper, so that a tower
is its base and its adapters and nothing else. Source: Houlsby et al. 2019, arXiv 1902.00751.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mmcli.tuning.change import Change
from mmcli.tuning.layers import Layer, find_layers
from mmcli.tuning.options import StrategyOptions
from mmcli.tuning.sites import attention_outputs, feed_forward_outputs, units

NAME = "adapter"


class Bottleneck(nn.Module):
    """h + up(gelu(down(h))), over the last axis or, of maps `(batch, dim, …)`, over channels."""

    def __init__(self, dim: int, width: int, of_maps: bool) -> None:
        super().__init__()
        self.down: nn.Module = nn.Conv2d(dim, width, 1) if of_maps else nn.Linear(dim, width)
        self.up: nn.Module = nn.Conv2d(width, dim, 1) if of_maps else nn.Linear(width, dim)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> Tensor:
        """As many numbers as went in."""
        return h + self.up(functional.gelu(self.down(h)))


def adapters(network: nn.Module, options: StrategyOptions) -> Change:
    """Hang a bottleneck on each place, as its submodule `adapter`."""
    found = _places(network)
    for name, (dim, of_maps) in found.items():
        place = network.get_submodule(name)
        like = next(place.parameters())
        added = Bottleneck(dim, options.bottleneck, of_maps).to(like.device, like.dtype)
        place.add_module(NAME, added.train(place.training))
        if not isinstance(place, nn.Sequential):  # which runs what it holds by itself
            place.register_forward_hook(_through)
    added_names = tuple(
        f"{name}.{NAME}.{part}"
        for name in found
        for part, _ in network.get_submodule(f"{name}.{NAME}").named_parameters()
    )
    return Change(added_names)


def without_places(network: nn.Module, options: StrategyOptions) -> str:
    """Why there is no place for an adapter."""
    return "" if _places(network) else "its layers have no sub-layers that are known by name"


def _through(place: Any, args: Any, output: Tensor) -> Tensor:
    return place.adapter(output)


def _places(network: nn.Module) -> dict[str, tuple[int, bool]]:
    """Names of modules whose output goes through an adapter; its width, and whether it is a map."""
    found: dict[str, tuple[int, bool]] = {}
    for layer in find_layers(network):
        inner = _linear_places(layer) or _blocks(layer)
        for name, place in inner.items():
            found[f"{layer.body_name}.{name}".rstrip(".")] = place
    return found


def _linear_places(layer: Layer) -> dict[str, tuple[int, bool]]:
    names = attention_outputs(layer) + feed_forward_outputs(layer)
    return {name: (layer.body.get_submodule(name).out_features, False) for name in names}  # type: ignore[misc]


def _blocks(layer: Layer) -> dict[str, tuple[int, bool]]:
    """Blocks that end in a convolution: the last one that is not depthwise tells the width."""
    widths = {
        name: module.out_channels
        for name, module in layer.body.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1
    }
    found: dict[str, tuple[int, bool]] = {}
    for unit in units(layer):
        inside = [width for n, width in widths.items() if not unit or n.startswith(unit + ".")]
        if inside:
            found[unit] = (inside[-1], True)
    return found
