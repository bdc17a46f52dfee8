"""Scores of classes that have an order: how far off a wrong one is. Pure numpy."""

import numpy as np

from mmcli.metrics.classification import Floats, Labels


def ordinal_rows(truth: Labels, predicted: Labels) -> dict[str, Floats]:
    """within_1 and steps_off of each row, `(rows,)`: at most one class off, and how many."""
    steps = np.abs(truth - predicted).astype(np.float64)
    return {"within_1": (steps <= 1).astype(np.float64), "steps_off": steps}


def quadratic_kappa(truth: Labels, predicted: Labels, weights: Floats | None = None) -> float:
    """Agreement beyond chance, disagreements weighted by the square of the steps between.

    1 - E[(t - p)²] / E[(t - p')²], where p' is drawn apart from t. NaN where all rows are of one
    class on both sides. Source: Cohen 1968.
    """
    t, p = truth.astype(np.float64), predicted.astype(np.float64)
    weights = np.ones(len(t)) if weights is None else weights
    total = weights.sum()
    if not total:
        return float("nan")
    observed = weights @ (t - p) ** 2 / total
    mean_t, mean_p = weights @ t / total, weights @ p / total
    expected = (
        weights @ (t - mean_t) ** 2 / total
        + weights @ (p - mean_p) ** 2 / total
        + (mean_t - mean_p) ** 2
    )
    return float(1 - observed / expected) if expected > 1e-12 else float("nan")
