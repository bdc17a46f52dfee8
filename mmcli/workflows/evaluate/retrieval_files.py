"""TREC files of one direction of a retrieval evaluation: the run and the judgements."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmcli.engine.exact_top import iter_best
from mmcli.workflows.evaluate.retrieval_scores import Setting, in_new_order
from mmcli.workflows.evaluate.trec_files import qrels_line, run_line, trec_id, write_lines

if TYPE_CHECKING:
    from mmcli.workflows.evaluate.retrieval import Direction

#: Queries whose relevant targets are listed at a time.
_ROWS = 1024


def write_run(
    path: Path, direction: "Direction", ids: list[str], depth: int, setting: Setting
) -> None:
    """The best targets of every query, best first; equal scores by descending id.

    With a re-ranker only what it has ordered, with its scores: others are on another scale.
    """
    write_lines(path, _run(direction, ids, depth, setting))


def write_qrels(path: Path, direction: "Direction", ids: list[str]) -> None:
    """What is relevant to every query that has anything."""
    write_lines(path, _qrels(direction, ids))


def _run(direction: "Direction", ids: list[str], depth: int, setting: Setting) -> Iterator[str]:
    queries = [ids[row] for row in direction.queries.rows]
    targets = [ids[row] for row in direction.targets.rows]
    names = [trec_id(name) for name in targets]
    order = np.array(sorted(range(len(names)), key=names.__getitem__, reverse=True), np.int64)
    own = direction.relevant.reorder_targets(order).own
    if direction.reranking is not None:
        depth = min(depth, direction.reranking.depth)
    found = iter_best(
        direction.queries.vectors,
        direction.targets.vectors[order],
        depth,
        own=own,
        device=setting.device,
    )
    for best in found:
        if direction.reranking is not None:
            numbers = np.arange(best.start, best.start + len(best.index))
            best = in_new_order(best, numbers, order[best.index], direction.reranking)
        for row, (places, scores) in enumerate(zip(best.index, best.score, strict=True)):
            kept = np.isfinite(scores)
            for rank, (place, score) in enumerate(
                zip(order[places[kept]], scores[kept], strict=True), 1
            ):
                yield run_line(queries[best.start + row], targets[place], rank, float(score))


def _qrels(direction: "Direction", ids: list[str]) -> Iterator[str]:
    queries, targets = direction.queries.rows, direction.targets.rows
    for start in range(0, len(queries), _ROWS):
        numbers = np.arange(start, min(start + _ROWS, len(queries)))
        indptr, indices, gains = direction.relevant.pairs(numbers)
        query = np.repeat(queries[numbers], np.diff(indptr))
        for at, (row, index) in enumerate(zip(query, indices, strict=True)):
            gain = 1.0 if gains is None else float(gains[at])
            yield qrels_line(ids[row], ids[targets[index]], gain)
