"""What a rung of the few-shot ladder is given and gives back, and how its settings are chosen.

Plain numpy. Knows neither stores nor any rung.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Views:
    """Some rows, as the rungs see them.

    features: float32 `(rows, dim)`, unit vectors. shared: float32 `(rows, text_dim)`, unit vectors
    in the space of the classes' names; None where there is none. truth: int64 `(rows,)`.
    """

    features: Array
    shared: Array | None
    truth: NDArray[np.int64]


@dataclass(frozen=True)
class Episode:
    """One draw of shots, and the few rows by which a rung may choose its settings.

    texts: float32 `(classes, text_dim)`, a unit vector a class; None where there is none. scale:
    of cosines with them.
    """

    shots: Views
    val: Views
    classes: int
    texts: Array | None = None
    scale: float = 100.0
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """A rung that can be applied: arrays and settings as they are saved; trained: how many numbers
    were trained.
    """

    arrays: Mapping[str, Array]
    settings: Mapping[str, float] = field(default_factory=dict)
    trained: int = 0


def log_softmax(logits: Floats) -> Floats:
    """Logarithms of the probabilities `(rows, classes)`."""
    lowered = logits - logits.max(axis=1, keepdims=True)
    found: Floats = lowered - np.log(np.exp(lowered).sum(axis=1, keepdims=True))
    return found


def quality(logits: Floats, truth: NDArray[np.int64]) -> tuple[float, float]:
    """Accuracy, and mean log-likelihood to tell apart what a few rows call equal."""
    own = np.take_along_axis(log_softmax(logits), truth[:, None], axis=1)
    return float((logits.argmax(axis=1) == truth).mean()), float(own.mean())


def best(candidates: Iterable[tuple[Any, Floats]], truth: NDArray[np.int64]) -> Any:
    """The setting whose logits `(rows, classes)` are best by `quality`; of equals the first."""
    found, reached = None, (-np.inf, -np.inf)
    for setting, logits in candidates:
        here = quality(logits, truth)
        if found is None or here > reached:
            found, reached = setting, here
    return found


def one_hot(labels: NDArray[np.int64], classes: int) -> Floats:
    """`(rows, classes)` of zeros and ones."""
    return np.eye(classes)[labels]
