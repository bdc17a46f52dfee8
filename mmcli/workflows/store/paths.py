"""Paths of parts when items of two roots come together. Opens no file."""

import pyarrow as pa

from mmcli.core.types import PART_COLUMNS
from mmcli.data.places import locate

#: A store holds texts themselves, never their paths.
_PATHS = tuple(part for part in PART_COLUMNS if part != "text")


def rerooted(table: pa.Table, root: str | None) -> pa.Table:
    """The items with the paths of their parts made absolute; without a root they stay."""
    for name in _PATHS if root else ():
        at = table.schema.get_field_index(name)
        if at < 0 or not pa.types.is_string(table.schema.field(name).type):
            continue
        paths = [p and locate(root, p) for p in table.column(name).to_pylist()]
        table = table.set_column(at, name, pa.array(paths, pa.string()))
    return table
