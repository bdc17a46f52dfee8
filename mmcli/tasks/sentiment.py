"""Sentiment: a score in [-3, 3] or [-1, 1], or classes, from words, voice and face.

Knows the measures of the task and the columns of its data; nothing about models.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.metrics.choice import Measure, measures_for

Floats = NDArray[np.float64]
#: Labels of each modality by itself, as CH-SIMS has them: what is in brackets is the modality.
UNIMODAL = ("sentiment_{}", "label_{}")
#: What a modality is called there: by its name, or as in the tables of CH-SIMS.
_CALLED = {
    "text": ("text", "T"),
    "speech": ("speech", "audio", "A"),
    "image": ("image", "vision", "V"),
    "video": ("video", "vision", "V"),
}
#: The scales of the known sets: a score outside the wider one is a slip of the pen.
WIDEST = 3.0


def measures(kind: str) -> tuple[Measure, ...]:
    """What models are compared by, the one they are chosen by first."""
    known = measures_for(kind)
    if kind != "number":
        return tuple(known[name] for name in ("accuracy", "macro_f1") if name in known)
    return (known["mae"], known["pearson"], _HAS0, _NON0)


def unimodal_columns(
    columns: Sequence[str], modalities: Sequence[str], label: str = ""
) -> dict[str, str]:
    """The column of each modality's own label, of those that have one; never the label itself."""
    found = {}
    for modality in modalities:
        for pattern in UNIMODAL:
            names = (pattern.format(word) for word in _CALLED.get(modality, ()))
            own = next((name for name in names if name in columns and name != label), None)
            if own is not None:
                found[modality] = own
                break
    return found


def check_scores(values: Floats, ids: Sequence[str], column: str) -> None:
    """Raise BadInput for a score outside [-3, 3]; NaN where there is none."""
    beyond = np.flatnonzero(np.abs(np.nan_to_num(values)) > WIDEST)
    if len(beyond):
        row = int(beyond[0])
        raise BadInput(
            f"{ids[row]}: `{column}` is {values[row]:g}, a sentiment is from -3 to 3",
            f"{len(beyond)} rows are outside; for another scale use `--task classification"
            " --label-kind regression`",
        )


def _same_side(truth: Any, shares: Any, predicted: Any) -> Floats:
    """1 where both are negative or both are not."""
    return ((np.asarray(truth) < 0) == (np.asarray(predicted) < 0)).astype(np.float64)


def _has0(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
    return float(weights @ _same_side(truth, shares, predicted) / weights.sum())


def _non0(truth: Any, shares: Any, predicted: Any, weights: Floats) -> float:
    """Of the rows that are not neutral: positive against negative."""
    counted = weights * (np.asarray(truth) != 0)
    right = (np.asarray(truth) > 0) == (np.asarray(predicted) > 0)
    return float(counted @ right / counted.sum()) if counted.sum() else float("nan")


#: Two classes: negative against not negative of all rows, positive against negative of the others.
_HAS0 = Measure("acc2_has0", True, _has0, _same_side)
_NON0 = Measure("acc2_non0", True, _non0)
