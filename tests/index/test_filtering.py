"""Nearest rows among those that a mask keeps, against brute force in numpy."""

import numpy as np
import pytest

from mmcli.index.build import build
from mmcli.index.filtering import nearest

N, DIM = 3000, 32
RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((N, DIM)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
QUERIES = ROWS[:60] + 0.3 * RNG.standard_normal((60, DIM)).astype(np.float32)


@pytest.mark.parametrize(
    ("factory", "least"),
    [("IVF16,PQ8x4fs,RFlat", 0.99), ("IVF16,PQ16x4fs,Refine(SQ8)", 0.97), ("NSG16", 1.0)],
)
@pytest.mark.parametrize("kept", [12, 200])
def test_few_kept_rows_are_found_as_exactly_as_can_be(
    factory: str, least: float, kept: int
) -> None:
    index = build(lambda: [ROWS], N, DIM, factory=factory)
    keep = np.zeros(N, bool)
    keep[np.random.default_rng(1).permutation(N)[:kept]] = True
    _, found = nearest(index, QUERIES, 10, keep)
    assert keep[found].all() and (found >= 0).all()
    rows = np.flatnonzero(keep)
    truth = rows[np.argsort(-(QUERIES @ ROWS[rows].T), axis=1)[:, :10]]
    recall = np.mean([len(set(f) & set(t)) / 10 for f, t in zip(found, truth, strict=True)])
    assert recall >= least
