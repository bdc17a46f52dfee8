"""What a fusion is built from and what it gives: the two sides that every method meets.

Knows nothing about stores, labels or training. Standard library only; tensors by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Blueprint:
    """The sizes of a network.

    key_dims: for each modality, in the order of the columns of `present`, the widths of its keys;
    a pooled part is their vectors side by side, one level after the other where the keys are
    layers of an encoder. sequences: modalities that come as tokens, `(batch, length, dim)`, all of
    one key. tabular: the modality made of columns of a table, "" for none. n_outputs: classes,
    thresholds of an ordinal label, or 1 of a number. width: of every hidden vector.
    """

    key_dims: Mapping[str, tuple[int, ...]]
    n_outputs: int
    width: int = 128
    dropout: float = 0.1
    layers: int = 2
    heads: int = 4
    rank: int = 8
    sequences: frozenset[str] = frozenset()
    tabular: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the order of the columns of `present`."""
        return tuple(self.key_dims)

    def dim(self, modality: str) -> int:
        """The width of its vectors or tokens."""
        return sum(self.key_dims[modality])


class Fused(NamedTuple):
    """What a method makes of a batch.

    vector: the fused embedding `(batch, fused_dim)`. output: `(batch, n_outputs)` logits, or the
    standardised number. penalty: a loss of the method's own, a scalar, zero for most.
    """

    vector: "Tensor"
    output: "Tensor"
    penalty: "Tensor"


class Parted(NamedTuple):
    """A `Fused`, and what each modality says by itself.

    parts: `(batch, modalities, n_outputs)`; of an absent modality it means nothing. states:
    `(batch, modalities, width)`, what each of these outputs is a linear map of, as the fused one is
    of `vector`.
    """

    vector: "Tensor"
    output: "Tensor"
    penalty: "Tensor"
    parts: "Tensor"
    states: "Tensor"
