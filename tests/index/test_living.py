"""An index that grows and shrinks: what is found is what a rebuild would find."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.data.places import locate
from mmcli.index.layout import open_index
from mmcli.index.living import narrow, open_items, open_vectors
from mmcli.index.search import search
from mmcli.store.verification import verify_directory
from mmcli.workflows.index.add import AddConfig, add_rows
from mmcli.workflows.index.build import build_index
from mmcli.workflows.index.config import IndexConfig
from mmcli.workflows.index.info import index_info
from mmcli.workflows.index.merge import MergeConfig, merge_indexes
from mmcli.workflows.index.remove import RemoveConfig, remove_rows
from tests.conftest import Run
from tests.index.living_stores import clustered, names, write_store

N, MORE = 3000, 60
ROWS, NEW = clustered(N), clustered(MORE, seed=1)
FACTORIES = ("Flat", "IVF16,Flat", "IVF16,SQ8", "HNSW16")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("stores")
    write_store(root / "first", ROWS, names(N))
    write_store(root / "more", NEW, names(MORE, "b"))
    return root / "first", root / "more"


@pytest.fixture(scope="module")
def built(stores: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("indexes")
    found = {}
    for factory in FACTORIES:
        path = root / factory.replace(",", "-")
        build_index(IndexConfig(str(stores[0]), str(path), factory=factory))
        found[factory] = path
    return found


@pytest.fixture
def copy(built: dict[str, Path], tmp_path: Path) -> Any:
    return lambda factory: Path(shutil.copytree(built[factory], tmp_path / "index"))


def found_ids(index: Path, queries: NDArray[np.float32], k: int = 10) -> list[list[str]]:
    manifest = open_index(index)
    hits = search(open_vectors(index, manifest), queries, k, manifest["metric"])
    items = open_items(index, manifest)
    return [[item["id"] for item in items.take(hit.rows, ["id"])] for hit in hits]


def true_ids(
    vectors: NDArray[np.float32], ids: list[str], queries: NDArray[np.float32], k: int = 10
) -> list[list[str]]:
    order = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]
    return [[ids[row] for row in rows] for rows in order]


def recall(found: list[list[str]], truth: list[list[str]]) -> float:
    return float(np.mean([len(set(f) & set(t)) / len(t) for f, t in zip(found, truth)]))


QUERIES = clustered(40, seed=2)


@pytest.mark.parametrize("factory", FACTORIES)
def test_added_rows_are_found_and_removed_ones_are_not(
    copy: Any, stores: tuple[Path, Path], factory: str
) -> None:
    index = copy(factory)
    before = recall(found_ids(index, QUERIES), true_ids(ROWS, names(N), QUERIES))
    report = add_rows(AddConfig(str(index), str(stores[1])))
    assert (report["added"], report["rows"], report["additions"]) == (MORE, N + MORE, 1)
    assert [ids[0] for ids in found_ids(index, NEW)] == names(MORE, "b")
    gone = [row for rows in found_ids(index, QUERIES, 3) for row in rows][:30]
    report = remove_rows(RemoveConfig(str(index), tuple(gone)))
    assert report["removed"] == len(set(gone)) == report["tombstones"]
    ids = names(N) + names(MORE, "b")
    left = np.array([item not in set(gone) for item in ids])
    vectors = np.concatenate([ROWS, NEW])[left]
    truth = true_ids(vectors, [i for i, kept in zip(ids, left) if kept], QUERIES)
    found = found_ids(index, QUERIES)
    assert all(len(rows) == 10 and not set(rows) & set(gone) for rows in found)
    assert recall(found, truth) >= before - 0.02
    assert verify_directory(index).problems == []
    remove_rows(RemoveConfig(str(index), compact=True))
    folded = open_index(index)
    assert not folded.get("additions") and folded["tombstones"] == []
    assert folded["rows"] == len(vectors)
    assert recall(found_ids(index, QUERIES), truth) >= before - 0.02
    assert set(folded["files"]) >= {folded["index"], folded["items"]}
    assert len(list(index.glob("*.faiss"))) == len(list(index.glob("*.parquet"))) == 1
    assert verify_directory(index).problems == []


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("changed", [False, True])
def test_a_filter_gives_k_results_as_exact_search_does(
    copy: Any, stores: tuple[Path, Path], factory: str, changed: bool
) -> None:
    index = copy(factory)
    ids, vectors = names(N), ROWS
    if changed:
        add_rows(AddConfig(str(index), str(stores[1])))
        ids, vectors = ids + names(MORE, "b"), np.concatenate([ROWS, NEW])
        remove_rows(RemoveConfig(str(index), where="label = 'cat' AND id < 'a000900'"))
    keep = np.array([int(i[1:]) % 100 == 0 and not (changed and i < "a000900") for i in ids])
    rows = np.flatnonzero(keep)
    manifest = open_index(index)
    from mmcli.data.where import matching_rows
    from mmcli.index.living import item_files

    matching = matching_rows(item_files(index, manifest), "label = 'cat'")
    living = narrow(open_vectors(index, manifest), matching)
    hits = search(living, QUERIES, 10, "cosine")
    assert all(len(hit.rows) == 10 and set(hit.rows) <= set(rows) for hit in hits)
    order = rows[np.argsort(-(QUERIES @ vectors[rows].T), axis=1)[:, :10]]
    share = np.mean([len(set(h.rows) & set(o)) / 10 for h, o in zip(hits, order)])
    assert share >= (0.97 if "SQ8" in factory else 1)
    everything = search(living, QUERIES[:3], 500, "cosine")
    assert all(set(hit.rows) == set(rows) for hit in everything)


def test_ids_that_are_there_are_an_error_or_replaced(
    copy: Any, stores: tuple[Path, Path], tmp_path: Path
) -> None:
    index = copy("IVF16,Flat")
    turned = clustered(5, seed=7)
    write_store(tmp_path / "again", turned, names(5), label=["new"] * 5)
    with pytest.raises(BadInput, match=r"item `a000000` already, and 4 more"):
        add_rows(AddConfig(str(index), str(tmp_path / "again")))
    report = add_rows(AddConfig(str(index), str(tmp_path / "again"), replace=True))
    assert (report["added"], report["removed"], report["rows"]) == (5, 5, N)
    assert [ids[0] for ids in found_ids(index, turned)] == names(5)
    items = open_items(index, open_index(index))
    assert items.take(items.find("a000003"), ["label"]) == [{"label": "new"}]
    remove_rows(RemoveConfig(str(index), ("a000003",)))
    with pytest.raises(BadInput, match="a000003"):
        items = open_items(index, open_index(index))
        items.find("a000003")
    report = add_rows(AddConfig(str(index), str(tmp_path / "again"), replace=True))
    assert (report["added"], report["removed"], report["rows"]) == (5, 4, N)
    original = open_index(index)["store"]["path"]  # an update brings back what it says of them
    for compact, added in ((True, N), (None, 0)):
        report = add_rows(AddConfig(str(index), original, sync=True, compact=compact))
        assert (report["added"], report["removed"], report["rows"]) == (added, added, N)
    items = open_items(index, open_index(index))
    assert items.take(items.find("a000003"), ["label"]) != [{"label": "new"}]


def test_what_does_not_fit_is_refused(copy: Any, tmp_path: Path) -> None:
    index = copy("Flat")
    state = (index / "manifest.json").read_bytes()
    write_store(tmp_path / "far", NEW, names(MORE, "c"), space="other@000000000000")
    with pytest.raises(SpaceMismatch, match=r"made-up@0123456789ab.*other@000000000000"):
        add_rows(AddConfig(str(index), str(tmp_path / "far")))
    write_store(tmp_path / "unknown", NEW, names(MORE, "c"), space="")
    build_index(IndexConfig(str(tmp_path / "unknown"), str(tmp_path / "nowhere")))
    for refuse in (
        lambda: add_rows(AddConfig(str(index), str(tmp_path / "unknown"))),
        lambda: merge_indexes(
            MergeConfig(str(index), str(tmp_path / "nowhere"), str(tmp_path / "both"))
        ),
    ):
        with pytest.raises(SpaceMismatch, match="does not say in which space it is"):
            refuse()
    with pytest.raises(BadInput, match="no item `z`, nor 1 more"):
        remove_rows(RemoveConfig(str(index), ("z", "y", "a000001")))
    with pytest.raises(UsageError, match="nothing to remove"):
        remove_rows(RemoveConfig(str(index)))
    with pytest.raises(BadInput, match="labl"):
        remove_rows(RemoveConfig(str(index), where="labl = 'cat'"))
    assert (index / "manifest.json").read_bytes() == state
    assert remove_rows(RemoveConfig(str(index), ("z", "a000001"), missing_ok=True))["removed"] == 1


def test_many_additions_become_one_and_much_folds_in(copy: Any, tmp_path: Path) -> None:
    index = copy("IVF16,SQ8")
    rows = clustered(120, seed=5)
    for turn in range(10):
        part = slice(12 * turn, 12 * turn + 12)
        write_store(tmp_path / f"s{turn}", rows[part], names(12, f"t{turn}-"))
        add_rows(AddConfig(str(index), str(tmp_path / f"s{turn}")))
    assert index_info(str(index))["additions"] <= 8
    assert len({row for ids in found_ids(index, rows, 1) for row in ids}) == 120
    write_store(tmp_path / "much", clustered(1200, seed=6), names(1200, "u"))
    report = add_rows(AddConfig(str(index), str(tmp_path / "much")))
    assert (report["additions"], report["rows"]) == (0, N + 120 + 1200)
    assert len({row for ids in found_ids(index, rows, 1) for row in ids}) == 120
    report = remove_rows(RemoveConfig(str(index), where="id LIKE 'a%'"))
    assert (report["tombstones"], report["rows"]) == (0, 1320)
    assert (
        recall(found_ids(index, rows, 1), [[i] for t in range(10) for i in names(12, f"t{t}-")])
        > 0.95
    )


@pytest.mark.parametrize("factory", FACTORIES)
def test_merging_two_indexes(
    built: dict[str, Path], stores: tuple[Path, Path], tmp_path: Path, factory: str
) -> None:
    build_index(IndexConfig(str(stores[1]), str(tmp_path / "two"), factory="Flat"))
    remove_rows(RemoveConfig(str(tmp_path / "two"), ("b000000",)))
    report = merge_indexes(
        MergeConfig(str(built[factory]), str(tmp_path / "two"), str(tmp_path / "both"))
    )
    assert report["rows"] == N + MORE - 1
    assert [ids[0] for ids in found_ids(tmp_path / "both", NEW[1:])] == names(MORE, "b")[1:]
    assert verify_directory(tmp_path / "both").problems == []
    with pytest.raises(BadInput, match="is in"):
        merge_indexes(MergeConfig(*[str(built[factory])] * 2, str(tmp_path / "x")))


@pytest.mark.parametrize("way", ["add", "merge"])
def test_columns_without_a_place_are_named(copy: Any, tmp_path: Path, way: str) -> None:
    index, heard = copy("Flat"), []
    more = write_store(tmp_path / "more", NEW, names(MORE, "c"), extra=["x"] * MORE)
    if way == "add":
        report = add_rows(AddConfig(str(index), str(more)), heard.append)
    else:
        build_index(IndexConfig(str(more), str(tmp_path / "two")))
        told = MergeConfig(str(index), str(tmp_path / "two"), str(tmp_path / "both"))
        report = merge_indexes(told, heard.append)
    assert report["left_out_columns"] == ["extra"]
    assert any(line.startswith("column `extra` of") for line in heard)


@pytest.mark.parametrize("way", ["add", "merge"])
def test_files_of_two_folders_are_still_found(tmp_path: Path, way: str) -> None:
    for name, start in (("one", 0), ("two", 3)):
        root = tmp_path / "pictures" / name
        ids = names(3, name)
        write_store(tmp_path / name, ROWS[start : start + 3], ids, root=root, image=["p.png"] * 3)
        build_index(IndexConfig(str(tmp_path / name), str(tmp_path / f"{name}-index")))
    index = tmp_path / "one-index"
    if way == "add":
        add_rows(AddConfig(str(index), str(tmp_path / "two")))
    else:
        both = tmp_path / "both"
        merge_indexes(MergeConfig(str(index), str(tmp_path / "two-index"), str(both)))
        index = both
    manifest = open_index(index)
    items = open_items(index, manifest).take(range(6), ["id", "image"])
    for item in items:
        expected = tmp_path / "pictures" / item["id"][:3] / "p.png"
        assert locate(manifest["source_root"], item["image"]) == str(expected)


def test_by_the_commands(run_here: Run, stores: tuple[Path, Path], built: dict[str, Path]) -> None:
    def told(*words: object, **more: Any) -> Any:
        done = run_here("retrieve", *words, "--json", **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert run_here("retrieve", "index", stores[0], "-o", "i", "--keywords", "text").returncode == 0
    assert told("add", "i", stores[1], "--dry-run")["added"] == MORE
    assert told("info", "i")["additions"] == 0
    assert told("add", "i", stores[1])["rows"] == N + MORE
    assert told("remove", "i", "--ids", "-", stdin="a000001\n\na000002\n")["removed"] == 2
    assert told("remove", "i", "--where", "label = 'cat' AND id > 'b'")["removed"] == 1
    info = told("info", "i")
    assert (info["rows"], info["tombstones"], info["keywords"]) == (N + MORE - 3, 3, ["text"])
    words = ("retrieve", "search", "i", "--like", "b000002", "-k", "5", "--json")
    rows = json.loads(run_here(*words, "--where", "label = 'cat'").stdout)
    assert len(rows) == 5 and {row["label"] for row in rows} == {"cat"}
    assert json.loads(run_here(*words, "--where", "false").stdout) == []
    bad = run_here(*words, "--where", "nope")
    assert bad.returncode == 3 and "`nope`" in bad.stderr
    only = ("retrieve", "search", "i", "--keywords-only", "--json", "--columns", "text")
    rows = json.loads(run_here(*only, "Blue THING 2").stdout)
    assert rows[0]["text"] == "blue thing 2"  # among both segments
    rows = json.loads(run_here(*only, "老虎", "-k", "3").stdout)
    assert len(rows) == 3 and all("老虎" in row["text"] for row in rows)
    no = run_here("retrieve", "search", built["Flat"], "--keywords-only", "x")
    assert no.returncode == 2 and "--keywords COLUMN" in no.stderr
