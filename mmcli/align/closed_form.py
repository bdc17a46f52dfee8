"""Maps between two sets of matched vectors that need no iteration: ridge, kernel, Procrustes, CCA.

Each takes x `(rows, dx)` and y `(rows, dy)` whose rows match, and gives arrays of a map in the form
of a tower's `linear` or `kernel` body. All in double precision. Knows nothing about towers,
modalities or how a setting is chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Map:
    """y ≈ x W + b; with landmarks z and gamma, y ≈ exp(-gamma |x - z|²) W + b."""

    weight: Matrix
    bias: Matrix
    landmarks: Matrix | None = None
    gamma: float = 0.0

    def __call__(self, x: Any) -> Matrix:
        """`(rows, dy)` of `(rows, dx)`."""
        x = np.asarray(x, np.float64)
        if self.landmarks is not None:
            x = np.exp(-self.gamma * squared_distances(x, self.landmarks))
        return x @ self.weight + self.bias


def ridge(x: Any, y: Any, penalties: Sequence[float]) -> list[Map]:
    """Least squares with a penalty on |W|², one map a penalty, from one decomposition.

    A penalty is in units of the mean squared length of a centred row, so that it means the same
    for any scale of x. Source: Hoerl & Kennard 1970, Technometrics 12(1).
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean_x, mean_y = x.mean(0), y.mean(0)
    xc, yc = x - mean_x, y - mean_y
    unit = max(float(np.square(xc).sum()) / len(x), 1e-12)
    by_rows = len(x) <= x.shape[1]
    values, vectors = np.linalg.eigh(xc @ xc.T if by_rows else xc.T @ xc)
    values = np.maximum(values, 0)
    right = vectors.T @ (yc if by_rows else xc.T @ yc)
    found = []
    for penalty in penalties:
        inner = vectors @ (right / (values + penalty * unit)[:, None])
        weight = xc.T @ inner if by_rows else inner
        found.append(Map(weight, mean_y - mean_x @ weight))
    return found


def kernel_ridge(
    x: Any, y: Any, penalties: Sequence[float], width: float, landmarks: Any
) -> list[Map]:
    """Ridge regression on a Gaussian kernel, one map a penalty.

    landmarks: rows of x that span the solution; all of them give the exact solution, fewer the
    Nyström one. width: gamma in units of 1 / median squared distance between landmarks. Source:
    Saunders, Gammerman & Vovk 1998 (ICML); Williams & Seeger 2001 (NIPS 13) for landmarks.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    z = np.asarray(landmarks, np.float64)
    among = squared_distances(z, z)
    apart = among[np.triu_indices(len(z), 1)]
    gamma = width / max(float(np.median(apart)) if len(apart) else 1.0, 1e-12)
    kernel = np.exp(-gamma * squared_distances(x, z))
    inner = np.exp(-gamma * among)
    mean_y = y.mean(0)
    # the trace of the centred kernel matrix a row, as for the linear map
    unit = max(1.0 - float(inner.mean()), 1e-12)
    gram, right = kernel.T @ kernel, kernel.T @ (y - mean_y)
    inner[np.diag_indices_from(inner)] += 1e-8
    return [
        Map(np.linalg.solve(gram + penalty * unit * inner, right), mean_y, z, gamma)
        for penalty in penalties
    ]


def procrustes(x: Any, y: Any) -> Map:
    """The best rotation (and one scale) of centred x onto centred y; of different widths too.

    Source: Schönemann 1966, Psychometrika 31(1).
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean_x, mean_y = x.mean(0), y.mean(0)
    xc, yc = x - mean_x, y - mean_y
    left, values, right = np.linalg.svd(xc.T @ yc, full_matrices=False)
    weight = (left @ right) * (values.sum() / max(float(np.square(xc).sum()), 1e-12))
    return Map(weight, mean_y - mean_x @ weight)


def cca(x: Any, y: Any, penalties: Sequence[float], dim: int) -> list[tuple[Map, Map]]:
    """Projections of x and of y to `dim` coordinates in which they correlate most.

    Each coordinate is weighed by its correlation, so that those that carry nothing count little.
    penalties: added to both covariances, in units of their mean variance; a pair of maps for each.
    Source: Hotelling 1936, Biometrika 28; Vinod 1976 for the penalty.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean_x, mean_y = x.mean(0), y.mean(0)
    cross = (x - mean_x).T @ (y - mean_y) / len(x)
    axes_x, axes_y = _principal_axes(x - mean_x), _principal_axes(y - mean_y)
    found = []
    for penalty in penalties:
        white_x, white_y = _whitening(*axes_x, penalty), _whitening(*axes_y, penalty)
        left, values, right = np.linalg.svd(white_x.T @ cross @ white_y, full_matrices=False)
        kept = min(dim, len(values))
        weighed = np.sqrt(np.minimum(values[:kept], 1.0))
        to_x = white_x @ left[:, :kept] * weighed
        to_y = white_y @ right[:kept].T * weighed
        found.append((Map(to_x, -mean_x @ to_x), Map(to_y, -mean_y @ to_y)))
    return found


def squared_distances(x: Matrix, z: Matrix) -> Matrix:
    """`(rows of x, rows of z)`, never below zero."""
    square = np.square(x).sum(1)[:, None] + np.square(z).sum(1)[None] - 2 * (x @ z.T)
    return np.asarray(np.maximum(square, 0))


def _principal_axes(centred: Matrix) -> tuple[Matrix, Matrix]:
    """Variances `(r,)` and axes `(d, r)` of the rows, by whichever product is smaller."""
    n, width = centred.shape
    by_rows = n <= width
    values, vectors = np.linalg.eigh((centred @ centred.T if by_rows else centred.T @ centred) / n)
    kept = values > 1e-10 * max(float(values[-1]), 1e-300)
    values, vectors = values[kept], vectors[:, kept]
    if by_rows:
        vectors = centred.T @ vectors / np.sqrt(n * values)
    return values, np.asarray(vectors)


def _whitening(variances: Matrix, axes: Matrix, penalty: float) -> Matrix:
    mean_variance = float(variances.sum()) / len(axes)
    return np.asarray(axes / np.sqrt(variances + penalty * mean_variance))
