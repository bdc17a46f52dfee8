"""`retrieve tune` of an index that has grown, shrunk, been folded or merged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.index.build import inverted_lists
from mmcli.index.layout import open_index
from mmcli.index.living import kept_rows, open_vectors
from mmcli.index.search import search, vector_of
from mmcli.index.settings import parts_of
from mmcli.store.verification import verify_directory
from mmcli.workflows.index.add import AddConfig, add_rows
from mmcli.workflows.index.build import build_index
from mmcli.workflows.index.config import IndexConfig, Listeners
from mmcli.workflows.index.merge import MergeConfig, merge_indexes
from mmcli.workflows.index.remove import RemoveConfig, remove_rows
from mmcli.workflows.index.tune import TuneConfig, tune_index
from tests.conftest import Run
from tests.index.living_stores import DIM, clustered, names, write_store

N, MORE = 2400, 160
ROWS, NEW, QUERIES = clustered(N), clustered(MORE, seed=1), clustered(200, seed=2)
#: What a grown index of each kind is measured on: does it keep what was added?
GROWN = {
    "IVF64,Flat": "vectors",
    "IVF64,SQ8": "codes",
    "IVF64,PQ16x4fs,RFlat": "vectors",
    "IVF64,PQ16x4fs,Refine(SQ8)": "codes",
    "HNSW8": "vectors",
    "Flat": "vectors",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tune-changed")
    write_store(root / "first", ROWS, names(N))
    write_store(root / "more", NEW, names(MORE, "b"))
    for factory in GROWN:
        build_index(IndexConfig(str(root / "first"), str(root / factory), factory=factory))
    for factory in ("IVF64,Flat", "IVF64,SQ8"):
        path = str(root / f"{factory} on disk")
        build_index(IndexConfig(str(root / "first"), path, factory=factory, on_disk=True))
    return root


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(root / name, tmp_path / "index"))


def tuned(index: Path, target: float = 0.9, **more: Any) -> dict[str, Any]:
    return tune_index(TuneConfig(str(index), target, **more))


def recall_of(index: Path, vectors: Any) -> float:
    """Recall@10 of new queries, of rows of the index that are numbered as `vectors` are."""
    manifest = open_index(index)
    hits = search(open_vectors(index, manifest), QUERIES, 10, "cosine")
    scores = QUERIES @ vectors.T
    scores[:, ~kept_rows(index, manifest)] = -np.inf
    truth = np.argsort(-scores, axis=1)[:, :10]
    return float(np.mean([len(set(h.rows) & set(t)) / 10 for h, t in zip(hits, truth)]))


@pytest.mark.parametrize("factory", [*GROWN, "IVF64,Flat on disk", "IVF64,SQ8 on disk"])
def test_what_has_grown_and_shrunk_reaches_the_recall(
    copy: Callable[[str], Path], root: Path, factory: str
) -> None:
    index = copy(factory)
    add_rows(AddConfig(str(index), str(root / "more")))
    remove_rows(RemoveConfig(str(index), (*names(N)[100:200], *names(7, "b"))))
    before = open_index(index)
    assert before["additions"] and before["tombstones"]
    report = tuned(index, 0.9)
    told = report["measured_recall"]
    assert told["against"] == GROWN[factory.removesuffix(" on disk")]
    assert told["recall@10"] >= 0.9
    assert told["held_out_queries"] == (N + MORE - 107) // 20
    after = open_index(index)
    assert (after["search"], after["measured_recall"]) == (report["search"], told)
    assert after["generation"] == before["generation"] + 1
    changed = {"search", "measured_recall", "generation", "manifest_sha256"}
    assert {k: v for k, v in after.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }
    assert verify_directory(index).problems == []
    both = np.concatenate([ROWS, NEW])
    assert abs(recall_of(index, both) - told["recall@10"]) < 0.1
    if "IVF" in factory:
        living = open_vectors(index, after)
        assert len(living.segments) == 2
        for part in parts_of(living):
            nprobe = inverted_lists(part).nprobe
            assert nprobe == report["search"]["nprobe"]
            assert "x4fs" not in factory or part.k_factor == report["search"]["k_factor"]
    low = tuned(index, 0.3, dry_run=True)
    assert open_index(index) == after
    if "IVF64,Flat" in factory:
        assert low["search"]["nprobe"] < report["search"]["nprobe"]
    remove_rows(RemoveConfig(str(index), tuple(names(N)[300:303])))
    remove_rows(RemoveConfig(str(index), compact=True))
    assert open_index(index)["measured_recall"] == {**told, "rows_changed_since": 3}
    add_rows(AddConfig(str(index), str(root / "more"), replace=True))
    since = open_index(index)["measured_recall"]["rows_changed_since"]
    assert since == 3 + MORE + (MORE - 7), "those replaced left"
    folded = tuned(index, 0.9)
    assert folded["measured_recall"]["against"] == told["against"]
    assert folded["measured_recall"]["recall@10"] >= 0.9


@pytest.mark.parametrize("compact", [False, True])
def test_what_only_shrank_is_measured_on_its_store(
    copy: Callable[[str], Path], root: Path, tmp_path: Path, compact: bool
) -> None:
    index = copy("IVF64,SQ8")
    remove_rows(RemoveConfig(str(index), tuple(names(N)[::3]), compact=compact))
    report = tuned(index)
    assert report["measured_recall"]["against"] == "store"
    assert report["measured_recall"]["recall@10"] >= 0.9
    if not compact:
        assert abs(recall_of(index, ROWS) - report["measured_recall"]["recall@10"]) < 0.06
    shutil.copytree(root / "first", tmp_path / "moved")
    moved = tuned(index, store=str(tmp_path / "moved"))
    assert moved["measured_recall"]["against"] == "store"
    with pytest.raises(BadInput, match="no longer the store"):
        tuned(index, store=str(root / "more"))


def test_a_changed_index_does_without_its_store(root: Path, tmp_path: Path) -> None:
    build_index(
        IndexConfig(
            str(shutil.copytree(root / "first", tmp_path / "store")),
            str(tmp_path / "index"),
            factory="IVF64,SQ8",
        )
    )
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(BadInput, match="is not at"):
        tuned(tmp_path / "index")
    remove_rows(RemoveConfig(str(tmp_path / "index"), ("a000000",)))
    said: list[str] = []
    report = tune_index(TuneConfig(str(tmp_path / "index"), 0.9), Listeners(said.append))
    assert report["measured_recall"]["against"] == "codes"
    assert "is not at" in said[0] and "measured by its codes" in said[0]


def test_rows_replaced_from_elsewhere_are_not_taken_for_the_stores(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    index = copy("IVF64,SQ8")
    write_store(tmp_path / "turned", clustered(40, seed=9), names(40))
    add_rows(AddConfig(str(index), str(tmp_path / "turned"), replace=True, compact=True))
    assert tuned(index)["measured_recall"]["against"] == "codes"


def test_merged(root: Path, tmp_path: Path) -> None:
    build_index(IndexConfig(str(root / "more"), str(tmp_path / "two"), factory="Flat"))
    out = tmp_path / "both"
    merge_indexes(MergeConfig(str(root / "IVF64,Flat"), str(tmp_path / "two"), str(out)))
    report = tuned(out)
    assert report["measured_recall"]["against"] == "vectors"
    assert report["measured_recall"]["recall@10"] >= 0.9
    with pytest.raises(BadInput, match="several stores"):
        tuned(out, store=str(root / "first"))


def test_what_cannot_be_tuned_says_why(
    copy: Callable[[str], Path], root: Path, tmp_path: Path
) -> None:
    index = copy("IVF64,Flat")
    remove_rows(RemoveConfig(str(index), where="true", compact=False))
    with pytest.raises(BadInput, match="is empty"):
        tuned(index)
    white = tmp_path / "white"
    build_index(IndexConfig(str(root / "first"), str(white), factory="PCAW16,Flat"))
    add_rows(AddConfig(str(white), str(root / "more")))
    state = (white / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match="does not give vectors back"):
        tuned(white)
    with pytest.raises(UsageError, match="does not give vectors back"):
        vector_of(open_vectors(white, open_index(white)), 0)
    assert (white / "manifest.json").read_bytes() == state


def test_a_change_in_between_is_noticed(copy: Callable[[str], Path]) -> None:
    index = copy("IVF64,Flat")

    def remove_one(done: int, total: int) -> None:
        remove_rows(RemoveConfig(str(index), ("a000001",), missing_ok=True))

    with pytest.raises(BadInput, match="changed while it was measured"):
        tune_index(TuneConfig(str(index), 0.9), Listeners(progress=remove_one))
    assert open_index(index)["search"] is None


def test_two_modalities_are_told_apart(tmp_path: Path) -> None:
    rows = clustered(600)
    images = write_store(tmp_path / "image", rows[:300], names(300))
    from mmcli.store.reader import Store
    from mmcli.store.writer import KeyArrays, StoreWriter

    store = Store.open(images)
    entry = store.keys["image"]
    entries = {"image": dict(entry), "text": {**entry, "slug": "text"}}
    table = store.items().append_column("modality", [["what is shown"] * 300])
    with StoreWriter(tmp_path / "both", entries, {}, {}, "both") as writer:
        arrays = {"image": KeyArrays(rows[:300]), "text": KeyArrays(rows[300:])}
        writer.write_shard(0, 0, table, arrays, [], (300, 0, 0), {})
        writer.commit(versions={"mmcli": "0"})
    index = tmp_path / "index"
    build_index(
        IndexConfig(
            str(tmp_path / "both"), str(index), factory="IVF16,SQ8", modalities=("image", "text")
        )
    )
    remove_rows(RemoveConfig(str(index), where="indexed_modality = 'text' AND id < 'a000100'"))
    assert open_index(index)["modalities"] == {"image": 300, "text": 200}
    report = tuned(index, 0.8)
    assert report["measured_recall"]["against"] == "store"
    assert abs(recall_of(index, rows) - report["measured_recall"]["recall@10"]) < 0.15
    assert rows.shape[1] == DIM


def test_a_dozen_rows_have_one_query_and_no_narrow_interval(tmp_path: Path) -> None:
    store = write_store(tmp_path / "few", ROWS[:12], names(12))
    index = tmp_path / "index"
    build_index(IndexConfig(str(store), str(index), factory="IVF2,Flat", target_recall=0.9))
    told = tuned(index, 1.0)["measured_recall"]
    assert (told["held_out_queries"], told["low"], told["high"]) == (1, 0, 1)


def test_by_the_command(run_here: Run, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "IVF64,SQ8", tmp_path / "index")
    words = ("retrieve", "add", tmp_path / "index", root / "more", "-q")
    assert run_here(*words).returncode == 0
    done = run_here("retrieve", "tune", tmp_path / "index", "--target-recall", "0.8", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["measured_recall"]["against"] == "codes"
    assert "measured by its codes" in done.stderr
    assert run_here("verify", tmp_path / "index").returncode == 0
