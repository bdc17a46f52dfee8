"""Token, patch and frame sequences as a model takes them: shortened where too long, padded, masked.

Plain numpy. Knows nothing about models.
"""

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.float32]
#: Tokens at most: a pair costs the product of both lengths.
LONGEST = 256


def grid_side(lengths: Sequence[int]) -> int:
    """The side of a square grid when every sequence is one of that size, else 0."""
    known = set(lengths) - {0}
    if len(known) != 1:
        return 0
    (length,) = known
    side = isqrt(length)
    return side if side > 1 and side * side == length else 0


def shortened(tokens: Tokens, grid: bool, most: int = LONGEST) -> Tokens:
    """At most so many tokens `(length, dim)`: means over neighbours, of a grid over cells."""
    if len(tokens) <= most:
        return tokens
    if not grid:
        return _means(tokens, most)
    side, kept = isqrt(len(tokens)), isqrt(most)
    rows = _means(tokens.reshape(side, -1), kept).reshape(kept, side, -1)
    columns = _means(rows.swapaxes(0, 1).reshape(side, -1), kept).reshape(kept, kept, -1)
    return np.ascontiguousarray(columns.swapaxes(0, 1).reshape(kept * kept, -1))


def padded(sequences: Sequence[Tokens], dim: int) -> tuple[Tokens, NDArray[np.bool_]]:
    """float32 `(batch, longest, dim)`, zeros behind the end, and which tokens are real.

    A sequence without any tokens counts as one of zeros.
    """
    longest = max([1, *(len(tokens) for tokens in sequences)])
    values = np.zeros((len(sequences), longest, dim), np.float32)
    real = np.zeros((len(sequences), longest), bool)
    for i, tokens in enumerate(sequences):
        values[i, : len(tokens)] = tokens
        real[i, : max(1, len(tokens))] = True
    return values, real


def _means(values: Tokens, count: int) -> Tokens:
    """Means over runs of rows, as equal as can be."""
    edges = np.linspace(0, len(values), count + 1).round().astype(np.intp)
    sums = np.add.reduceat(values, edges[:-1], axis=0, dtype=np.float32)
    found: Tokens = sums / np.diff(edges)[:, None].astype(np.float32)
    return found
