"""Where in a layer something can be added: found by the names that Transformers give their parts.

Knows nothing about what is added.
"""

from torch import nn

from mmcli.tuning.layers import Layer, linear_maps

#: What makes keys and values. Where one map makes queries too, they are scaled with the rest, which
#: comes to the same as a scale on the keys.
_KEYS_AND_VALUES = frozenset(
    {"k_proj", "v_proj", "key", "value", "k", "v", "k_lin", "v_lin"}
    | {"qkv", "qkv_proj", "Wqkv", "query_key_value", "in_proj"}
)
#: What writes the outcome of attention, and of the feed-forward block, into the residual stream.
_ATTENTION_OUT = (
    "attention.output.dense",
    "attention.dense",
    "attn.proj",
    "attn.Wo",
    "out_proj",
    "o_proj",
    "out_lin",
    "o",
)
_FEED_FORWARD_OUT = (
    "output.dense",
    "output_dense",
    "ffn_output",
    "down_proj",
    "mlp.Wo",
    "fc2",
    "lin2",
    "wo",
    "w2",
)


def keys_and_values(layer: Layer) -> list[str]:
    """Names, within the layer's body, of the maps that make keys and values."""
    return [n for n in linear_maps(layer) if n.rpartition(".")[2] in _KEYS_AND_VALUES]


def feed_forward_outputs(layer: Layer) -> list[str]:
    """Names of the second maps of feed-forward blocks."""
    attention = set(attention_outputs(layer))
    return [n for n in _ending(layer, _FEED_FORWARD_OUT) if n not in attention]


def attention_outputs(layer: Layer) -> list[str]:
    """Names of the maps behind attention."""
    return _ending(layer, _ATTENTION_OUT)


def convolutions(layer: Layer) -> list[str]:
    """Names of the convolutions that are not depthwise."""
    return [n for n, module in linear_maps(layer).items() if isinstance(module, nn.Conv2d)]


def units(layer: Layer) -> list[str]:
    """Names of the blocks within a stage; "" for a layer that is one block itself."""
    children = list(layer.body.named_children())
    for name, child in children:  # a stage of timm that holds its blocks beside a downsampling
        if isinstance(child, nn.Sequential) and name == "blocks":
            return [f"{name}.{inner}" for inner, _ in child.named_children()]
    if isinstance(layer.body, nn.Sequential):
        return [name for name, _ in children]
    return [""]


def _ending(layer: Layer, ends: tuple[str, ...]) -> list[str]:
    return [
        name
        for name, module in linear_maps(layer).items()
        if isinstance(module, nn.Linear)
        and any(name == end or name.endswith("." + end) for end in ends)
    ]
