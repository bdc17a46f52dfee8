"""`evaluate pairs`: how well the two parts of each row fit each other, as a column.

For cleaning a data set: the rows that score least are the first to look at. Prints nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput, UsageError
from mmcli.engine.exact_ranks import iter_counts
from mmcli.metrics.ranking import expected_ranks
from mmcli.metrics.relevance import relevance_by_value
from mmcli.store.parquet import write_table
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.vectors import (
    Side,
    device_for_scores,
    load_side,
    open_aligner,
    resolve_names,
)
from mmcli.workflows.output_files import refuse_file

#: Rows whose products are held in double precision at a time.
_ROWS = 8192


@dataclass(frozen=True)
class PairsConfig:
    """What `mmcli evaluate pairs` can be told. rank: also rank each row's own target."""

    store: str
    query: str
    target: str
    output: str
    aligner: str | None = None
    rank: bool = False
    force: bool = False
    verify: str = "once"
    device: str = "auto"


def evaluate_pairs(
    config: PairsConfig, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Write id and score (and rank) of every row; null where it lacks a part. Report the spread.

    progress: told queries ranked, and how many there are. Raises BadInput when no row has both
    parts, UsageError when the two sides are the same.
    """
    if not config.output.endswith(".parquet"):
        raise UsageError(f"`-o {config.output}`: the table is Parquet", "name it FILE.parquet")
    refuse_file("-o", config.output, config.force)
    store = Store.open(config.store, config.verify)
    aligner = open_aligner(config.aligner)
    names = resolve_names(store, (config.query, config.target), aligner)
    if names[0] == names[1]:
        raise UsageError(f"`{names[0]}` fits itself", "give two keys or modalities")
    every = np.arange(store.rows, dtype=np.int64)
    query, target = (load_side(store, name, every, aligner) for name in names)
    both, left, right = np.intersect1d(query.rows, target.rows, return_indices=True)
    if not len(both):
        raise BadInput(
            f"no row of `{config.store}` has both `{names[0]}` and `{names[1]}`",
            "extract both modalities of the same items",
        )
    scores = _cosines(query, target, left, right)
    columns = {
        "id": pa.array(store.ids()),
        "score": _column(store.rows, both, scores, pa.float32()),
    }
    if config.rank:
        ranks = _ranks(query, target, left, config.device, progress)
        columns["rank"] = _column(store.rows, both, ranks, pa.float64())
    write_table(Path(config.output), pa.table(columns))
    quantiles = np.quantile(scores, [0, 0.01, 0.05, 0.5, 0.95, 1]).tolist()
    shown = ("min", "p1", "p5", "median", "p95", "max")
    return {
        "output": config.output,
        "rows": store.rows,
        "scored": len(both),
        "without_a_part": store.rows - len(both),
        "space": query.space,
        "mean": float(scores.mean()),
        **dict(zip(shown, quantiles, strict=True)),
    }


def _cosines(query: Side, target: Side, left: Any, right: Any) -> Any:
    """The cosine of each pair, float64 `(pairs,)`."""
    found = [
        np.einsum(
            "ij,ij->i",
            query.vectors[left[at : at + _ROWS]],
            target.vectors[right[at : at + _ROWS]],
            dtype=np.float64,
        )
        for at in range(0, len(left), _ROWS)
    ]
    return np.concatenate(found)


def _ranks(
    query: Side,
    target: Side,
    left: Any,
    device: str,
    progress: Callable[[int, int], None] | None,
) -> Any:
    """The rank of each pair's own target among all targets, `(pairs,)`."""
    relevant = relevance_by_value(query.rows[left].tolist(), target.rows.tolist())

    def told(done: int) -> None:
        if progress is not None:
            progress(done, len(left))

    parts = iter_counts(
        query.vectors[left],
        target.vectors,
        relevant,
        device=device_for_scores(device),
        on_queries=told,
    )
    return np.concatenate([expected_ranks(p.indptr, p.better, p.equal).rank for p in parts])


def _column(rows: int, at: Any, values: Any, kind: pa.DataType) -> pa.Array:
    """Values in their rows, null elsewhere."""
    whole, missing = np.zeros(rows), np.ones(rows, bool)
    whole[at], missing[at] = values, False
    return pa.array(whole, kind, mask=missing)
