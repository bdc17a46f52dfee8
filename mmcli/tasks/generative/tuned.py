"""Which weights of a vision-language model learn: `mmcli.tuning` on its parts, one model outside.

Three parts: `text`, the layers of the words; `image`, the tower that sees; `connector`, what leads
from there to the words. Knows nothing about data or losses.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion
from mmcli.engine.torch_stack import load_torch
from mmcli.tasks.generative.registry import Family
from mmcli.tuning.options import StrategyOptions
from mmcli.tuning.rates import layer_rates
from mmcli.tuning.registry import STRATEGIES
from mmcli.tuning.strategy import Tuned, apply, count_numbers

PARTS = ("text", "image", "connector")
FROZEN = "frozen"
DEFAULT = "lora"
#: They change how layers are called, which a folder of transformers or peft cannot say.
_NO_FOLDER = ("adapters", "prompts")


@dataclass
class TunedModel:
    """A network of which some weights learn.

    strategy: by part. learned: their names. parts: prefix and what was done there. rates: multiples
    of the learning rate, by name.
    """

    network: Any
    strategy: dict[str, str]
    learned: frozenset[str]
    parts: list[tuple[str, Tuned]] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> tuple[int, int]:
        """How many numbers learn, and how many there are in all."""
        return count_numbers(self.network, self.learned)

    @property
    def is_adapter(self) -> bool:
        """Whether all that learns is one adapter of peft, to be kept beside its base."""
        kinds = {tuned.spec.name for _, tuned in self.parts if tuned.change.peft is not None}
        added = {name for at, tuned in self.parts if tuned.change.peft for name in _of(at, tuned)}
        return len(kinds) == 1 and self.learned <= added

    def at_epoch(self, epoch: int, epochs: int) -> None:
        """Freeze what has not thawed yet in this epoch, from 0."""
        for _, tuned in self.parts:
            tuned.at_epoch(epoch, epochs)

    def drop_idle(self, loss: Any) -> None:
        """Claim no more what a loss does not depend on: a pooler that nothing reads, for one."""
        named = dict(self.network.named_parameters())
        names = sorted(self.learned)
        wanted = [named[name] for name in names]
        found = load_torch().autograd.grad(loss, wanted, allow_unused=True)
        for name, gradient in zip(names, found, strict=True):
            if gradient is None:
                named[name].requires_grad_(False)
                self.learned -= {name}
        for _, tuned in self.parts:  # so that nothing thaws again
            own = dict(tuned.network.named_parameters())
            kept = {id(named[name]) for name in self.learned}
            tuned.trainable = tuple(name for name in tuned.trainable if id(own[name]) in kept)

    def merge(self) -> None:
        """Write adapters into the weights that they adapt; nothing learns any more."""
        for _, tuned in self.parts:
            if tuned.spec.adapter:
                tuned.merge()
        self.network.requires_grad_(False)


def plan(strategy: Mapping[str, str], family: Family) -> dict[str, str]:
    """What is done with each part, from what the user said of some (`""`: of the words).

    By default the words learn by lora and the vision tower is frozen; the connector learns where
    the words' own weights do, or alone (`probe`). Raises UsageError for a part or strategy that
    there is not.
    """
    for part, name in strategy.items():
        if part and part not in PARTS:
            raise UsageError(
                f"`--strategy {part}={name}`: `{part}` is no part of a vision-language model",
                f"its parts are {', '.join(PARTS)}",
            )
        if name == FROZEN:
            continue
        if name in _NO_FOLDER:
            able = [spec.name for spec in STRATEGIES if spec.name not in _NO_FOLDER]
            raise UsageError(
                f"the strategy `{name}` does not fit a vision-language model: it has no form that"
                " transformers or peft reads",
                f"these do: {', '.join(able)}",
            )
        if name not in STRATEGIES:
            known = [*STRATEGIES.names(), FROZEN]
            raise UsageError(f"no tuning strategy is named `{name}`", suggestion(name, known))
    text = strategy.get("text") or strategy.get("") or DEFAULT
    image = strategy.get("image", FROZEN)
    follows = "full" if text in ("full", "probe", "gradual") and family.connector else FROZEN
    connector = strategy.get("connector", follows)
    if connector not in ("full", FROZEN):
        raise UsageError(
            f"`--strategy connector={connector}`: a connector has no layers to choose from",
            "it is `full` or `frozen`",
        )
    if connector == "full" and not family.connector:
        raise UsageError(
            f"`--strategy connector=full`: {family.name} has no connector",
            "its words look at the picture themselves: `--strategy text=full`",
        )
    found = {"text": text, "image": image, "connector": connector}
    if all(name in (FROZEN, "probe") for name in (text, image)) and connector == FROZEN:
        raise UsageError(f"nothing of {family.name} would learn", "as in `--strategy lora`")
    return found


def tune(
    network: Any,
    family: Family,
    strategy: Mapping[str, str],
    options: StrategyOptions,
    layer_decay: float = 1.0,
) -> TunedModel:
    """Freeze all but what a plan trains, in place. strategy: as `plan` gives it.

    Raises UsageError where a strategy does not fit a part.
    """
    vision, connector, words = _split(network, family)
    network.requires_grad_(False)
    parts: list[tuple[str, Tuned]] = []
    for part, names, modules in (
        ("text", words, _stacks(network, family.language)),
        ("image", vision, [name for name in family.vision if _has(network, name)]),
    ):
        chosen = strategy[part]
        if chosen == "full":
            _thaw(network, names)
        elif chosen not in (FROZEN, "probe"):
            for module in modules:
                label = f"the {part} part of {family.name} ({module})"
                parts.append(
                    (module, apply(chosen, network.get_submodule(module), options, label=label))
                )
    if strategy["connector"] == "full":
        _thaw(network, connector)
    known = {id(p): name for name, p in network.named_parameters()}
    learned = {name for name, p in network.named_parameters() if p.requires_grad}
    for _, tuned in parts:  # gradual thaws by and by
        own = dict(tuned.network.named_parameters())
        learned |= {known[id(own[name])] for name in tuned.trainable}
    rates = _rates(network, family, layer_decay, known) if layer_decay != 1 else {}
    return TunedModel(network, dict(strategy), frozenset(learned), parts, rates)


def write_adapter(model: TunedModel, folder: Path, base_name: str) -> None:
    """A folder that `peft.PeftModel.from_pretrained(base, folder)` reads, of all parts together."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    from mmcli.tuning.peft_strategies import peft_config

    tensors: dict[str, Any] = {}
    targets: list[str] = []
    settings: dict[str, Any] = {}
    for at, tuned in model.parts:
        change = tuned.change.peft
        assert change is not None
        found = get_peft_model_state_dict(tuned.network, save_embedding_layers=False)
        tensors |= {f"base_model.model.{at}.{name}": value for name, value in found.items()}
        targets += [f"{at}.{name}" for name in change.targets]
        for name, value in change.settings.items():  # lists name modules, the rest is alike
            if isinstance(value, list):
                settings[name] = [*settings.get(name, []), *(f"{at}.{one}" for one in value)]
            else:
                settings[name] = value
    first = model.parts[0][1].change.peft
    assert first is not None
    whole = replace(first, targets=tuple(targets), settings=settings)
    config = peft_config(whole)
    config.inference_mode = True
    config.base_model_name_or_path = base_name
    config.auto_mapping = {
        "base_model_class": type(model.network).__name__,
        "parent_library": type(model.network).__module__,
    }
    folder.mkdir(parents=True, exist_ok=True)
    told = {name: _plain(value) for name, value in config.to_dict().items()}
    text = json.dumps(told, indent=2, sort_keys=True)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
    kept = {n: v.detach().cpu().contiguous() for n, v in sorted(tensors.items())}
    save_file(kept, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def with_adapter(network: Any, folder: Path) -> Any:
    """The network with an adapter of peft put into it, in place."""
    import warnings

    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about models that it does not know by name
        return PeftModel.from_pretrained(network, str(folder)).get_base_model().eval()


def _split(network: Any, family: Family) -> tuple[list[str], list[str], list[str]]:
    """Names of the parameters that see, that connect, and of all others: the words."""
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name, _ in network.named_parameters():
        inside = [_under(name, family.connector), _under(name, family.vision)]
        found[1 if inside[0] else 0 if inside[1] else 2].append(name)
    return found


def _stacks(network: Any, modules: Sequence[str]) -> list[str]:
    """Modules with one stack of layers each: encoder and decoder of one that has both."""
    found = []
    for name in modules:
        if not _has(network, name):
            continue
        inner = [f"{name}.{stack}" for stack in ("encoder", "decoder")]
        found += inner if all(_has(network, one) for one in inner) else [name]
    return found


def _rates(
    network: Any, family: Family, decay: float, known: Mapping[int, str]
) -> dict[str, float]:
    """Layer-wise rates of each stack; 1 for what is in none."""
    found: dict[str, float] = {}
    for module in (*_stacks(network, family.language), *family.vision):
        part = network.get_submodule(module)
        own = dict(part.named_parameters())
        for name, rate in layer_rates(part, decay).items():
            found[known[id(own[name])]] = rate
    return found


def _thaw(network: Any, names: Sequence[str]) -> None:
    wanted = set(names)
    for name, parameter in network.named_parameters():
        if name in wanted:
            parameter.requires_grad_(True)


def _of(at: str, tuned: Tuned) -> set[str]:
    return {f"{at}.{name}" for name in tuned.trainable}


def _has(network: Any, name: str) -> bool:
    try:
        network.get_submodule(name)
    except AttributeError:
        return False
    return True


def _under(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == one or name.startswith(one + ".") for one in prefixes)


def _plain(value: Any) -> Any:
    """Sets as sorted lists, enumerations as their values."""
    return sorted(value) if isinstance(value, set) else getattr(value, "value", value)
