"""Chooses an index by trying: candidates of a size, on a sample, with queries that are held out.

The lists (k-means) are trained once, on a random sample, for the number of vectors there will be.
Each candidate then encodes a smaller sample into them and is searched at the setting that reaches
the recall asked for; the fastest one is built over every row, and its setting is found again there.
Knows blocks of vectors, not stores.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.index import on_disk
from mmcli.index.build import Metric, empty, inverted_lists, look_further, ready, train
from mmcli.index.factory import candidates, index_bytes, list_count, training_size
from mmcli.index.library import faiss
from mmcli.index.neighbours import (
    Blocks,
    ExactNeighbours,
    HeldOut,
    Rows,
    Vectors,
    gather,
    held_out_count,
)
from mmcli.index.settings import Measured, fastest

#: Rows that candidates are compared on.
SAMPLE_ROWS = 200_000
#: Rows that codes are trained on; those of 4 bits have 16 centres each.
CODE_ROWS = 16_384


@dataclass
class Choice:
    """An index that is trained and empty, and how it came to be chosen.

    queries: rows kept out of training, and their numbers; None where the index is exact. table:
    one row a candidate that was tried. build_s: seconds that a bare build would also take.
    """

    index: Any
    factory: str
    queries: tuple[Vectors, Rows] | None = None
    table: list[dict[str, Any]] = field(default_factory=list)
    build_s: float = 0.0
    tuning_s: float = 0.0


#: Seconds a query at full size, the trained index, what was measured of it, its row of the table.
Tried = tuple[float, Any, Measured, dict[str, Any]]


@dataclass(frozen=True)
class Sample:
    """Rows in memory: what trains, what candidates hold and who asks them. `(n, dim)` each."""

    train: Vectors
    stored: Vectors
    queries: Vectors
    queried: Rows

    @classmethod
    def draw(
        cls, blocks: Blocks, n: int, dim: int, n_train: int, metric: Metric, seed: int
    ) -> "Sample":
        """One pass over the blocks; random rows, however they are sorted, the queries apart."""
        n_queries = held_out_count(n)
        n_stored = min(n_train, SAMPLE_ROWS, n - n_queries)
        wanted = min(n, max(n_train, n_stored) + n_queries)
        chosen = np.random.default_rng(seed).choice(n, wanted, replace=False)
        rows = gather(blocks, chosen, dim, metric)
        rest = rows[n_queries:]
        return cls(rest[:n_train], rest[:n_stored], rows[:n_queries], chosen[:n_queries])


def choose_index(
    blocks: Blocks,
    n: int,
    dim: int,
    *,
    metric: Metric,
    target: float,
    memory_bytes: int,
    mapped: bool = False,
    seed: int = 0,
    message: Callable[[str], None] = lambda text: None,
) -> Choice:
    """The candidate that answers fastest with recall@10 of at least `target`, trained and empty.

    memory_bytes: of the index; a quarter of it may be rows to learn from. Raises UsageError or
    BadInput as `build`.
    """
    strings = candidates(n, dim, memory_bytes, target=target, on_disk=mapped)
    if strings == ["Flat"]:
        return Choice(empty("Flat", dim, metric), "Flat")
    began = time.perf_counter()
    lists = list_count(n)
    sample = Sample.draw(blocks, n, dim, _training_rows(n, dim, lists, memory_bytes), metric, seed)
    centroids = _centroids(sample.train, lists, dim, metric)
    lists_s = time.perf_counter() - began
    message(f"{lists} lists in {lists_s:.1f} s; {len(strings)} kinds of index to try")
    began = time.perf_counter()
    stored = sample.stored
    exact = ExactNeighbours(sample.queries, np.full(len(sample.queries), -1), metric)
    exact.add(stored)
    held = exact.finish()
    assigned = _assign(centroids, stored, metric)
    tried: list[Tried] = []
    coding: dict[str, float] = {}
    hint: dict[str, int] = {}
    for string in strings:
        start = time.perf_counter()
        found = any(entry[2].recall >= target for entry in tried)
        if found and start - began > lists_s:
            message(f"{string} is not tried: comparing has taken as long as the lists did")
            continue
        index = _with_centroids(string, dim, metric, centroids)
        train(index, sample.train[:CODE_ROWS], string, n)
        coding[string] = time.perf_counter() - start
        filled = faiss.clone_index(index)
        _fill(filled, stored, assigned)
        sample_build_s = time.perf_counter() - start
        best, _ = fastest(filled, held, target, hint)
        if best.recall >= target:
            hint = {k: v for k, v in best.setting.items() if k == "nprobe"}
        seconds = _at_full_size(best, filled, held, len(stored), n)
        row = {
            "factory": string,
            **best.row(),
            "bytes": index_bytes(string, n, dim),
            "sample_build_s": round(sample_build_s, 2),
            "try_s": round(time.perf_counter() - start, 2),
        }
        row["queries_per_s"] = round(1 / seconds, 1)
        tried.append((seconds, index, best, row))
        message(
            f"{string}: recall {best.recall:.3f}, about {row['queries_per_s']:.0f} queries/s"
            f" over {n} vectors"
        )
        del filled
    kept = preferred(tried, target, memory_bytes)
    string = kept[3]["factory"]
    tuning_s = time.perf_counter() - began - coding[string]
    table = [{**row, "chosen": row["factory"] == string} for *_, row in tried]
    return Choice(
        kept[1],
        string,
        (sample.queries, sample.queried),
        table,
        lists_s + coding[string],
        tuning_s,
    )


def preferred(tried: Sequence[Tried], target: float, memory_bytes: int) -> Tried:
    """The fastest that reaches the recall, else the one that finds most.

    The sample lies in memory; lists that will not are read from the disk at every search, so what
    exceeds memory counts before the clock does.
    """
    enough = [entry for entry in tried if entry[2].recall >= target]
    if not enough:
        return max(tried, key=lambda entry: entry[2].recall)
    return min(enough, key=lambda entry: (max(0, entry[3]["bytes"] - memory_bytes), entry[0]))


def given_index(
    blocks: Blocks,
    n: int,
    dim: int,
    factory: str,
    *,
    metric: Metric,
    memory_bytes: int,
    measured: bool,
    seed: int = 0,
) -> Choice:
    """An index of one factory string, trained and empty; `measured` holds out queries for it."""
    index = empty(factory, dim, metric)
    lists = inverted_lists(index)
    began = time.perf_counter()
    rows = _training_rows(n, dim, lists.nlist if lists is not None else 1, memory_bytes)
    sample = Sample.draw(blocks, n, dim, rows, metric, seed)
    if not index.is_trained:
        train(index, sample.train, factory, n)
    look_further(index)
    queries = (sample.queries, sample.queried) if measured else None
    return Choice(index, factory, queries, build_s=time.perf_counter() - began)


def _training_rows(n: int, dim: int, lists: int, memory_bytes: int) -> int:
    """Rows to train on: as many as the lists need, in at most a quarter of the memory."""
    most = max(lists, memory_bytes // (4 * dim * 4))
    return max(1, min(training_size(n, lists), most, n - held_out_count(n)))


def _centroids(sample: Vectors, lists: int, dim: int, metric: Metric) -> Vectors:
    """What the lists gather around, `(lists, dim)`: k-means as the factory string would run it."""
    index = empty(f"IVF{lists},Flat", dim, metric)
    train(index, sample, f"IVF{lists},Flat", len(sample))
    found: Any = inverted_lists(index)
    quantizer = faiss.downcast_index(found.quantizer)
    return np.asarray(quantizer.reconstruct_n(0, lists), np.float32)


def _with_centroids(factory: str, dim: int, metric: Metric, centroids: Vectors) -> Any:
    """An index whose lists are trained; what remains to train are its codes."""
    index = empty(factory, dim, metric)
    lists = inverted_lists(index)
    if lists is not None and lists.nlist == len(centroids):
        faiss.downcast_index(lists.quantizer).add(centroids)
    return index


def _assign(centroids: Vectors, rows: Vectors, metric: Metric) -> Rows:
    quantizer = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(centroids.shape[1])
    quantizer.add(centroids)
    return np.asarray(quantizer.assign(rows, 1).ravel(), np.int64)


def _fill(index: Any, rows: Vectors, assigned: Rows) -> None:
    """Add rows whose lists are known, where that kind of index can use it."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexIVF) and not isinstance(index, faiss.IndexIVFFastScan):
        ids = np.arange(len(rows), dtype=np.int64)
        index.add_core(len(rows), *(faiss.swig_ptr(array) for array in (rows, ids, assigned)))
    else:
        index.add(rows)


def _at_full_size(best: Measured, index: Any, held: HeldOut, rows: int, n: int) -> float:
    """Seconds a query once the lists are full: what finding the lists takes does not grow."""
    lists = inverted_lists(index)
    if lists is None or rows == n:
        return best.seconds * (n / rows if lists is None else 1)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        lists.quantizer.search(held.queries, best.setting.get("nprobe", lists.nprobe))
        times.append(time.perf_counter() - began)
    coarse = min(times) / len(held.queries)
    return coarse + max(0.0, best.seconds - coarse) * n / rows


@dataclass(frozen=True)
class Tuned:
    """An index that is built, and what was measured on the way.

    reached: recall with its interval, queries/s and the setting that gave them, None where search
    is exact. table: candidates. build_s, tuning_s: seconds of what any build takes, and the rest.
    """

    index: Any
    factory: str
    reached: dict[str, Any] | None
    table: list[dict[str, Any]]
    build_s: float
    tuning_s: float


def build_chosen(
    choice: Choice,
    blocks: Blocks,
    n: int,
    *,
    metric: Metric,
    target: float,
    file: Path | None = None,
    on_rows: Callable[[int], None] = lambda done: None,
) -> Tuned:
    """Every row of `blocks()` in the chosen index, at the setting that reaches the recall.

    file: the index is written there and its lists are mapped, else it is in memory only. Raises
    UsageError for a kind that cannot be mapped.
    """
    index, began = choice.index, time.perf_counter()
    hint = next((row for row in choice.table if row["chosen"]), None)
    exact = None if choice.queries is None else ExactNeighbours(*choice.queries, metric)
    if file is not None:
        index = on_disk.mappable(index, choice.factory)
        on_disk.write(index, blocks, n, metric, file, on_rows)
        index = on_disk.open_mapped(file)
        build_s = time.perf_counter() - began
        if exact is not None:
            for block in blocks():
                exact.add(ready(block, metric))
    else:
        done = 0
        for block in blocks():
            rows = ready(block, metric)
            index.add(rows)
            if exact is not None:
                exact.add(rows)
            done += len(rows)
            on_rows(done)
        build_s = time.perf_counter() - began - (exact.seconds if exact else 0.0)
    reached = None
    if exact is not None:
        best, _ = fastest(index, exact.finish(), target, hint)
        reached = best.row()
    whole = time.perf_counter() - began
    return Tuned(
        index,
        choice.factory,
        reached,
        choice.table,
        choice.build_s + build_s,
        choice.tuning_s + whole - build_s,
    )
