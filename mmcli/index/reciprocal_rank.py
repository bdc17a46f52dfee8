"""Rankings of several kinds made one, by the reciprocals of their ranks.

Needs no scores, so what is fused may be measured in anything. Knows nothing about where the
rankings come from.
"""

from collections.abc import Sequence

#: The constant of Cormack, Clarke and Büttcher 2009, who introduced this fusion (SIGIR '09).
CONSTANT = 60


def fuse(rankings: Sequence[Sequence[int]], constant: int = CONSTANT) -> list[tuple[int, float]]:
    """Rows and their sums of 1 / (constant + rank), best first; ties in the order of rows."""
    sums: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, 1):
            sums[row] = sums.get(row, 0.0) + 1 / (constant + rank)
    return sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))
