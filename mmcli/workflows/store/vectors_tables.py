"""Tables with a column of vectors, as one mapped matrix beside their other columns.

Parquet with lists of floats, JSONL with a field of numbers, and what `store export` wrote of
either. Knows nothing about the store that is made of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.id_lookup import Spool
from mmcli.data.typed_table import TypedTable
from mmcli.store.records import Array
from mmcli.workflows.store.export_layout import key_of_column, parquet_keys
from mmcli.workflows.store.mapped_vectors import KeyVectors, VectorFile, Vectors


def from_tables(sources: Sequence[str], column: str | None, folder: Path) -> Vectors:
    """The vectors of these tables, one below the other; what else they hold goes to `folder` too.

    column: which holds the vectors, None for the only one, or all that an export of ours names.
    Raises BadInput, naming the table, where a column is missing or holds no vectors.
    """
    tables = [TypedTable(source) for source in sources]
    written = parquet_keys(tables[0].schema) if _is_parquet(tables[0]) else None
    named = {} if column is not None else _named_columns(tables[0])
    if written and column is None:
        columns = {key: entry["column"] for key, entry in written["keys"].items()}
    elif len(named) > 1:
        columns = named
    else:
        name = next(iter(named.values()), None) or _vector_column(tables[0], column)
        columns = {"": name}
    vectors = set(columns.values())
    for table in tables[1:]:
        for name in vectors:
            if name not in table.schema.names:
                raise BadInput(f"`{table.file.name}` has no column `{name}`", "see `--column`")
    unrolled = {key: _unroll(tables, name, folder) for key, name in columns.items()}
    others = [f for f in _common_schema(tables) if f.name not in vectors]
    spool = None
    if others:
        names = [f.name for f in others]
        batches = (_filled(b, others) for t in tables for b in t.batches(_only(t, names)))
        spool = Spool(folder / "items", pa.schema(others), batches)
    keys = {
        key: KeyVectors([file], written["keys"][key]["entry"] if written and key else {}, has)
        for key, (file, has) in unrolled.items()
    }
    root = written["source_root"] if written else str(Path(sources[0]).absolute().parent)
    return Vectors("table", keys, spool, root, next(iter(named), ""))


def _is_parquet(table: TypedTable) -> bool:
    return table.file.kind == "parquet"


def _named_columns(table: TypedTable) -> dict[str, str]:
    """Key -> column of vectors, of the columns that are named as `store export` names them."""
    found = {key_of_column(f.name): f.name for f in table.schema if _is_vector(f.type, True)}
    return {key: name for key, name in found.items() if key is not None}


def _vector_column(table: TypedTable, column: str | None) -> str:
    name = table.file.name
    found = [f.name for f in table.schema if _is_vector(f.type)]
    if column is not None:
        if column not in table.schema.names:
            raise BadInput(
                f"`{name}` has no column `{column}`", suggestion(column, table.schema.names)
            )
        if column not in found:
            kind = table.schema.field(column).type
            raise BadInput(f"column `{column}` of `{name}` holds {kind}, not vectors", "see `-h`")
        return column
    if not found:
        raise BadInput(
            f"`{name}` has no column of vectors", "a vector is a list of numbers, one a row"
        )
    if len(found) > 1:
        raise UsageError(
            f"`{name}` has {len(found)} columns of vectors", "choose one: --column " + found[0]
        )
    return found[0]


def _is_vector(kind: pa.DataType, whole: bool = False) -> bool:
    """Whether it is a list of floats; whole: or of integers, as JSON has 1.0 and 0.0."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    lists = lists or pa.types.is_fixed_size_list(kind)
    if not lists:
        return False
    kind = kind.value_type
    return bool(pa.types.is_floating(kind) or (whole and pa.types.is_integer(kind)))


def _unroll(tables: Sequence[TypedTable], column: str, folder: Path) -> tuple[VectorFile, Array]:
    """The vectors of a column as one mapped matrix, zeros where null; and where they are not."""
    dtype: np.dtype[Any] = np.dtype(np.float32)
    if all(pa.types.is_float16(t.schema.field(column).type.value_type) for t in tables):
        dtype = np.dtype(np.float16)
    path = folder / f"vectors-{len(list(folder.iterdir()))}"
    dim, rows, waiting = 0, 0, 0
    there: list[Array] = [np.zeros(0, bool)]
    with path.open("wb") as out:
        for table in tables:
            at = 0
            for batch in table.batches([column]):
                values = batch.column(column).combine_chunks()
                found = _matrix(values, table, at, dim)
                at += len(values)
                there.append(values.is_valid().to_numpy(zero_copy_only=False))
                if found is None:  # nothing but nulls so far: the width is not known yet
                    waiting += len(values)
                    continue
                dim = found.shape[1]
                out.write(bytes(waiting * dim * dtype.itemsize))
                rows, waiting = rows + waiting + len(found), 0
                out.write(np.ascontiguousarray(found, dtype).tobytes())
        out.write(bytes(waiting * dim * dtype.itemsize))
        rows += waiting
    if not dim:
        raise BadInput(
            f"column `{column}` of `{tables[0].file.name}` has no vector", "name another: --column"
        )
    names = ", ".join(t.file.name for t in tables[:3])
    array = np.memmap(path, dtype, "r", shape=(rows, dim)) if rows else np.zeros((0, dim), dtype)
    return VectorFile(names, array), np.concatenate(there)


def _matrix(values: Any, table: TypedTable, start: int, dim: int) -> Array | None:
    """`(rows, dim)` of a run of list values, zeros where null; None when there is no vector."""
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    if not valid.any():
        return None if not dim else np.zeros((len(values), dim), np.float32)
    lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
    dim = dim or int(lengths[valid][0])
    wrong = np.flatnonzero(valid & (lengths != dim))
    if len(wrong):
        row = start + int(wrong[0]) + 1
        raise BadInput(
            f"{table.file.name}: row {row}: a vector of {int(lengths[wrong[0]])} numbers,"
            f" others have {dim}",
            "every row has a vector of one width, or null",
        )
    flat = values.filter(pa.array(valid)).flatten()
    if flat.null_count:
        raise BadInput(
            f"{table.file.name}: rows from {start + 1} on: a vector holds null",
            "write null vectors",
        )
    numbers = flat.to_numpy(zero_copy_only=False).reshape(-1, dim)
    found = np.zeros((len(values), dim), numbers.dtype)
    found[valid] = numbers
    return found


def _common_schema(tables: Sequence[TypedTable]) -> pa.Schema:
    try:
        schemas = [table.schema.remove_metadata() for table in tables]
        return pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"the columns of the tables do not agree: {reason}", "import them apart"
        ) from error


def _only(table: TypedTable, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in table.schema.names]


def _filled(table: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
    """The table with all these columns, null where it lacks one."""
    columns = [
        table.column(f.name).cast(f.type)
        if f.name in table.column_names
        else pa.nulls(table.num_rows, f.type)
        for f in fields
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def spool_tables(folder: Path, paths: Sequence[str | Path]) -> Spool:
    """The rows of one table after another."""
    tables = [TypedTable(path) for path in paths]
    fields = list(_common_schema(tables))
    batches = (_filled(batch, fields) for table in tables for batch in table.batches())
    return Spool(folder / "items", pa.schema(fields), batches)
