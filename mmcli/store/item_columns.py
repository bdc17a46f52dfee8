"""Columns of items as every verb gets them, whoever wrote the files: plain types, sound ids.

Other programs keep texts as dictionaries, views or large strings, which few kernels take, and each
shard may do it in its own way. Knows Arrow tables; nothing about manifests.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmcli.core.errors import BadInput

#: How to mend an id.
ID_HINT = "every item has an id of its own: a text in Unicode's form NFC"


def plain_type(kind: Any) -> Any:
    """The type without dictionaries, views and large offsets, in whatever it is nested."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([f.with_type(plain_type(f.type)) for f in fields])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        field = kind.value_field
        return pa.list_(field.with_type(plain_type(field.type)), kind.list_size)
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if lists or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        field = kind.value_field
        return pa.list_(field.with_type(plain_type(field.type)))
    return kind


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The columns in plain types, without what other programs note beside them."""
    return pa.schema([pa.field(f.name, plain_type(f.type)) for f in schema])


def plain_table(table: pa.Table) -> pa.Table:
    """The table in plain types."""
    return table.cast(plain_schema(table.schema))


def common_schema(paths: Sequence[Path], schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all shards, each in a type that holds its values in every one.

    Raises BadInput that names a column and two items files where there is no such type.
    """
    found: dict[str, Any] = {}
    first: dict[str, Path] = {}
    for path, schema in zip(paths, schemas, strict=True):
        for field in schema:
            kind = found.setdefault(field.name, field.type)
            seen = first.setdefault(field.name, path)
            if kind == field.type:
                continue
            pair = [pa.schema([(field.name, kind)]), pa.schema([(field.name, field.type)])]
            try:
                both = pa.unify_schemas(pair, promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                raise BadInput(
                    f"column `{field.name}` is {kind} in `{seen}`, {field.type} in `{path}`",
                    "write it in one type in every shard",
                ) from None
            found[field.name] = both.field(0).type
    return pa.schema(list(found.items()))


def fitted_table(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """The columns of `schema`, in its types; null where the table lacks one.

    Raises BadInput, naming the items file, for an integer that a float would round.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)]))
            continue
        column = table.column(field.name)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowInvalid as error:
            reason = (str(error).splitlines() or [""])[0]
            raise BadInput(
                f"column `{field.name}` of `{path}` is no {field.type}, as another shard has it:"
                f" {reason}",
                "write it in one type in every shard",
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def id_problems(ids: Any) -> Iterator[tuple[int, str]]:
    """The row and what is wrong with its id: of each kind of fault the first."""
    if not len(ids):
        return
    if not pa.types.is_string(ids.type):
        kind = "null" if pa.types.is_null(ids.type) else f"`{ids[0]}`, {ids.type} and not a text"
        yield 0, f"the id is {kind}"
        return
    if ids.null_count:
        yield pc.index(ids.is_null(), True).as_py(), "the id is null"
    ascii_only = pc.string_is_ascii(ids)
    if pc.all(ascii_only).as_py():
        return
    others = ids.filter(pc.invert(ascii_only))
    if not pc.all(pc.equal(others, pc.utf8_normalize(others, "NFC"))).as_py():
        row = pc.index(pc.equal(ids, pc.utf8_normalize(ids, "NFC")), False).as_py()
        yield row, f"the id `{ids[row]}` is not in form NFC"


def repeated_id(ids: Any) -> tuple[int, int] | None:
    """Two rows of one id, the earlier first; None where every id is there once."""
    if pc.count_distinct(ids, mode="all").as_py() == len(ids):
        return None
    first: dict[str, int] = {}
    for row, item in enumerate(ids.to_pylist()):
        if first.setdefault(item, row) != row:
            return first[item], row
    return None
