"""Nearest rows among those that a mask keeps, against brute force in numpy."""

import numpy as np
import pytest

from mmcli.index import filtering
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


@pytest.mark.parametrize(
    ("factory", "queries", "kept", "taken"),
    [
        ("Flat", 1, 4, True),
        ("Flat", 1, 30, False),
        ("Flat", 8, 30, True),
        ("Flat", 60, 400, False),
        ("IVF16,Flat", 60, 30, True),
        ("IVF16,Flat", 1, 30, False),
        ("IVF16,Flat", 60, 370, False),
        ("IVF16,SQ8", 60, 30, True),
        ("SQ8", 60, 30, False),
    ],
)
def test_kept_rows_are_taken_out_where_that_is_less_work(
    factory: str, queries: int, kept: int, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build(lambda: [ROWS], N, DIM, factory=factory)
    keep = np.zeros(N, bool)
    keep[np.random.default_rng(2).permutation(N)[:kept]] = True
    calls, by_vectors = [], filtering._by_vectors

    def noted(*given: object) -> object:
        calls.append(1)
        return by_vectors(*given)

    monkeypatch.setattr(filtering, "_by_vectors", noted)
    scores, found = nearest(index, QUERIES[:queries], 10, keep)
    assert bool(calls) == taken
    rows = np.flatnonzero(keep)
    exact = np.sort(QUERIES[:queries] @ ROWS[rows].T, axis=1)[:, ::-1][:, :10]
    n = min(10, kept)
    assert keep[found[:, :n]].all() and (found[:, n:] == -1).all()
    if factory != "IVF16,Flat" or taken:
        np.testing.assert_allclose(
            scores[:, :n], exact[:, :n], atol=0.05 if "SQ8" in factory else 1e-5
        )
