"""The strings worth trying: sizes and memory in, strings that FAISS accepts out."""

import pytest

from mmcli.core.errors import UsageError
from mmcli.core.sizes import parse_bytes
from mmcli.index.build import empty
from mmcli.index.factory import candidates, index_bytes, list_count, probes, training_size

GB = 1 << 30


@pytest.mark.parametrize(
    ("n", "dim", "memory", "expected"),
    [
        (785, 384, 8 * GB, "Flat"),
        (785, 384, 1, "IVF20,PQ8"),
        (1_000_000, 384, 8 * GB, "IVF4096,Flat"),
        (10_000_000, 384, 8 * GB, "IVF16384,SQ8"),
        (100_000_000, 384, 8 * GB, "IVF32768,PQ64"),
    ],
)
def test_the_most_exact_that_fits_comes_last(n: int, dim: int, memory: int, expected: str) -> None:
    assert candidates(n, dim, memory)[-1] == expected


@pytest.mark.parametrize("n", [1, 300, 250_000, 3_000_000, 50_000_000])
@pytest.mark.parametrize("dim", [37, 384, 1280])
@pytest.mark.parametrize("memory", [GB // 64, 4 * GB, 256 * GB])
@pytest.mark.parametrize("on_disk", [False, True])
def test_every_candidate_is_one_that_faiss_makes(
    n: int, dim: int, memory: int, on_disk: bool
) -> None:
    found = candidates(n, dim, memory, on_disk=on_disk)
    assert found, "there is always one to try"
    for string in found:
        assert empty(string, dim, "cosine").d == dim


def test_what_fits_and_what_is_exact() -> None:
    assert candidates(50_000, 384, GB) == ["Flat"]
    assert candidates(500_000, 384, GB, target=1.0) == ["Flat"]
    assert candidates(500_000, 384, 4 * GB) == [
        "IVF2048,PQ96x4fs,RFlat",
        "IVF2048,SQ8",
        "IVF2048,Flat",
    ]
    assert candidates(500_000, 384, GB // 2) == [
        "IVF2048,PQ96x4fs,Refine(SQ8)",
        "IVF2048,SQ8",
    ]
    assert candidates(500_000, 384, GB // 5) == ["IVF2048,SQ8"]
    for string in candidates(500_000, 384, GB // 2):
        assert index_bytes(string, 500_000, 384) <= GB // 2
    assert candidates(5_000_000, 384, GB, on_disk=True) == ["IVF8192,SQ8", "IVF8192,Flat"]


def test_lists_can_be_trained_on_what_there_is() -> None:
    assert list_count(1_000) * 39 <= 1_000
    assert list_count(0) == 1
    assert 1 <= probes(4) <= 4
    assert training_size(500, 64) == 500


def test_sizes_as_people_write_them() -> None:
    sizes = {"4GB": 4 * 10**9, "2GiB": 2 << 30, "512m": 512 * 10**6, "1e9": 10**9, "0.5 kB": 500}
    assert {text: parse_bytes("--memory", text) for text in sizes} == sizes
    for text in ("", "GB", "4 apples", "-1GB", "0", "1..5GB"):
        with pytest.raises(UsageError, match="--memory"):
            parse_bytes("--memory", text)
