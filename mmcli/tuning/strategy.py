"""A strategy on a network: which parameters learn, how they thaw, what is saved of them.

Networks are changed in place, since encoders hold references to them. Names on disk are those of a
network whose layers are not wrapped. Knows nothing about encoders, losses or optimisers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import load_attribute
from mmcli.tuning.change import Change
from mmcli.tuning.layers import Layer, find_layers, plain_name
from mmcli.tuning.options import StrategyOptions
from mmcli.tuning.registry import STRATEGIES, StrategySpec
from mmcli.tuning.selection import thawed

__all__ = ["StrategyOptions", "Tuned", "apply", "fitting", "restore"]
#: Says, on a network that something was added to, by which strategy.
_MARK = "_tuned_by"


def count_numbers(network: nn.Module, learned: Iterable[str]) -> tuple[int, int]:
    """How many numbers the learned of its parameters hold, and how many there are in all."""
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    return sum(sizes[name] for name in learned), sum(sizes.values())


@dataclass
class Tuned:
    """A network that a strategy was applied to.

    trainable: names in `named_parameters()` of what learns; everything else is frozen. differs:
    of the tensors that are not (or will not be) those of the base.
    """

    spec: StrategySpec
    network: nn.Module
    change: Change
    layers: tuple[Layer, ...]
    trainable: tuple[str, ...]
    differs: tuple[str, ...]

    @property
    def mergeable(self) -> bool:
        """Whether `merge` can be called."""
        return self.change.merge is not None or not self.spec.adapter

    @property
    def counts(self) -> tuple[int, int]:
        """How many numbers learn, and how many there are in all."""
        return count_numbers(self.network, self.trainable)

    def at_epoch(self, epoch: int, epochs: int) -> None:
        """Freeze what has not thawed in this epoch, from 0, of so many; `gradual` alone does."""
        groups = self.change.groups
        if not groups:
            return
        learns = {n for group in groups[: thawed(epoch, epochs, len(groups))] for n in group}
        known = set(self.trainable)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in learns and name in known)

    def keep_used(self, *outputs: Tensor) -> None:
        """Freeze, and claim no more, what these outputs of the network do not depend on.

        A pooler that nothing reads, for one. outputs: of one forward pass with gradients.
        """
        named = dict(self.network.named_parameters())
        names = [name for name in self.trainable if named[name].requires_grad]
        if not names:
            return
        total = torch.stack([output.float().sum() for output in outputs]).sum()
        found = torch.autograd.grad(total, [named[name] for name in names], allow_unused=True)
        idle = {name for name, grad in zip(names, found, strict=True) if grad is None}
        for name in idle:
            named[name].requires_grad_(False)
        self.trainable = tuple(name for name in self.trainable if name not in idle)
        self.differs = tuple(name for name in self.differs if name not in idle)

    def merge(self) -> None:
        """Write what was added into the network's own weights, and take it out.

        Afterwards the network is a plain one, nothing of it learns, and `state` has the weights
        that are others now. Raises UsageError for what has no place in them.
        """
        if not self.mergeable:
            raise UsageError(
                f"what the strategy `{self.spec.name}` adds cannot be merged into its base",
                f"keep the tower as it is, or tune with one that can be merged: {_merging()}",
            )
        if self.change.merge is not None:
            self.differs = self.change.merge()
            self.change = Change(())
            if hasattr(self.network, _MARK):
                delattr(self.network, _MARK)
        self.network.requires_grad_(False)
        self.trainable = ()

    def state(self) -> dict[str, Tensor]:
        """The tensors that differ from the base, on the CPU, by the names they have on disk."""
        named = dict(self.network.named_parameters())
        return {
            plain_name(name, self.layers): named[name].detach().cpu().clone().contiguous()
            for name in self.differs
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors of `state`.

        Raises BadInput for a tensor that the strategy does not have, has otherwise, or misses.
        """
        known = {plain_name(n, self.layers): p for n, p in self.network.named_parameters()}
        mine = {plain_name(name, self.layers) for name in self.differs}
        for name, value in state.items():
            if name not in mine:
                raise self._misfit(f"it has `{name}`, which the tower has not")
            if value.shape != known[name].shape:
                shapes = f"{tuple(value.shape)}, not {tuple(known[name].shape)}"
                raise self._misfit(f"its `{name}` is of shape {shapes}")
        missing = sorted(mine - set(state)) if self.spec.adapter else []
        if missing:
            raise self._misfit(f"it lacks `{missing[0]}`")
        with torch.no_grad():
            for name, value in state.items():
                known[name].copy_(value)

    def save_peft(self, folder: Path, base_name: str) -> None:
        """Write a folder that `peft.PeftModel.from_pretrained(base, folder)` reads.

        base_name: what the base is called, or its folder. Raises UsageError for strategies that
        peft has no such folder of.
        """
        if self.change.peft is None:
            able = [f"`{spec.name}`" for spec in STRATEGIES if spec.peft]
            raise UsageError(
                f"the strategy `{self.spec.name}` cannot be written as a PEFT folder",
                f"{', '.join(able)} can, before they are merged",
            )
        from mmcli.tuning.peft_folder import write

        write(folder, self.network, self.change.peft, self.layers, base_name)

    def _misfit(self, reason: str) -> BadInput:
        return BadInput(
            f"the saved weights do not fit strategy `{self.spec.name}` on this tower: {reason}",
            "they belong to another base, or were saved with other options",
        )


def apply(
    name: str, network: nn.Module, options: StrategyOptions | None = None, *, label: str = ""
) -> Tuned:
    """Freeze a network but for what a strategy trains; adapters are put into it, in place.

    label: what the network is called in messages. New weights are drawn from torch's own generator.
    Raises UsageError, naming the strategies that fit, where this one does not.
    """
    spec = STRATEGIES.get(name)
    options = options or StrategyOptions()
    called = label or type(network).__name__
    earlier = getattr(network, _MARK, "")
    if earlier:
        hint = "merge that into its base first"
        if not STRATEGIES.get(earlier).merges:
            hint = f"go on with `{earlier}`, or tune it with one that can be merged: {_merging()}"
        raise UsageError(f"`{called}` has been tuned by `{earlier}` already", hint)
    reason = _obstacle(spec, network, options)
    if reason:
        able = fitting(network, options)
        raise UsageError(
            f"the strategy `{name}` does not fit `{called}`: {reason}",
            f"these do: {', '.join(able)}",
        )
    layers = find_layers(network)
    network.requires_grad_(False)
    change: Change = load_attribute(spec.apply)(network, options)
    chosen = set(change.trainable)
    for parameter_name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter_name in chosen)
    if spec.adapter:
        setattr(network, _MARK, name)
    _hold_statistics(network)
    return Tuned(spec, network, change, layers, change.trainable, change.trainable)


def restore(
    network: nn.Module,
    name: str,
    options: StrategyOptions,
    state: Mapping[str, Tensor],
    *,
    label: str = "",
) -> Tuned:
    """Apply a strategy to a fresh base network and give it the tensors that were saved.

    What was merged is restored as `full`. Raises BadInput where the tensors do not fit.
    """
    tuned = apply(name, network, options, label=label)
    tuned.load(state)
    return tuned


def fitting(network: nn.Module, options: StrategyOptions | None = None) -> list[str]:
    """Names of the strategies that fit a network."""
    options = options or StrategyOptions()
    return [spec.name for spec in STRATEGIES if not _obstacle(spec, network, options)]


def _merging() -> str:
    return ", ".join(spec.name for spec in STRATEGIES if spec.merges)


def _obstacle(spec: StrategySpec, network: nn.Module, options: StrategyOptions) -> str:
    """Why a strategy does not fit, "" where it does."""
    return str(load_attribute(spec.check)(network, options)) if spec.check else ""


def _hold_statistics(network: nn.Module) -> None:
    """Batch normalisation keeps the statistics of pre-training, whatever mode the network is in."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            if _in_evaluation not in module._forward_pre_hooks.values():
                module.register_forward_pre_hook(_in_evaluation)


def _in_evaluation(module: Any, args: Any) -> None:
    module.eval()
