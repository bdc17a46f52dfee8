"""Exact Shapley values: what each player adds to a score, over all orders in which they may join.

    phi_i = sum over S without i of |S|! (M - |S| - 1)! / M! (v(S + i) - v(S))

They sum to v(all) - v(none). Source: Shapley 1953. Pure numpy; knows nothing about models.
"""

from collections.abc import Mapping
from math import factorial

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def subsets(players: int) -> list[tuple[int, ...]]:
    """Every subset of players 0 … M - 1, the empty one first, then by size."""
    found = [tuple(i for i in range(players) if bits >> i & 1) for bits in range(1 << players)]
    return sorted(found, key=lambda s: (len(s), s))


def shapley_values(values: Mapping[tuple[int, ...], Floats], players: int) -> Floats:
    """`(players, ...)` from the value of every subset, each an array of one shape."""
    whole = np.asarray(values[()], np.float64)
    found = np.zeros((players, *whole.shape))
    for subset in subsets(players):
        size = len(subset)
        if size == players:
            continue
        weight = factorial(size) * factorial(players - size - 1) / factorial(players)
        base = np.asarray(values[subset], np.float64)
        for player in range(players):
            if player not in subset:
                more = tuple(sorted((*subset, player)))
                found[player] += weight * (np.asarray(values[more], np.float64) - base)
    return found
