"""Cuts rows into batches so that a row's bytes never depend on its neighbours.

The length a row is padded to is a function of that row alone (`bucket`), and how many rows share a
batch was seen not to change a row's bits once the encoder pads tiny batches. Knows nothing about
models or shards.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from mmcli.core.types import Prepared


def bucket(length: int) -> int:
    """The padded length of a row: its own up to 64, then steps of 8 up to 256 and of 64 beyond.

    Where most texts are, rows of one length fill batches by themselves and nothing is padded or
    masked; longer rows share a length so that batches do not get small.
    """
    step = 1 if length <= 64 else 8 if length <= 256 else 64
    return max(1, -(-length // step) * step)


def cut(rows: Sequence[Prepared], budget: int, most: int | None = None) -> Iterator[list[int]]:
    """Positions of `rows`, a batch at a time: equal padded length, rows x length <= budget.

    most: the largest number of rows in a batch. Batches come in order of length, rows within a
    length in their own order.
    """
    order = sorted(range(len(rows)), key=lambda i: bucket(rows[i].length))
    for length, group in groupby(order, key=lambda i: bucket(rows[i].length)):
        members = list(group)
        size = max(1, budget // length)
        if most is not None:
            size = min(size, most)
        for start in range(0, len(members), size):
            yield members[start : start + size]


def padded_length(rows: Sequence[Prepared]) -> int:
    """The length that a batch made by `cut` is padded to."""
    return bucket(rows[0].length)
