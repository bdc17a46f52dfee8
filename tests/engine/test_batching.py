"""Cutting rows into batches: every row once, lengths that depend on the row alone."""

import random

from mmcli.core.types import Prepared
from mmcli.engine.batching import bucket, cut, padded_length


def test_bucket_never_cuts_and_never_shrinks() -> None:
    sizes = [bucket(n) for n in range(3000)]
    assert all(size >= max(1, n) for n, size in enumerate(sizes))
    assert sizes == sorted(sizes)
    assert all(bucket(size) == size for size in sizes)


def test_cut_gives_each_row_once_within_the_budget() -> None:
    rng = random.Random(0)
    rows = [Prepared(None, rng.randint(1, 300)) for _ in range(500)]
    batches = list(cut(rows, budget=1024, most=64))
    assert sorted(i for batch in batches for i in batch) == list(range(500))
    for batch in batches:
        lengths = {bucket(rows[i].length) for i in batch}
        assert len(lengths) == 1
        assert len(batch) <= 64
        assert len(batch) == 1 or len(batch) * lengths.pop() <= 1024


def test_a_row_is_padded_the_same_whoever_is_beside_it() -> None:
    row = Prepared("x", 77)
    alone = padded_length([row])
    rows = [Prepared("y", n) for n in (1, 70, 76, 80, 200)] + [row]
    (batch,) = (batch for batch in cut(rows, 4096) if 5 in batch)
    assert len(batch) > 1, "it has company"
    assert padded_length([rows[i] for i in batch]) == alone
