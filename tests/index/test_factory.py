"""The choice of a factory string: sizes and memory in, a string that FAISS accepts out."""

import pytest

from mmcli.index.build import empty
from mmcli.index.factory import choose, list_count, probes, training_size

GB = 1 << 30


@pytest.mark.parametrize(
    ("n", "dim", "memory", "expected"),
    [
        (785, 384, 8 * GB, "Flat"),
        (785, 384, 1, "Flat"),
        (1_000_000, 384, 16 * GB, "IVF4096,Flat"),
        (10_000_000, 384, 16 * GB, "IVF16384,SQ8"),
        (100_000_000, 384, 16 * GB, "IVF32768,PQ64"),
    ],
)
def test_choice(n: int, dim: int, memory: int, expected: str) -> None:
    assert choose(n, dim, memory) == expected


@pytest.mark.parametrize("n", [1, 300, 250_000, 3_000_000, 50_000_000])
@pytest.mark.parametrize("dim", [37, 384, 1280])
@pytest.mark.parametrize("memory", [GB // 64, 4 * GB, 256 * GB])
def test_every_choice_is_one_that_faiss_makes(n: int, dim: int, memory: int) -> None:
    assert empty(choose(n, dim, memory), dim, "cosine").d == dim


def test_lists_can_be_trained_on_what_there_is() -> None:
    assert list_count(1_000) * 39 <= 1_000
    assert list_count(0) == 1
    assert 1 <= probes(4) <= 4
    assert training_size(500, 64) == 500
