"""Mean and scale of coordinates, for networks and linear maps that read them standardised.

Knows nothing about what the coordinates are: embeddings, whose spreads are alike, or columns that a
user imported, of which one may vary a thousand times as much as another.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A coordinate that varies less than this share of the middle one is not blown up to size one.
LEAST_SHARE = 0.01


def standard_scale(x: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and scale `(dim,)` of the rows of `x` `(rows, dim)`; a scale is never zero.

    A coordinate's scale is its deviation, but at least a hundredth of the median deviation, so that
    a constant one stays small. The median and not the mean square, which a few columns of large
    numbers would decide for all others.
    """
    wide = np.asarray(x, np.float64)
    deviation = wide.std(axis=0)
    varying = deviation[deviation > 0]
    typical = float(np.median(varying)) if len(varying) else 1.0
    scale = np.maximum(deviation, LEAST_SHARE * typical)
    return wide.mean(axis=0).astype(np.float32), scale.astype(np.float32)
