"""An index that is chosen by its recall, in memory and mapped, against brute force in numpy."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from mmcli.core.errors import UsageError
from mmcli.index import on_disk
from mmcli.index.auto import Tried, build_chosen, choose_index, given_index, preferred
from mmcli.index.build import Metric, empty
from mmcli.index.library import faiss
from mmcli.index.neighbours import DEPTH, ExactNeighbours, gather, without
from mmcli.index.search import read_index
from mmcli.index.settings import Measured

N, DIM = 60_000, 32
Vectors = NDArray[np.float32]


def clustered(seed: int, n: int, ordered: bool) -> Vectors:
    """Unit vectors around 200 centres; ordered: by centre, as tables that are sorted are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((200, DIM)).astype(np.float32)
    of_row = rng.integers(0, len(centres), n)
    if ordered:
        of_row.sort()
    rows = centres[of_row] + 0.5 * rng.standard_normal((n, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def in_blocks(rows: Vectors) -> Callable[[], Iterator[Vectors]]:
    return lambda: iter([rows[at : at + 7_000] for at in range(0, len(rows), 7_000)])


def recall(index: object, rows: Vectors, queries: Vectors) -> float:
    truth = np.argsort(-(queries @ rows.T), axis=1)[:, :DEPTH]
    _, found = on_disk.bounded_search(index, queries, DEPTH)
    pairs = zip(truth, found, strict=True)
    return float(np.mean([len(set(a) & set(b)) / DEPTH for a, b in pairs]))


@pytest.mark.parametrize("mapped", [False, True], ids=["shuffled", "sorted on disk"])
def test_new_queries_reach_the_recall_that_was_measured(mapped: bool, tmp_path: Path) -> None:
    rows = clustered(0, N, ordered=mapped)
    file = tmp_path / "index.faiss" if mapped else None
    choice = choose_index(
        in_blocks(rows), N, DIM, metric="cosine", target=0.9, memory_bytes=1 << 30, mapped=mapped
    )
    built = build_chosen(choice, in_blocks(rows), N, metric="cosine", target=0.9, file=file)
    assert built.reached is not None
    assert built.reached["recall"] >= 0.9
    assert built.reached["low"] <= built.reached["recall"] <= built.reached["high"]
    found = recall(built.index, rows, clustered(1, 300, False))
    assert abs(found - built.reached["recall"]) < 0.03
    assert [row["factory"] for row in built.table if row["chosen"]] == [built.factory]
    assert built.index.ntotal == N
    assert choice.queries is not None
    assert not set(choice.queries[1].tolist()) & {-1}


@pytest.mark.parametrize("factory", ["IVF16,Flat", "IVF16,SQ8", "IVF16,PQ8x4"])
@pytest.mark.parametrize("metric", get_args(Metric))
def test_a_mapped_file_is_what_faiss_would_have_written(
    factory: str, metric: Metric, tmp_path: Path
) -> None:
    rows = clustered(2, 5_000, False)
    choice = given_index(
        in_blocks(rows), 5_000, DIM, factory, metric=metric, memory_bytes=1 << 30, measured=False
    )
    file = tmp_path / "index.faiss"
    on_disk.write(choice.index, in_blocks(rows), 5_000, metric, file)
    choice.index.add(rows)
    choice.index.nprobe = 4
    expected = choice.index.search(rows[:50], 5)
    for opened in (
        faiss.read_index(str(file)),
        read_index(file, DIM, 5_000, on_disk=True, setting={"nprobe": 4}),
    ):
        opened.nprobe = 4
        scores, found = on_disk.bounded_search(opened, rows[:50], 5)
        assert np.array_equal(found, expected[1])
        assert np.allclose(scores, expected[0], atol=1e-6)
    assert on_disk.mapped_lists(opened) is not None
    assert on_disk.mapped_lists(choice.index) is None


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF16,PQ8x4fs", "IVF16,Flat,RFlat"])
def test_kinds_that_cannot_be_mapped_say_so(factory: str) -> None:
    with pytest.raises(UsageError, match="--on-disk"):
        on_disk.mappable(empty(factory, DIM, "cosine"), factory)


def test_what_memory_does_not_hold_is_chosen_only_where_nothing_else_finds_enough() -> None:
    def tried(name: str, seconds: float, found: float, size: int) -> Tried:
        measured = Measured({}, np.full(3, found), seconds)
        return seconds, None, measured, {"factory": name, "bytes": size}

    both = [tried("SQ8", 2.0, 0.96, 100), tried("Flat", 1.0, 0.97, 400)]
    assert [preferred(both, 0.95, memory)[3]["factory"] for memory in (100, 399, 400)] == [
        "SQ8",
        "SQ8",
        "Flat",
    ]
    assert preferred(both, 0.95, 10)[3]["factory"] == "SQ8"
    assert preferred(both, 0.965, 100)[3]["factory"] == "Flat"
    assert preferred(both, 0.99, 400)[3]["factory"] == "Flat"


def test_a_query_never_finds_itself() -> None:
    rows = clustered(3, 500, False)
    own = np.array([4, 499, -1])
    exact = ExactNeighbours(rows[[4, 499, 7]], own, "cosine")
    for block in in_blocks(rows)():
        exact.add(block)
    truth = exact.finish().truth
    scores = rows[[4, 499, 7]] @ rows.T
    scores[0, 4] = scores[1, 499] = -np.inf
    assert np.array_equal(truth, np.argsort(-scores, axis=1)[:, :DEPTH])
    assert without(np.array([[3, 4, 5]]), np.array([9])).tolist() == [[3, 4]]


def test_gathered_rows_come_in_the_order_asked_for() -> None:
    rows = clustered(4, 20_000, False)
    wanted = np.array([19_999, 0, 7_000, 6_999])
    assert np.allclose(gather(in_blocks(rows), wanted, DIM, "ip"), rows[wanted])
