"""How the vectors of two modalities lie in one space. Pure numpy, on unit vectors."""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
#: Rows of a block of distances: with 8,192 others it takes 8 MB.
_ROWS = 256


def alignment(left: Vectors, right: Vectors) -> float:
    """Mean squared distance of matched rows `(pairs, dim)`: 0 when they coincide, at most 4.

    Source: Wang and Isola 2020, arXiv 2005.10242, with alpha = 2.
    """
    apart = left.astype(np.float64) - right
    return float((apart * apart).sum(axis=1).mean())


def uniformity(vectors: Vectors) -> float:
    """Logarithm of the mean of exp(-2 d²) over all pairs of different rows `(rows, dim)`.

    0 when all coincide; the lower, the more evenly they spread over the sphere; NaN for one row.
    Source: Wang and Isola 2020, arXiv 2005.10242, with t = 2.
    """
    n = len(vectors)
    if n < 2:
        return float("nan")
    total = 0.0
    for start in range(0, n, _ROWS):
        block = vectors[start : start + _ROWS]
        # d² = 2 - 2 cos for unit vectors, so -2 d² = 4 cos - 4
        potential = block @ vectors.T
        potential *= 4
        potential -= 4
        np.exp(np.minimum(potential, 0, out=potential), out=potential)
        np.fill_diagonal(potential[:, start:], 0)  # a row and itself are no pair
        total += float(potential.sum(dtype=np.float64))
    return float(np.log(total / (n * (n - 1))))


def modality_gap(left: Vectors, right: Vectors) -> float:
    """Distance of the two modalities' mean vectors. Source: Liang et al. 2022, arXiv 2203.02053."""
    apart = left.mean(axis=0, dtype=np.float64) - right.mean(axis=0, dtype=np.float64)
    return float(np.linalg.norm(apart))
