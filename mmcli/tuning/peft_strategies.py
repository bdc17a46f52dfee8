"""lora, dora and ia3, by the library peft, put into a network in place.

Every linear map of the layers is adapted by lora and dora (of convolutional networks: every
convolution that is not depthwise); ia3 scales keys, values and the inside of feed-forward blocks.
Sources: Hu et al. 2021, arXiv 2106.09685; Liu et al. 2024, arXiv 2402.09353; Liu et al. 2022,
arXiv 2205.05638.
"""

import warnings
from functools import partial
from typing import Any

import torch
from torch import nn

from mmcli.engine.torch_stack import load_transformers
from mmcli.tuning.change import Change, PeftPlan
from mmcli.tuning.layers import find_layers, linear_maps
from mmcli.tuning.options import StrategyOptions
from mmcli.tuning.sites import convolutions, feed_forward_outputs, keys_and_values


def lora(network: nn.Module, options: StrategyOptions) -> Change:
    """B A beside every map; B begins as zeros, so nothing changes at first."""
    return _injected(network, _low_rank(network, options, dora=False))


def dora(network: nn.Module, options: StrategyOptions) -> Change:
    """lora on directions, with the length of each row of the map as a parameter of its own."""
    return _injected(network, _low_rank(network, options, dora=True))


def ia3(network: nn.Module, options: StrategyOptions) -> Change:
    """Scales, which begin as ones."""
    return _injected(network, _scales(network))


def without_maps(network: nn.Module, options: StrategyOptions) -> str:
    """Why there is nothing to adapt."""
    return "" if _maps(network) else "its layers have no linear maps"


def without_scales(network: nn.Module, options: StrategyOptions) -> str:
    """Why there is nothing to scale."""
    return "" if _scales(network).targets else "its layers have no keys and values"


def _maps(network: nn.Module) -> tuple[str, ...]:
    return tuple(
        f"{layer.body_name}.{name}" for layer in find_layers(network) for name in linear_maps(layer)
    )


def _low_rank(network: nn.Module, options: StrategyOptions, dora: bool) -> PeftPlan:
    settings: dict[str, object] = {
        "r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": options.dropout,
        "use_dora": dora,
    }
    return PeftPlan("LORA", _maps(network), settings)


def _scales(network: nn.Module) -> PeftPlan:
    outputs: list[str] = []
    inputs: list[str] = []
    for layer in find_layers(network):
        start = layer.body_name + "."
        outputs += [start + name for name in keys_and_values(layer) or convolutions(layer)]
        inputs += [start + name for name in feed_forward_outputs(layer)]
    return PeftPlan("IA3", (*outputs, *inputs), {"feedforward_modules": inputs})


def peft_config(plan: PeftPlan) -> Any:
    """peft's own configuration of a plan."""
    load_transformers()
    import peft

    kind = {"LORA": peft.LoraConfig, "IA3": peft.IA3Config}[plan.kind]
    return kind(target_modules=list(plan.targets), **plan.settings)


def _injected(network: nn.Module, plan: PeftPlan) -> Change:
    config = peft_config(plan)
    import peft

    before = {name for name, _ in network.named_parameters()}
    was = network.training
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about models that it does not know by name
        peft.inject_adapter_in_model(config, network)
    network.train(was)
    base = {name.replace(".base_layer.", ".") for name in before}
    added = tuple(
        name
        for name, _ in network.named_parameters()
        if name.replace(".base_layer.", ".") not in base
    )
    return Change(added, merge=partial(_merge, network), peft=plan)


def _merge(network: nn.Module) -> tuple[str, ...]:
    """Write every adapter into the map that it adapts, and put that map back in its place."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = {n: m for n, m in network.named_modules() if isinstance(m, BaseTunerLayer)}
    changed: list[str] = []
    for name, module in adapted.items():
        base = module.get_base_layer()
        before = {part: p.detach().clone() for part, p in base.named_parameters()}
        with torch.no_grad():
            module.merge()
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, base)
        changed += [
            f"{name}.{part}"
            for part, p in base.named_parameters()
            if not torch.equal(p, before[part])
        ]
    if hasattr(network, "peft_config"):
        del network.peft_config
    return tuple(changed)
