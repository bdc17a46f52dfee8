"""Scores of several seeds as a mean and its interval: what one more seed might give.

Student's t at 95 %; with one seed there is a value and no interval.
"""

from collections.abc import Mapping, Sequence

import numpy as np

#: Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom; beyond, the normal's.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
      2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093)  # fmt: skip
_NORMAL = 1.96


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean and half the width of its 95 % interval; NaN for the width of one value."""
    n = len(values)
    if n < 2:
        return float(values[0]), float("nan")
    quantile = _T[n - 2] if n - 2 < len(_T) else _NORMAL
    return float(np.mean(values)), quantile * float(np.std(values, ddof=1)) / n**0.5


def averaged(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure, and with several runs `<measure> ±`."""
    found: dict[str, float] = {}
    for name in runs[0]:
        mean, half = mean_interval([run[name] for run in runs])
        found[name] = mean
        if len(runs) > 1:
            found[f"{name} ±"] = half
    return found
