"""What every family does alike with a card and a pooled vector. Knows no model."""

from dataclasses import replace
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.core.types import EncoderCard
from mmcli.encoders.catalogue import MINILM_SPACE
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.torch_stack import load_torch

#: Weights whose space has a name of its own, wherever they were read from.
_KNOWN_SPACES = {MINILM_SPACE.partition("@")[2]: MINILM_SPACE}


def space_of(name: str, weights_sha256: str) -> str:
    """`NAME@` and the first 12 hex digits, one name for weights that are known by hash."""
    digits = weights_sha256[:12]
    return _KNOWN_SPACES.get(digits, f"{name}@{digits}")


def narrowed(card: EncoderCard, options: EncoderOptions) -> EncoderCard:
    """The card with `--dim` applied. Raises UsageError when the encoder has fewer dimensions."""
    if options.dim is None or options.dim == card.dim:
        return card
    if not 1 <= options.dim <= card.dim:
        raise UsageError(
            f"`--dim {options.dim}`: {card.name} has {card.dim} dimensions",
            f"use 1 to {card.dim}",
        )
    return replace(card, dim=options.dim)


def finished(pooled: Any, dim: int | None, normalized: bool) -> Any:
    """Pooled vectors as float32, cut to `dim`, of length 1 where the card says so.

    Zero vectors stay zero.
    """
    torch = load_torch()
    pooled = pooled.float()
    if dim is not None:
        pooled = pooled[:, :dim]
    return torch.nn.functional.normalize(pooled, dim=-1) if normalized else pooled
