"""The sizes of what a strategy adds to a network. Knows nothing about networks."""

from dataclasses import dataclass

from mmcli.core.errors import UsageError


@dataclass(frozen=True)
class StrategyOptions:
    """Sizes, each read by the strategies that have such a thing.

    last_n: layers that `last-n` trains. rank, alpha: of `lora` and `dora`, whose update is
    alpha / rank times B A. dropout: on what goes into A. bottleneck: width of `adapters`.
    prompts: tokens that each layer of `prompts` gets.
    """

    last_n: int = 2
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    bottleneck: int = 32
    prompts: int = 8

    def __post_init__(self) -> None:
        for name in ("last_n", "rank", "bottleneck", "prompts"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise UsageError(f"`--{option}` is {getattr(self, name)}", "give 1 or more")
        if not self.alpha > 0:
            raise UsageError(f"`--alpha` is {self.alpha:g}", "give a number above 0")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"`--dropout` is {self.dropout:g}", "give 0 or more, and less than 1")
