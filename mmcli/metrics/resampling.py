"""Bootstrap of any measure that can be computed from rows and how often each row counts.

`statistics.py` holds what is faster for plain means. Knows nothing about the measures.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from mmcli.metrics.statistics import Groups, Values, draws, interval

#: From how often each row counts, `(rows,)`, to the measures by name.
Measure = Callable[[Values], Mapping[str, float]]


def row_weights(
    rows: int, resamples: int, seed: int = 0, groups: Groups | None = None
) -> Iterator[Values]:
    """How often each row was drawn, `(rows,)`, for one resample after the other.

    groups: `(rows,)` numbers from 0; whole groups are drawn. Yields nothing when there are fewer
    than two groups. Fewer resamples with the same seed are the first of more.
    """
    n_groups = rows if groups is None else int(groups.max(initial=-1)) + 1
    if n_groups < 2:
        return
    for block in draws(n_groups, resamples, seed):
        for weights in block:
            yield weights if groups is None else weights[groups]


def resampled(
    measure: Measure, rows: int, resamples: int, seed: int = 0, groups: Groups | None = None
) -> dict[str, Values]:
    """Each measure in each resample, `(resamples,)`; empty arrays with fewer than two groups."""
    found: dict[str, list[float]] = {name: [] for name in measure(np.ones(rows))}
    for weights in row_weights(rows, resamples, seed, groups):
        for name, value in measure(weights).items():
            found[name].append(value)
    return {name: np.array(values, np.float64) for name, values in found.items()}


def interval_where_defined(values: Values) -> tuple[float, float]:
    """The percentile interval of the resamples in which a measure exists.

    NaN when it exists in fewer than half of them: a class of one row, say, has no ROC curve in
    the third of the resamples that miss it.
    """
    known = values[~np.isnan(values)]
    if not len(known) or len(known) < len(values) / 2:
        return float("nan"), float("nan")
    return interval(known)
