"""Mapped sequences against the reader's, over several shards, in any order."""

import numpy as np
import pytest

from mmcli.core.errors import BadInput
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from tests.store.store_making import ROWS, SHARDS, make_store


def test_rows_of_any_shard_in_any_order(tmp_path):
    make_store(tmp_path / "s")
    store = Store.open(tmp_path / "s")
    mapped = MappedSequences(store, "text:other")
    rows = np.random.default_rng(0).permutation(ROWS * SHARDS)
    lengths = set()
    for row, found in zip(rows, mapped.take(rows), strict=True):
        np.testing.assert_array_equal(found, store.sequence("text:other", int(row)))
        assert found.dtype == np.float32
        lengths.add(len(found))
    assert 0 in lengths and len(lengths) > 2
    assert mapped.take([]) == []
    with pytest.raises(BadInput, match="no sequences"):
        MappedSequences(store, "image")
