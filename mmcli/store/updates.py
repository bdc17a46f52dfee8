"""What a store remembers of its rows' sources, and when each row was embedded.

Every shard has a `sources` file: a row an item, with hashes of what it was made from and the
generation of the store that embedded it. Knows nothing about files of media.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.store.reader import Store
from mmcli.store.records import ShardRecord

GENERATION = "generation"


def with_generation(table: pa.Table, generation: int) -> pa.Table:
    """The hashes of a shard's rows, all embedded in one generation."""
    return table.append_column(
        GENERATION, pa.array(np.full(len(table), generation, np.int64), pa.int64())
    )


def read_sources(path: Path, record: ShardRecord) -> pa.Table:
    """The sources of a shard. Raises BadInput when it was written without."""
    if record.sources is None:
        raise BadInput(
            f"`{path}` does not say what its rows were made from",
            "an earlier mmcli, or another program, wrote it: extract it again with `--force`",
        )
    file = path / record.sources
    return read_rows(open_parquet(file), file)


def embedded_in(store: Store) -> Any:
    """`(rows,)` int64: the generation of the store in which each row was embedded."""
    found = []
    for shard in store.manifest["shards"]:
        if not shard.get("sources"):
            raise BadInput(
                f"`{store.path}` does not say when its rows were embedded",
                "build the index again: `retrieve index … --force`",
            )
        file = store.path / shard["sources"]
        found.append(read_rows(open_parquet(file), file, [GENERATION])[GENERATION].to_numpy())
    return np.concatenate([np.zeros(0, np.int64), *found])
