"""What each modality is worth to a model: its score on every subset of them, and Shapley values.

A part that is left out is taken as absent from every row; with nothing left the model says what is
known of no row, the shares or the mean of the train rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmcli.core.errors import UsageError
from mmcli.fusion.inputs import Inputs
from mmcli.fusion.model import probabilities
from mmcli.fusion.objective import Objective
from mmcli.metrics.choice import Measure
from mmcli.metrics.shapley import shapley_values, subsets
from mmcli.workflows.fuse.fit import Contest

#: Modalities at most whose 2^M subsets are all looked at.
MOST_MODALITIES = 10


def subset_shares(
    network: Any,
    view: str,
    objective: Objective,
    inputs: Inputs,
    rows: Any,
    without: Sequence[str] = (),
) -> dict[tuple[int, ...], Any]:
    """Probabilities or values of the rows under every subset of modalities, the empty one too.

    without: modalities that are absent from all of them. Raises UsageError for more modalities
    than can be gone through.
    """
    names = inputs.names
    if len(names) > MOST_MODALITIES:
        raise UsageError(
            f"{len(names)} modalities have too many subsets", f"at most {MOST_MODALITIES}"
        )
    return {
        subset: probabilities(
            network,
            view,
            objective,
            inputs,
            rows,
            [n for i, n in enumerate(names) if i not in subset or n in without],
        )
        for subset in subsets(len(names))
    }


def worth(
    network: Any, contest: Contest, method: str, rows: Any, measure: Measure
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The score of every subset, and Shapley values of it.

    The values and that of `nothing` sum to the score of `all`. Both are empty where the modalities
    are too many.
    """
    names = contest.data.inputs.names
    if len(names) > MOST_MODALITIES:
        return [], {}
    view = contest.specs[method].view
    shares = subset_shares(network, view, contest.objective, contest.data.inputs, rows)
    truth, ones = contest.data.labels.values[rows], np.ones(len(rows))
    values = {
        subset: measure.value(truth, s, contest.objective.predicted(s), ones)
        for subset, s in shares.items()
    }
    found = shapley_values({s: np.asarray(v) for s, v in values.items()}, len(names))
    scores = [
        {"modalities": [names[i] for i in subset], measure.name: value}
        for subset, value in values.items()
        if subset
    ]
    return scores, {
        "measure": measure.name,
        "nothing": values[()],
        "values": {name: float(value) for name, value in zip(names, found, strict=True)},
        "all": values[tuple(range(len(names)))],
    }


def row_contributions(
    shares: Mapping[tuple[int, ...], Any], objective: Objective, players: int
) -> tuple[Any, Any]:
    """Shapley values of what is predicted `(modalities, rows)`, and what is said of nothing.

    Of classes it is the probability of the class predicted from all parts, of several labels the
    mean probability of those predicted, of a number the number.
    """
    whole = shares[tuple(range(players))]
    if objective.kind == "number":
        said = dict(shares)
    else:
        predicted = objective.predicted(whole)
        if objective.kind == "several":
            chosen = predicted.astype(np.float64)
            count = np.maximum(chosen.sum(1), 1.0)
            said = {s: (v * chosen).sum(1) / count for s, v in shares.items()}
        else:
            at = predicted[:, None]
            said = {s: np.take_along_axis(v, at, axis=1)[:, 0] for s, v in shares.items()}
    return shapley_values(said, players), said[()]
