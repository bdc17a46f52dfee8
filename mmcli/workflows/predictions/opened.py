"""Predictions by their path: a directory of them, or a table with the same columns."""

from pathlib import Path

import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.data.typed_table import TypedTable
from mmcli.store.predictions import Predictions


def open_predictions(path: str, verify: str = "once", task: str | None = None) -> Predictions:
    """Open predictions and check every value.

    path: a directory `mmcli.predictions/1`, or a JSONL, CSV, TSV or Parquet file with id, label,
    prediction and perhaps a `probability_<slug>` column a class. verify, task: as of
    `Predictions.open`, which says what is raised.
    """
    if not Path(path).is_file():
        return Predictions.open(path, verify, task)
    table = TypedTable(path)
    batches = list(table.batches())
    if not batches:
        raise BadInput(f"`{path}` has no rows", "give it at least one")
    return Predictions.of_table(path, pa.concat_tables(batches), task)
