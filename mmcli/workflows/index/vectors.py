"""The vectors of an index: a FAISS string as it stands, or one chosen and set by its recall.

Writes `index.faiss` and says what a manifest and a report say of it. Knows no store or encoder.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.index.layout import IndexWriter
from mmcli.workflows.index.config import TARGET, IndexConfig, Listeners

Blocks = Callable[[], Iterator[NDArray[np.float32]]]


@dataclass(frozen=True)
class Built:
    """What was built: recall with what it was measured on, settings, candidates and seconds."""

    factory: str
    search: dict[str, int] | None = None
    recall: dict[str, Any] | None = None
    table: list[dict[str, Any]] | None = None
    build_s: float | None = None
    tuning_s: float | None = None

    def report(self) -> dict[str, Any]:
        """For the report of the run; nothing where nothing was measured."""
        if self.build_s is None:
            return {}
        return {
            "search": self.search,
            "measured_recall": self.recall,
            "build_s": round(self.build_s, 2),
            "tuning_s": round(self.tuning_s or 0.0, 2),
            "tried": self.table,
        }


def write_vectors(
    writer: IndexWriter,
    blocks: Blocks,
    total: int,
    dim: int,
    memory: int,
    config: IndexConfig,
    listeners: Listeners,
) -> Built:
    """Build what was asked for over every row of `blocks()` into the writer's `index.faiss`."""
    from mmcli.index.library import faiss
    from mmcli.store.atomic import atomic_file

    metric: Any = config.metric
    with atomic_file(writer.path / writer.name("index", ".faiss")) as path:
        if config.factory != "auto" and config.target_recall is None and not config.on_disk:
            from mmcli.index.build import build

            index = build(
                blocks,
                total,
                dim,
                factory=config.factory,
                metric=metric,
                seed=config.seed,
                on_rows=lambda done: listeners.progress(done, total),
            )
            faiss.write_index(index, str(path))
            return Built(config.factory)
        return _tuned(Path(path), blocks, total, dim, memory, config, listeners)


def _tuned(
    path: Path,
    blocks: Blocks,
    total: int,
    dim: int,
    memory: int,
    config: IndexConfig,
    listeners: Listeners,
) -> Built:
    """An index that was chosen, or whose setting was found, by its recall; written to `path`."""
    from mmcli.index.auto import build_chosen, choose_index, given_index
    from mmcli.index.library import faiss

    metric: Any = config.metric
    target = TARGET if config.target_recall is None else config.target_recall
    if config.factory == "auto":
        choice = choose_index(
            blocks, total, dim, metric=metric, target=target, memory_bytes=memory,
            mapped=config.on_disk, seed=config.seed, message=listeners.message,
        )  # fmt: skip
    else:
        choice = given_index(
            blocks, total, dim, config.factory, metric=metric, memory_bytes=memory,
            measured=config.target_recall is not None, seed=config.seed,
        )  # fmt: skip
    built = build_chosen(
        choice,
        blocks,
        total,
        metric=metric,
        target=target,
        file=path if config.on_disk else None,
        on_rows=lambda done: listeners.progress(done, total),
    )
    if not config.on_disk:
        faiss.write_index(built.index, str(path))
    if built.reached is None:
        return Built(built.factory, build_s=built.build_s, tuning_s=built.tuning_s)
    setting, recall = reached_of(
        built.reached, target, 0 if choice.queries is None else len(choice.queries[0])
    )
    if recall["recall@10"] < target:
        listeners.message(
            f"recall@10 is {recall['recall@10']:.3f}, not {target}: nothing tried finds more"
        )
    return Built(built.factory, setting, recall, built.table, built.build_s, built.tuning_s)


def reached_of(
    reached: Mapping[str, Any], target: float, queries: int
) -> tuple[dict[str, int], dict[str, Any]]:
    """What a manifest says of a measured setting: the setting, and its recall and rate."""
    measures = ("recall", "low", "high", "queries_per_s")
    setting = {name: value for name, value in reached.items() if name not in measures}
    recall = {
        "recall@10": reached["recall"],
        "low": reached["low"],
        "high": reached["high"],
        "queries_per_s": reached["queries_per_s"],
        "held_out_queries": queries,
        "target": target,
    }
    return setting, recall
