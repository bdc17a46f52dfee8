"""Real FAISS indexes against brute force in numpy."""

from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.index.build import Metric, build
from mmcli.index.search import combine, read_index, search, vector_of

N, DIM = 3000, 16
ROWS = np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((7, DIM)).astype(np.float32)


def blocks() -> Iterator[NDArray[np.float32]]:
    for start in range(0, N, 700):
        yield ROWS[start : start + 700]


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def brute_force(metric: Metric) -> NDArray[np.float32]:
    if metric == "l2":
        return -np.linalg.norm(QUERIES[:, None] - ROWS[None], axis=-1)
    return unit(QUERIES) @ unit(ROWS).T if metric == "cosine" else QUERIES @ ROWS.T


@pytest.mark.parametrize("metric", get_args(Metric))
def test_flat_is_exact(metric: Metric) -> None:
    index = build(blocks, N, DIM, factory="Flat", metric=metric)
    expected = brute_force(metric)
    for i, hits in enumerate(search(index, QUERIES, 5, metric)):
        assert list(hits.rows) == np.argsort(-expected[i])[:5].tolist()
        assert np.allclose(hits.scores, np.sort(expected[i])[::-1][:5], atol=1e-4)


@pytest.mark.parametrize(
    ("factory", "least"),
    [("IVF32,Flat", 0.6), ("HNSW16", 0.9), ("SQ8", 0.9), ("PQ8x4fs,RFlat", 0.8)],
)
def test_other_kinds_find_most(factory: str, least: float) -> None:
    index = build(blocks, N, DIM, factory=factory)
    assert index.ntotal == N
    expected = brute_force("cosine")
    found = [set(hits.rows) for hits in search(index, QUERIES, 10, "cosine")]
    right = [set(np.argsort(-row)[:10].tolist()) for row in expected]
    assert np.mean([len(a & b) / 10 for a, b in zip(found, right, strict=True)]) >= least


def test_the_input_is_not_changed_and_training_is_repeatable() -> None:
    before = ROWS.copy()
    first, second = (build(blocks, N, DIM, factory="IVF16,SQ8", seed=3) for _ in range(2))
    assert np.array_equal(before, ROWS)
    assert search(first, QUERIES, 5, "cosine") == search(second, QUERIES, 5, "cosine")


def test_errors_say_what_faiss_says() -> None:
    with pytest.raises(UsageError, match="--factory Nonsense"):
        build(blocks, N, DIM, factory="Nonsense")
    with pytest.raises(UsageError, match="IDMap,Flat"):
        build(blocks, N, DIM, factory="IDMap,Flat")
    with pytest.raises(BadInput, match=r"cannot be trained on 3000 vectors"):
        build(blocks, N, DIM, factory="IVF4000,Flat")


def test_min_score_exclusion_ties_and_large_k() -> None:
    rows = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    index = build(lambda: [rows], 4, 2, factory="Flat")
    query = np.array([[2, 0]], np.float32)
    (hits,) = search(index, query, 99, "cosine")
    assert hits.rows == (0, 1, 3, 2)  # equal scores come in row order
    (hits,) = search(index, query, 2, "cosine", exclude=[[0]])
    assert hits.rows == (1, 3)
    (hits,) = search(index, query, 9, "cosine", min_score=0.9)
    assert hits.rows == (0, 1)
    assert search(index, np.zeros((0, 2), np.float32), 3, "cosine") == []


def test_weights() -> None:
    a, b = np.array([10, 0], np.float32), np.array([0, 1], np.float32)
    assert np.allclose(combine([a, b], [1, 1], "cosine"), [1, 1])  # lengths do not weigh
    assert np.allclose(combine([a, b], [1, -0.5], "cosine"), [1, -0.5])
    assert np.allclose(combine([a, b], [1, 3], "l2"), [2.5, 0.75])
    with pytest.raises(UsageError, match="cancel"):
        combine([a, a], [1, -1], "cosine")
    with pytest.raises(UsageError, match="more than 0"):
        combine([a, b], [1, -1], "l2")


@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat", "HNSW16", "SQ8"])
def test_vectors_come_back(factory: str) -> None:
    index = build(blocks, N, DIM, factory=factory)
    assert np.allclose(vector_of(index, 41), unit(ROWS)[41], atol=0.05)


def test_a_file_of_another_size_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from mmcli.index.library import faiss

    path = tmp_path / "index.faiss"
    faiss.write_index(build(blocks, N, DIM, factory="Flat"), str(path))
    assert read_index(path, DIM, N).ntotal == N
    with pytest.raises(BadInput, match=r"3000 vectors of 16 dimensions.*2999 of 16"):
        read_index(path, DIM, N - 1)
    path.write_bytes(b"IxXX nothing")
    with pytest.raises(BadInput, match="not an index"):
        read_index(path, DIM, N)
