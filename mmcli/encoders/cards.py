"""What every family does alike with a card and a pooled vector. Knows no model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmcli.core.errors import UsageError
from mmcli.core.types import EncoderCard, Output
from mmcli.encoders.catalogue import MINILM_SPACE
from mmcli.encoders.hub import Folder
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.weights import folder_sha256, weight_files
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


def mean_over_windows(
    windows: Sequence[Sequence[Mapping[int | None, Any]]],
    options: EncoderOptions,
    sequence: bool,
    layer: int | None,
) -> Output:
    """The mean over all states of each row, and the states themselves where `sequence`.

    windows: for each row, states `(length, dim)` by layer of each piece that it was cut into.
    """
    torch = load_torch()
    rows = [torch.cat([window[layer].float() for window in row]) for row in windows]
    pooled = torch.stack([states.mean(dim=0) for states in rows])
    dim = None if layer is not None else options.dim
    return Output(finished(pooled, dim, False), rows if sequence else None)


def shared_card(resolved: ResolvedEncoder, found: Folder, family: str, dim: int) -> EncoderCard:
    """The card of a tower that shares a space `dim` wide with others, before it says more."""
    sha256 = folder_sha256(weight_files(found.path))
    return EncoderCard(
        name=resolved.name,
        modality=resolved.modality,
        dim=dim,
        normalized=True,
        space=space_of(family, sha256),
        weights_sha256=sha256,
        revision=found.revision,
    )
