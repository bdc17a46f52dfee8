"""What a strategy has done to a network. Knows nothing about any strategy."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class PeftPlan:
    """How the library peft is told of an adapter: kind `LORA` or `IA3`, and its settings.

    targets: names of the modules that are adapted; settings: the rest of the configuration.
    """

    kind: str
    targets: tuple[str, ...]
    settings: dict[str, object]


@dataclass(frozen=True)
class Change:
    """Names, as in `named_parameters`, of what learns.

    groups: of gradual unfreezing, the first to thaw first. merge: writes what was added into the
    network's own weights, takes it out, and gives the names of the weights that are others now.
    """

    trainable: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...] = ()
    merge: Callable[[], tuple[str, ...]] | None = None
    peft: PeftPlan | None = None
