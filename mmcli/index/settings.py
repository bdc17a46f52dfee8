"""How far an index looks: `nprobe`, `k_factor` and `efSearch`, and the fastest that reach a recall.

A setting changes what a search costs and finds, never what is stored. Knows FAISS and held-out
queries; builds nothing.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.index.build import inverted_lists, refined_index
from mmcli.index.library import faiss
from mmcli.index.neighbours import DEPTH, HeldOut, recall_interval
from mmcli.index.segments import LivingIndex

#: Candidates that a refined index looks at again, in results asked for.
K_FACTORS = (16, 8, 4, 2)
#: Least time over which queries/s are measured, and most repetitions.
MEASURE_S, REPEATS = 0.15, 20


@dataclass(frozen=True)
class Measured:
    """What one setting found and cost: recall `(queries,)` and seconds a query in batches."""

    setting: dict[str, int]
    recalls: NDArray[np.float64]
    seconds: float

    @property
    def recall(self) -> float:
        """The mean."""
        return float(self.recalls.mean())

    def row(self) -> dict[str, Any]:
        """For a table: the setting, recall with its interval at 95 %, queries/s."""
        mean, low, high = recall_interval(self.recalls)
        rate = round(1 / self.seconds, 1)
        return {**self.setting, "recall": mean, "low": low, "high": high, "queries_per_s": rate}


def apply(index: Any, setting: Mapping[str, int]) -> None:
    """Set what a search of the index looks at, from here on; unknown names are left alone.

    index: FAISS's own, or a LivingIndex, of which every segment is set.
    """
    for part in parts_of(index):
        _apply(part, setting)


def parts_of(index: Any) -> list[Any]:
    """The FAISS indexes that a search goes through, the one that was built first."""
    if isinstance(index, LivingIndex):
        return [segment.index for segment in index.segments]
    return [index]


def _apply(index: Any, setting: Mapping[str, int]) -> None:
    lists, refined, graph = inverted_lists(index), refined_index(index), _graph(index)
    if "nprobe" in setting and lists is not None:
        lists.nprobe = int(setting["nprobe"])
    if "k_factor" in setting and refined is not None:
        refined.k_factor = float(setting["k_factor"])
    if "ef_search" in setting and graph is not None:
        graph.hnsw.efSearch = int(setting["ef_search"])


def fastest(
    index: Any, held: HeldOut, target: float, hint: Mapping[str, int] | None = None
) -> tuple[Measured, list[Measured]]:
    """The fastest setting whose recall is at least `target`, else the one that finds most.

    Also all that was measured. An index without settings is measured as it is. hint: a setting
    that may be about right.
    """
    hint = hint or {}
    first = hint.get("nprobe", 1)
    built = parts_of(index)[0]
    lists, refined, graph = inverted_lists(built), refined_index(built), _graph(built)
    if lists is None:
        if graph is None:
            only = measure(index, held, {})
            return only, [only]
        tried = _bisect(index, held, target, "ef_search", 4096, {}, first=16)
    elif refined is None:
        tried = _bisect(index, held, target, "nprobe", lists.nlist, {}, first=first)
    else:
        near = [f for f in K_FACTORS if f <= 2 * hint.get("k_factor", K_FACTORS[0])]
        tried = _refined_settings(index, held, target, lists.nlist, near, first)
        if near[0] < K_FACTORS[0] and not any(m.recall >= target for m in tried):
            tried += _refined_settings(index, held, target, lists.nlist, K_FACTORS, first)
    enough = [m for m in tried if m.recall >= target]
    if enough:
        best, _ = min(map(_least_work, _by_factor(enough)), key=lambda found: found[1])
    else:
        best = max(tried, key=lambda m: (m.recall, -m.seconds))
    apply(index, best.setting)
    return best, tried


def _by_factor(measured: Sequence[Measured]) -> list[list[Measured]]:
    """Settings of one `k_factor` each, which then differ in one number."""
    found: dict[int | None, list[Measured]] = {}
    for one in measured:
        found.setdefault(one.setting.get("k_factor"), []).append(one)
    return list(found.values())


def _least_work(measured: Sequence[Measured]) -> tuple[Measured, float]:
    """Of settings that differ in one number the lowest, and seconds a query: less of it is less
    work, whatever a clock says.
    """
    least = min(measured, key=lambda m: tuple(m.setting.values()))
    return least, min(m.seconds for m in measured)


def _refined_settings(
    index: Any, held: HeldOut, target: float, most: int, factors: Sequence[int], first: int
) -> list[Measured]:
    """Ever fewer candidates to look at again, as long as that makes reaching the recall faster."""
    tried: list[Measured] = []
    fastest_yet = float("inf")
    for factor in factors:
        found = _bisect(index, held, target, "nprobe", most, {"k_factor": factor}, first=first)
        tried += found
        reached = [m for m in found if m.recall >= target]
        if not reached:
            break  # with fewer, its codes hold it back even more
        best, seconds = _least_work(reached)
        if seconds > fastest_yet:
            break
        fastest_yet, first = seconds, best.setting["nprobe"]
        most = min(most, 4 * first)
    return tried


def measure(index: Any, held: HeldOut, setting: Mapping[str, int], target: float = 0.0) -> Measured:
    """Recall and seconds a query of one setting, over all held-out queries at once.

    What misses the recall aimed at is timed once only.
    """
    apply(index, setting)
    for refined in map(refined_index, parts_of(index)):
        if refined is not None:
            # one result more is asked for where queries find themselves: no more candidates for it
            refined.k_factor *= DEPTH / held.depth
    began = time.perf_counter()
    recalls = held.recalls(held.found(index))
    seconds = [time.perf_counter() - began]
    enough = bool(recalls.mean() >= target)
    while enough and sum(seconds) < MEASURE_S and len(seconds) < REPEATS:
        began = time.perf_counter()
        held.found(index)
        seconds.append(time.perf_counter() - began)
    return Measured(dict(setting), recalls, min(seconds) / len(held.queries))


def _bisect(
    index: Any,
    held: HeldOut,
    target: float,
    name: str,
    most: int,
    fixed: Mapping[str, int],
    first: int = 1,
) -> list[Measured]:
    """Doubles one number until the recall is reached or grows no more, then halves the gap."""
    tried: list[Measured] = []
    value, low = min(first, most), 0
    while True:
        tried.append(measure(index, held, {**fixed, name: value}, target))
        if tried[-1].recall >= target or value == most:
            break
        if value >= 16 and len(tried) >= 2 and tried[-1].recall - tried[-2].recall < 5e-4:
            return tried  # the codes, not the lists, hold it back
        low, value = value, min(most, value * 2)
    high = value
    while tried[-1].recall >= target and high - low > max(1, high // 16):
        middle = (low + high) // 2
        found = measure(index, held, {**fixed, name: middle}, target)
        if found.recall >= target:
            tried.append(found)
            high = middle
        else:
            tried.insert(0, found)
            low = middle
    return tried


def _graph(index: Any) -> Any | None:
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _graph(index.index)
    return index if isinstance(index, faiss.IndexHNSW) else None
