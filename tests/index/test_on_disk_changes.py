"""An index with its lists on disk, grown, pruned, folded and merged, beside its twin in memory.

The twin is the same file read whole, so whatever is done to both must find the same.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import BadInput
from mmcli.index import search as searching
from mmcli.index.layout import open_index
from mmcli.index.living import narrow, open_items, open_vectors
from mmcli.index.on_disk import mapped_lists
from mmcli.index.search import Hits
from mmcli.store.manifest import write_manifest
from mmcli.store.verification import verify_directory
from mmcli.workflows.index.add import AddConfig, add_rows
from mmcli.workflows.index.build import build_index
from mmcli.workflows.index.config import IndexConfig
from mmcli.workflows.index.merge import MergeConfig, merge_indexes
from mmcli.workflows.index.remove import RemoveConfig, remove_rows
from tests.conftest import Run
from tests.index.living_stores import clustered, names, write_store

N, MORE = 700, 40
ROWS, NEW, QUERIES = clustered(N), clustered(MORE, seed=1), clustered(30, seed=2)
FACTORIES = ("IVF8,Flat", "IVF8,SQ8", "IVF8,PQ8x4")
Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("on-disk")
    write_store(root / "first", ROWS, names(N))
    write_store(root / "more", NEW, names(MORE, "b"))
    for factory in FACTORIES:
        path = root / factory
        build_index(IndexConfig(str(root / "first"), str(path), factory=factory, on_disk=True))
        twin = shutil.copytree(path, root / f"twin of {factory}")
        write_manifest(twin, {**open_index(twin), "on_disk": False})
    return root


@pytest.fixture
def pair(root: Path, tmp_path: Path) -> Callable[[str], Pair]:
    """An index on disk and its twin, to be changed."""

    def copied(factory: str) -> Pair:
        shutil.copytree(root / factory, tmp_path / "mapped")
        shutil.copytree(root / f"twin of {factory}", tmp_path / "twin")
        return tmp_path / "mapped", tmp_path / "twin"

    return copied


def hits_of(index: Path, k: int = 10, only: Any = None) -> list[Hits]:
    manifest = open_index(index)
    vectors = open_vectors(index, manifest)
    built = vectors.segments[0].index if hasattr(vectors, "segments") else vectors
    assert (mapped_lists(built) is not None) == bool(manifest["on_disk"])
    if only is not None:
        vectors = narrow(vectors, only)
    return searching.search(vectors, QUERIES, k, manifest["metric"])


def assert_alike(mapped: Path, twin: Path) -> None:
    """Both find the same, hold the same items, and are whole."""
    for k, only in ((10, None), (400, None), (10, np.arange(0, 300, 7))):
        for one, other in zip(hits_of(mapped, k, only), hits_of(twin, k, only), strict=True):
            assert np.allclose(one.scores, other.scores, atol=1e-6)
            near = np.array(one.scores) - one.scores[-1] > 1e-6  # else ties, of codes
            assert set(np.array(one.rows)[near]) <= set(other.rows)
    first, second = (open_items(path, open_index(path)) for path in (mapped, twin))
    assert first.rows == second.rows
    assert first.take(range(first.rows), ["id"]) == second.take(range(first.rows), ["id"])
    for path in (mapped, twin):
        assert verify_directory(path).problems == []


@pytest.mark.parametrize("factory", FACTORIES)
def test_it_changes_as_its_twin_does(pair: Callable[[str], Pair], root: Path, factory: str) -> None:
    mapped, twin = pair(factory)
    assert_alike(mapped, twin)
    gone = [*names(N)[5:90], *names(4, "b")]
    for step in (
        lambda path: add_rows(AddConfig(str(path), str(root / "more"))),
        lambda path: remove_rows(RemoveConfig(str(path), tuple(gone))),
        lambda path: remove_rows(RemoveConfig(str(path), compact=True)),
        lambda path: add_rows(AddConfig(str(path), str(root / "more"), replace=True)),
    ):
        left, right = (report | {"index": "", "bytes": 0} for report in map(step, (mapped, twin)))
        assert left == right
        assert_alike(mapped, twin)
    assert left["rows"] == N - 85 + MORE


def test_a_folded_file_is_mapped_and_alone(pair: Callable[[str], Pair], root: Path) -> None:
    mapped, _ = pair("IVF8,Flat")
    add_rows(AddConfig(str(mapped), str(root / "more"), compact=True))
    manifest = open_index(mapped)
    assert (manifest["on_disk"], manifest["rows"]) == (True, N + MORE)
    assert not manifest.get("additions")
    assert len(list(mapped.glob("*.faiss"))) == len(list(mapped.glob("*.parquet"))) == 1
    index = open_vectors(mapped, manifest)
    assert mapped_lists(index) is not None
    stored = np.concatenate([ROWS, NEW])
    assert np.allclose(
        np.stack([searching.vector_of(index, row) for row in range(len(stored))]), stored, atol=1e-6
    )


def test_much_folds_in_by_itself_and_many_additions_become_one(
    pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    mapped, twin = pair("IVF8,SQ8")
    for turn in range(10):
        store = write_store(tmp_path / f"s{turn}", clustered(6, seed=turn), names(6, f"t{turn}-"))
        for path in (mapped, twin):
            report = add_rows(AddConfig(str(path), str(store)))
    assert 0 < report["additions"] <= 8
    assert_alike(mapped, twin)
    for path in (mapped, twin):
        report = remove_rows(RemoveConfig(str(path), where="id < 'a000200'"))
        assert (report["tombstones"], report["additions"]) == (0, 0)
    assert_alike(mapped, twin)
    with pytest.raises(BadInput, match="would be empty"):
        remove_rows(RemoveConfig(str(mapped), where="true", compact=True))
    assert_alike(mapped, twin)


@pytest.mark.parametrize("factory", FACTORIES)
def test_two_are_merged_whichever_is_on_disk(
    pair: Callable[[str], Pair], root: Path, tmp_path: Path, factory: str
) -> None:
    mapped, twin = pair(factory)
    build_index(
        IndexConfig(str(root / "more"), str(tmp_path / "b"), factory="IVF4,Flat", on_disk=True)
    )
    for path in (mapped, twin):
        store = write_store(tmp_path / "some", clustered(9, seed=8), names(9, "c"))
        add_rows(AddConfig(str(path), str(store)))
        remove_rows(RemoveConfig(str(path), ("a000003", "c000001")))
        shutil.rmtree(store)
    remove_rows(RemoveConfig(str(tmp_path / "b"), ("b000000",)))
    for path in (mapped, twin):
        out = tmp_path / f"{path.name} and b"
        report = merge_indexes(MergeConfig(str(path), str(tmp_path / "b"), str(out)))
        assert report["rows"] == N + 9 - 2 + MORE - 1
        assert open_index(out)["on_disk"] == (path is mapped)
        assert not [entry for entry in out.iterdir() if entry.name.startswith(".tmp-")]
    assert_alike(tmp_path / "mapped and b", tmp_path / "twin and b")
    remove_rows(RemoveConfig(str(twin), where="true"))
    report = merge_indexes(MergeConfig(str(tmp_path / "b"), str(twin), str(tmp_path / "b again")))
    assert report["rows"] == MORE - 1
    assert verify_directory(tmp_path / "b again").problems == []
    assert [len(hit.rows) for hit in hits_of(tmp_path / "b again")] == [10] * len(QUERIES)
    out = tmp_path / "b and mapped"
    merge_indexes(MergeConfig(str(tmp_path / "b"), str(mapped), str(out)))
    assert open_index(out)["on_disk"]
    assert verify_directory(out).problems == []
    assert all(len(hit.rows) == 10 for hit in hits_of(out))


def test_without_a_recall_it_looks_as_far_as_one_in_memory(root: Path, tmp_path: Path) -> None:
    build_index(IndexConfig(str(root / "first"), str(tmp_path / "i"), factory="IVF8,Flat"))
    depths = []
    for path in (tmp_path / "i", root / "IVF8,Flat"):
        depths.append(open_vectors(path, open_index(path)).nprobe)
    assert depths == [8, 8]


def test_every_row_may_be_taken_out(pair: Callable[[str], Pair], root: Path) -> None:
    for path in pair("IVF8,SQ8"):
        report = remove_rows(RemoveConfig(str(path), where="true"))
        assert (report["rows"], report["tombstones"]) == (0, N)
        assert all(hit.rows == () for hit in hits_of(path))
        assert add_rows(AddConfig(str(path), str(root / "more")))["rows"] == MORE


def test_by_the_commands(run_here: Run, root: Path) -> None:
    def told(*words: object) -> Any:
        done = run_here("retrieve", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    told("index", root / "first", "-o", "i", "--factory", "IVF8,Flat", "--on-disk")
    assert told("add", "i", root / "more")["rows"] == N + MORE
    assert told("remove", "i", "b000001", "--compact")["rows"] == N + MORE - 1
    found = told("search", "i", "--like", "b000002", "-k", 3)
    assert len(found) == 3 and "b000001" not in {row["id"] for row in found}
    told("index", root / "more", "-o", "j", "--factory", "IVF4,Flat", "--on-disk")
    again = run_here("retrieve", "merge", "i", "j", "-o", "both")
    assert again.returncode == 3 and "--replace" in again.stderr
    assert told("merge", "i", "j", "-o", "both", "--replace")["rows"] == N + MORE
    assert told("info", "both")["on_disk"] is True
    assert run_here("verify", "both").returncode == 0
