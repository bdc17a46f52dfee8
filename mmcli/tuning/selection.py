"""Strategies that add nothing: they choose which of a network's own parameters learn."""

from torch import nn

from mmcli.tuning.change import Change
from mmcli.tuning.layers import depths, find_layers
from mmcli.tuning.options import StrategyOptions


def full(network: nn.Module, options: StrategyOptions) -> Change:
    """Every parameter."""
    return Change(tuple(name for name, _ in network.named_parameters()))


def probe(network: nn.Module, options: StrategyOptions) -> Change:
    """None."""
    return Change(())


def last_n(network: nn.Module, options: StrategyOptions) -> Change:
    """The last layers, all of them where there are fewer, and what comes after them."""
    depth = depths(network)
    lowest = max(1, len(find_layers(network)) - options.last_n + 1)
    return Change(tuple(name for name, at in depth.items() if at >= lowest))


def gradual(network: nn.Module, options: StrategyOptions) -> Change:
    """Every parameter; the top layer and what comes after it thaw first, the embeddings last.

    Source: Howard and Ruder 2018, arXiv 1801.06146, section 3.3.
    """
    depth = depths(network)
    top = len(find_layers(network))
    groups = [tuple(n for n, at in depth.items() if min(at, top) == k) for k in range(top, -1, -1)]
    return Change(tuple(depth), groups=tuple(group for group in groups if group))


def bitfit(network: nn.Module, options: StrategyOptions) -> Change:
    """The biases of linear maps, convolutions and normalisations.

    Source: Ben Zaken, Ravfogel and Goldberg 2021, arXiv 2106.10199.
    """
    return Change(_biases(network))


def without_layers(network: nn.Module, options: StrategyOptions) -> str:
    """Why a network has no layers to choose from."""
    return "" if find_layers(network) else "it has no layers one above the other"


def without_biases(network: nn.Module, options: StrategyOptions) -> str:
    """Why there is no bias to train."""
    return "" if _biases(network) else "it has no biases"


def thawed(epoch: int, epochs: int, groups: int) -> int:
    """How many groups learn in this epoch (from 0): one more each epoch, all in the last.

    Where there are fewer epochs than groups, several thaw at once.
    """
    return min(groups, max(epoch + 1, -(-groups * (epoch + 1) // max(1, epochs))))


def _biases(network: nn.Module) -> tuple[str, ...]:
    return tuple(
        name
        for name, parameter in network.named_parameters()
        if name.rpartition(".")[2].endswith("bias") and parameter.ndim == 1
    )
