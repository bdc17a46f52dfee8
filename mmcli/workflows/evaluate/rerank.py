"""A re-ranker in an evaluation: it puts the best targets of each query in a new order."""

from collections.abc import Callable

import numpy as np

from mmcli.core.errors import UsageError
from mmcli.workflows.evaluate.retrieval_scores import Reranking, Vectors
from mmcli.workflows.evaluate.vectors import Rows, Side
from mmcli.workflows.rerank import BLOCK_PAIRS, Reranker


def check_pair(reranker: Reranker, query: Side, target: Side) -> None:
    """Raise UsageError unless the re-ranker scores pairs of these two sides."""
    wanted = reranker.target_of(query.modality)
    if target.modality != wanted:
        raise UsageError(
            f"the re-ranker scores {query.modality} against {wanted}, not {target.modality}",
            f"evaluate `--query {query.modality} --target {wanted}`",
        )


def reranking(
    reranker: Reranker,
    queries: Side,
    targets: Side,
    depth: int,
    on_queries: Callable[[int], None] = lambda done: None,
) -> Reranking:
    """The re-ranker over the numbers that queries and targets have in their sides."""

    def rescore(numbers: Rows, candidates: Rows) -> Vectors:
        found = np.empty(candidates.shape, np.float32)
        step = max(1, BLOCK_PAIRS // candidates.shape[1])
        for start in range(0, len(numbers), step):
            part = slice(start, start + step)
            asked = reranker.own(queries.modality, queries.rows[numbers[part]])
            rows = targets.rows[candidates[part]]
            found[part] = reranker.score(queries.modality, asked, rows)
            on_queries(int(numbers[part][-1]) + 1)
        return found

    return Reranking(depth, rescore)
