"""Layer-wise learning rates: the lower a parameter lies, the slower it learns.

Knows nothing about optimisers.
"""

from torch import nn

from mmcli.core.errors import UsageError
from mmcli.tuning.layers import depths, find_layers


def layer_rates(network: nn.Module, decay: float) -> dict[str, float]:
    """Multiples of the learning rate, by name of every parameter.

    1 for what comes after the layers, decay for the top layer, decay^n for the lowest of n, and
    decay^(n + 1) for the embeddings below them; 1 for all where there are no layers. Raises
    UsageError for a decay outside (0, 1].
    Sources: Howard and Ruder 2018, arXiv 1801.06146; Bao et al. 2021, arXiv 2106.08254.
    """
    if not 0 < decay <= 1:
        raise UsageError(f"`--layer-decay` is {decay:g}", "give a number above 0, at most 1")
    layers = len(find_layers(network))
    return {
        name: decay ** (layers + 1 - at) if layers else 1.0 for name, at in depths(network).items()
    }
