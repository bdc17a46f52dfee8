"""The index directory: commit, replacement, refusal, damage."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.index.items import GROUP_ROWS, ItemTable, ItemWriter
from mmcli.index.layout import IndexWriter, check, open_index, query_files

FIELDS = {"rows": 1, "dim": 2, "metric": "cosine", "space": "s@1", "versions": {"mmcli": "0"}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMCLI_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def write(path: Path, content: bytes = b"vectors", force: bool = False) -> dict[str, object]:
    with IndexWriter(path, force) as writer:
        names = {"index": writer.name("index", ".faiss"), "items": writer.name("items", ".parquet")}
        for name in names.values():
            (path / name).write_bytes(content)
        folder = f"{writer.name('query')}/text"
        (path / folder).mkdir(parents=True)
        (path / folder / "model.onnx").write_bytes(content)
        return writer.commit({**FIELDS, **names, "queries": {"text": {"folder": folder}}})


def names_in(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())


def test_commit_names_every_file(tmp_path: Path) -> None:
    write(tmp_path / "i")
    manifest = open_index(tmp_path / "i")
    assert names_in(tmp_path / "i") == sorted([*manifest["files"], "manifest.json"])
    assert query_files(manifest, "text") == ["query/text/model.onnx"]
    assert query_files(manifest, "image") == []
    check(tmp_path / "i", manifest, None, "full")


def test_force_replaces_by_a_new_generation_and_keeps_other_files(tmp_path: Path) -> None:
    path = tmp_path / "i"
    write(path)
    (path / "index.html").write_text("the user's own page")
    with pytest.raises(BadInput, match="already holds an index"):
        write(path)
    for generation in (1, 2):
        write(path, b"others", force=True)
        assert open_index(path)["index"] == f"index.g{generation}.faiss"
    left = set(names_in(path))
    assert left == {"manifest.json", "index.html", *open_index(path)["files"]}


def test_an_error_leaves_the_old_index(tmp_path: Path) -> None:
    path = tmp_path / "i"
    write(path)
    before = names_in(path)
    with pytest.raises(RuntimeError), IndexWriter(path, force=True) as writer:
        (path / writer.name("index", ".faiss")).write_bytes(b"half")
        raise RuntimeError("stop")
    assert names_in(path) == before
    check(path, open_index(path), None, "full")


def test_a_killed_build_is_unfinished_and_force_redoes_it(tmp_path: Path) -> None:
    path = tmp_path / "i"
    if os.fork() == 0:
        writer = IndexWriter(path).__enter__()
        (path / writer.name("index", ".faiss")).write_bytes(b"half")
        os._exit(9)
    os.wait()
    assert "index.faiss" in names_in(path)
    for attempt in (lambda: open_index(path), lambda: write(path)):
        with pytest.raises(BadInput, match="unfinished"):
            attempt()
    write(path, force=True)
    check(path, open_index(path), None, "full")


def test_what_is_not_an_index_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").write_text(json.dumps({"format": "mmcli.store/1"}))
    (tmp_path / "file").write_text("x")
    for name in ("photos", "store", "file"):
        with pytest.raises(BadInput, match=name):
            write(tmp_path / name, force=True)
    with pytest.raises(BadInput, match="a store"):
        open_index(tmp_path / "store")


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with IndexWriter(tmp_path / "i"), pytest.raises(BadInput, match="i"):
        write(tmp_path / "i", force=True)


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "i"
    write(path)
    manifest = open_index(path)
    for name in manifest["files"]:
        good = (path / name).read_bytes()
        check(path, manifest, None, "once")
        (path / name).write_bytes(bytes([good[0] ^ 1]) + good[1:])
        with pytest.raises(BadInput, match=name):
            check(path, manifest, None, "once")
        (path / name).write_bytes(good)
    raw = (path / "manifest.json").read_bytes()
    (path / "manifest.json").write_bytes(raw.replace(b'"cosine"', b'"cosinf"'))
    with pytest.raises(BadInput, match="damaged"):
        open_index(path)


def test_items_by_row_and_by_id(tmp_path: Path) -> None:
    n = 2 * GROUP_ROWS + 5
    table = pa.table({"id": [f"i{r}" for r in range(n)], "n": list(range(n))})
    writer = ItemWriter(tmp_path / "items.parquet", table.schema)
    for start in range(0, n, 10_000):
        writer.add(table.slice(start, 10_000))
    writer.close()
    items = ItemTable(tmp_path / "items.parquet")
    rows = [n - 1, 0, GROUP_ROWS, 0]
    assert [row["n"] for row in items.take(rows, ["n"])] == rows
    many = list(range(0, n, 60))
    assert [row["id"] for row in items.take(many, ["id"])] == [f"i{r}" for r in many]
    assert items.take([], ["id"]) == []
    assert items.find(f"i{GROUP_ROWS + 1}") == [GROUP_ROWS + 1]
    with pytest.raises(BadInput, match="nope"):
        items.find("nope")
    with pytest.raises(UsageError, match="idd"):
        items.take([0], ["idd"])
