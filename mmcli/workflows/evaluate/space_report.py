"""How two modalities lie in their space: the diagnostics of an evaluation's report."""

from typing import Any

import numpy as np

from mmcli.metrics.space import alignment, modality_gap, uniformity
from mmcli.workflows.evaluate.vectors import Side

#: Rows of each side beyond which a seeded sample stands for all: 67 million distances.
MOST_ROWS = 8192


def diagnose(query: Side, target: Side, seed: int) -> dict[str, Any]:
    """alignment over rows with both parts, uniformity of each side, and the modality gap.

    Beyond `MOST_ROWS` rows of a side a sample is taken; `rows` says how many were used.
    """
    rng = np.random.default_rng(seed)
    sides = {side.name: _sample(len(side.rows), rng) for side in (query, target)}
    report: dict[str, Any] = {
        "uniformity": {
            side.name: uniformity(side.vectors[sides[side.name]]) for side in (query, target)
        },
        "rows": {name: len(rows) for name, rows in sides.items()},
    }
    if query.name != target.name:
        _, left, right = np.intersect1d(query.rows, target.rows, return_indices=True)
        both = _sample(len(left), rng)
        report["alignment"] = (
            alignment(query.vectors[left[both]], target.vectors[right[both]])
            if len(both)
            else float("nan")
        )
        report["modality_gap"] = modality_gap(query.vectors, target.vectors)
        report["rows"]["pairs"] = len(both)
    return report


def _sample(n: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int64]]:
    if n <= MOST_ROWS:
        return np.arange(n)
    return np.sort(rng.choice(n, MOST_ROWS, replace=False))
