"""`--explode COLUMN`: a row for each element of a list, as for each caption of a picture.

The id of element 0 of item `cat` is `cat#0`; `parent_id` is `cat`. An empty list, and none, is one
row without the element, so that no item is lost.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import PART_COLUMNS
from mmcli.data.folders import BATCH_ROWS

PARENT = "parent_id"


def exploded_schema(schema: pa.Schema, column: str, spec: str) -> pa.Schema:
    """The columns of the exploded rows.

    Raises UsageError when there is no such column or it holds no lists, BadInput when the source
    has parents already.
    """
    if column not in schema.names or column == "id":
        raise UsageError(
            f"`--explode {column}`: `{spec}` has no such column",
            suggestion(column, [name for name in schema.names if name != "id"]),
        )
    kind = schema.field(column).type
    if not _is_list(kind):
        raise UsageError(f"`--explode {column}`: the column holds {kind}, no lists", "leave it out")
    if PARENT in schema.names:
        raise BadInput(
            f"`{spec}` has a column `{PARENT}` already", f"rename it: `--map source_id={PARENT}`"
        )
    inner = kind.value_type
    texts = pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner)
    if column in PART_COLUMNS and not texts:
        raise BadInput(
            f"`--explode {column}`: the lists of `{spec}` hold {inner}, not strings",
            "parts are paths or text",
        )
    if texts:
        inner = pa.string()
    at = schema.get_field_index(column)
    changed = schema.set(at, pa.field(column, inner))
    return changed.insert(1, pa.field(PARENT, pa.string()))


def explode(batches: Iterator[pa.Table], column: str, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of each batch, element by element, in the types of `schema`."""
    for batch in batches:
        for start in range(0, len(batch), BATCH_ROWS):
            yield _exploded(batch.slice(start, BATCH_ROWS).combine_chunks(), column, schema)


def _exploded(batch: pa.Table, column: str, schema: pa.Schema) -> pa.Table:
    lists = batch.column(column)
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    counts = np.maximum(lengths, 1)
    parents = np.repeat(np.arange(len(batch)), counts)
    first = np.cumsum(counts) - counts
    number = np.arange(len(parents)) - np.repeat(first, counts)
    starts = np.cumsum(lengths) - lengths
    taken = np.where(np.repeat(lengths, counts) > 0, starts[parents] + number, -1)
    indices = pa.array(taken, pa.int64(), mask=taken < 0)
    elements = lists.flatten().take(indices)
    rows = batch.take(pa.array(parents))
    ids = rows.column("id").to_pylist()
    made = [f"{parent}#{n}" for parent, n in zip(ids, number.tolist(), strict=True)]
    found = {
        **{name: rows.column(name) for name in batch.column_names},
        column: elements,
        "id": pa.array(made, pa.string()),
        PARENT: pa.array(ids, pa.string()),
    }
    if column in PART_COLUMNS:
        values = elements.cast(pa.string())
        found[column] = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    return pa.Table.from_arrays(
        [found[name].cast(schema.field(name).type) for name in schema.names], schema=schema
    )


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))
