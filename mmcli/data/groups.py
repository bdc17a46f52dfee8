"""Which rows belong together, and an order of the groups that depends on their content alone.

Rows of one value of a column form a group; a row without a value is a group of its own. Groups are
ordered by a hash of the seed and the value, never by where they stand, so that adding or moving
rows does not shuffle the others. Knows nothing about splits.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmcli.core.errors import BadInput

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Groups:
    """The groups of some rows.

    codes: `(rows,)` the group of each row. texts: one a group, what is hashed of it.
    """

    codes: Rows
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def sizes(self) -> Rows:
        """`(groups,)` rows of each."""
        return np.bincount(self.codes, minlength=len(self)).astype(np.intp)

    def among(self, rows: Rows) -> "Groups":
        """The groups of these rows only, renumbered in the same order."""
        kept, codes = np.unique(self.codes[rows], return_inverse=True)
        return Groups(codes.astype(np.intp), tuple(self.texts[group] for group in kept))

    def order(self, seed: int) -> Rows:
        """The groups by a hash of seed and text, ties (equal texts) by number."""
        hashes = np.array([_hash(f"{seed}\0{text}") >> 192 for text in self.texts], np.uint64)
        return np.argsort(hashes, kind="stable").astype(np.intp)

    def hashes(self) -> list[int]:
        """`int(sha256(text as UTF-8), 16)` of each group, which any program can compute again."""
        return [_hash(text) for text in self.texts]


def group_rows(ids: Any, values: Any = None, name: str = "") -> Groups:
    """The groups of rows by the values of a column, each row its own group without one.

    ids, values: Arrow arrays `(rows,)`; name: of the column, for errors. A text is hashed as it
    is, any other value as JSON; a row without a value by its id. Raises BadInput for a column of
    lists or structs.
    """
    if values is None:
        return Groups(np.arange(len(ids), dtype=np.intp), tuple(ids.to_pylist()))
    refuse_nested(values, name)
    codes, found = encode(values)
    texts = [text_of(value) for value in found]
    alone = np.flatnonzero(codes < 0)
    codes[alone] = len(texts) + np.arange(len(alone))
    texts += ids.take(pa.array(alone)).to_pylist()
    return Groups(codes, tuple(texts))


def store_groups(store: Any, column: str | None) -> Groups:
    """The groups of all rows of a store by the values of a column, each row its own without one."""
    table = store.items(list(dict.fromkeys(["id", column] if column else ["id"])))
    return group_rows(table.column("id"), table.column(column) if column else None, column or "")


def group_codes(store: Any, column: str | None) -> NDArray[np.int64]:
    """`(rows,)` the number of each row's group alone; without a column nothing is read."""
    if column is None:
        return np.arange(store.rows, dtype=np.int64)
    return store_groups(store, column).codes.astype(np.int64)


def refuse_nested(values: Any, name: str) -> None:
    """Raise BadInput for a column of lists or structs, whose values cannot be compared."""
    if pa.types.is_nested(values.type):
        raise BadInput(
            f"column `{name}` holds {values.type}, not single values",
            "name a column of texts or numbers",
        )


def encode(values: Any) -> tuple[Rows, list[Any]]:
    """The number of each row's value in the list of distinct ones; -1 where there is none."""
    whole = pa.chunked_array([values]) if isinstance(values, pa.Array) else values
    if pa.types.is_dictionary(whole.type):
        whole = whole.cast(whole.type.value_type)
    if pa.types.is_null(whole.type):  # whose one value would be found to be null
        whole = whole.cast(pa.string())
    encoded = pc.dictionary_encode(whole).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # no rows, or more than one chunk can hold
        encoded = pa.concat_arrays(encoded.unify_dictionaries().chunks)
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return codes.astype(np.intp), encoded.dictionary.to_pylist()


def fill(order: Sequence[int], sizes: Rows, target: float) -> list[int]:
    """Groups in their order, each taken if it still fits into `target` rows.

    At least one is taken, the smallest when none fits, and at least one is left. A group too large
    for what is left is passed over, so one of half the rows does not fall into a share of a tenth.
    """
    taken: list[int] = []
    rows = 0
    for group in order:
        if rows + sizes[group] <= target:
            taken.append(group)
            rows += int(sizes[group])
    if not taken and len(order):
        taken = [min(order, key=lambda group: int(sizes[group]))]
    return taken if len(taken) < len(order) else taken[:-1]


def text_of(value: Any) -> str:
    """What is hashed of a value: a text itself, else its JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
