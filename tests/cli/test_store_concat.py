"""`mmcli store concat`, as it is typed: stores one after the other, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcli.store.reader import Store
from mmcli.store.writer import KeyArrays, StoreWriter
from tests.cli.test_store_tools import refused, report_of, same_rows, sound
from tests.conftest import Run
from tests.store.store_making import KEYS, make_store, writer


@pytest.fixture
def a(tmp_path: Path) -> Path:
    """Fifteen rows in three shards; `text:other` has sequences, one row of `image` failed."""
    make_store(tmp_path / "a")
    return tmp_path / "a"


def test_concat_puts_rows_one_after_another(run_here: Run, a: Path) -> None:
    make_store(a.parent / "b", salt=1, source={"spec": "x", "source_root": "/other"})
    command = ("store", "concat", a, "b", "-o", "c", "--shard-size", 8, "--json")
    refused(run_here(*command), "0/item-0-é", "--prefix")
    report_of(run_here(*command, "--prefix", ",b/"))
    new, one, two = sound(a.parent / "c"), Store.open(a), Store.open(a.parent / "b")
    same_rows(new, one, range(15))
    same_rows(new, two, range(15), at=np.arange(15, 30))
    assert new.ids() == [*one.ids(), *(f"b/{i}" for i in two.ids())]
    assert [s.rows for s in new.shards] == [8, 8, 8, 6]
    assert new.keys == one.keys and new.source_root is None
    assert new.failures()["id"].to_pylist() == ["1/item-0-é", "b/1/item-0-é"]


def test_concat_unifies_columns_and_paths(run_here: Run, tmp_path: Path) -> None:
    key = {"image": KEYS["image"]}
    vectors = np.eye(4, dtype=np.float32)[:2]
    for name, extra in (
        ("x", {"n": [1, 2], "image": ["p.jpg", None]}),
        ("y", {"n": [0.5, None], "image": ["q.jpg", "/abs/r.jpg"], "note": ["u", "v"]}),
    ):
        source = {"spec": name, "source_root": f"/data/{name}"}
        with writer(tmp_path / name, keys=key, source=source) as store:
            columns = {"id": [f"{name}1", f"{name}2"], **extra, "has_image": [True, True]}
            store.write_shard(0, 0, pa.table(columns), {"image": KeyArrays(vectors)}, (), (2, 0, 0))
            store.commit()
    report_of(run_here("store", "concat", "x", "y", "-o", "c", "--json"))
    items = sound(tmp_path / "c").items().to_pylist()
    assert [row["n"] for row in items] == [1.0, 2.0, 0.5, None]
    assert [row["note"] for row in items] == [None, None, "u", "v"]
    assert [row["image"] for row in items] == ["/data/x/p.jpg", None, "/data/y/q.jpg", "/abs/r.jpg"]


def test_concat_rounds_no_integer(run_here: Run, tmp_path: Path) -> None:
    for name, value in (("x", 2**53 + 1), ("y", 0.5)):
        with writer(tmp_path / name, keys={"image": KEYS["image"]}) as store:
            items = pa.table({"id": [name], "n": [value], "has_image": [True]})
            arrays = {"image": KeyArrays(np.ones((1, 4), np.float32))}
            store.write_shard(0, 0, items, arrays, (), (1, 0, 0))
            store.commit()
    for more in ("--dry-run", "-q"):
        done = run_here("store", "concat", "x", "y", "-o", "c", more)
        refused(done, "column `n` of `x` holds integers that are no double")
    done = run_here("store", "concat", "x", "x", "-o", "c", "--prefix", "a/,b/", "--json")
    assert report_of(done)["stores"] == {"x": 2}


def test_concat_refuses(run_here: Run, a: Path) -> None:
    refused(run_here("store", "concat", a, "-o", "c"), "two or more", code=2)
    narrow = {**KEYS, "image": {**KEYS["image"], "normalized": False}}
    make_store(a.parent / "b", keys=narrow)
    refused(run_here("store", "concat", a, "b", "-o", "c"), "normalized", "`true`", "`false`")
    with writer(a.parent / "t", keys={"image": KEYS["image"]}) as store:
        items = pa.table({"id": ["z"], "label": [["list"]], "has_image": [True]})
        store.write_shard(0, 0, items, {"image": KeyArrays(np.ones((1, 4), np.float32))})
        store.commit()
    refused(run_here("store", "concat", a, "t", "-o", "c"), "`t` has no key `text:other`")
    done = run_here("store", "concat", a, "t", "-o", "c", "--keys", "image")
    refused(done, "column `label` is int64", "list")


@pytest.mark.parametrize(
    ("ids", "words"),
    [([7, 8], "int64 and not a text"), ([None, "b"], "is null"), (["a", "a"], "row 0 too")],
)
def test_ids_that_address_no_row_are_refused_by_every_verb(
    run_here: Run, tmp_path: Path, ids: list[Any], words: str
) -> None:
    table = pa.table({"id": pa.array(ids), "label": ["x", "y"], "has_image": [True, True]})
    with StoreWriter(tmp_path / "odd", {"image": KEYS["image"]}, {}, {}, "f") as store:
        arrays = {"image": KeyArrays(np.eye(4, dtype=np.float32)[:2])}
        store.write_shard(0, 0, table, arrays, [], (2, 0, 0), {})
        store.commit(versions={"mmcli": "0"})
    for command in (
        ("retrieve", "index", "odd", "-o", "x"),
        ("store", "join", "odd", "odd", "-o", "x"),
        ("evaluate", "retrieval", "odd", "--query", "image", "--target", "image",
         "--relevant-by", "label"),
        ("fuse", "train", "odd", "--label", "label", "-o", "x"),
    ):  # fmt: skip
        refused(run_here(*command), "odd/items-00000.parquet", words)
    done = run_here("verify", "odd")
    assert done.returncode == 3 and words in done.stdout
    if words != "row 0 too":
        refused(run_here("store", "concat", "odd", "odd", "--prefix", "a,b", "-o", "x"), words)
