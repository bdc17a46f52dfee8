"""Writing: what lies on the disk after a commit, a crash, a resumption, a replacement."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from store_making import KEYS, OPTIONS, ROWS, SHARDS, SOURCE, contents, make_store, shard, writer

from mmcli.core.errors import BadInput
from mmcli.store.manifest import read_manifest
from mmcli.store.reader import Store
from mmcli.store.verification import verify_directory
from mmcli.store.writer import KeyArrays, StoreWriter


def test_a_store_has_the_files_that_its_manifest_names(tmp_path):
    manifest = make_store(tmp_path / "s")
    on_disk = {p.name for p in (tmp_path / "s").iterdir()}
    assert on_disk == {*manifest["files"], "manifest.json"}
    assert {"items-00000.parquet", "image-00002.safetensors", "failures.parquet"} <= on_disk
    assert (manifest["rows"], manifest["ok"], manifest["partial"], manifest["failed"]) == (
        15, 14, 1, 0)  # fmt: skip
    assert manifest["source_root"] == "/data/photos"
    assert read_manifest(tmp_path / "s", "mmcli.store") == {
        **manifest, "manifest_sha256": read_manifest(tmp_path / "s")["manifest_sha256"]
    }  # fmt: skip


def test_equal_input_gives_equal_bytes(tmp_path):
    make_store(tmp_path / "a")
    make_store(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_store_without_rows(tmp_path):
    empty = shard(0)
    empty["items"] = empty["items"].slice(0, 0)
    empty["counts"], zero = (0, 0, 0), np.zeros(1, np.int64)
    empty["arrays"] = {
        "image": KeyArrays(np.zeros((0, 4), np.float32)),
        "text:other": KeyArrays(np.zeros((0, 3), np.float16), np.zeros((0, 3), np.float16), zero),
    }
    with writer(tmp_path / "s") as store:
        store.write_shard(**empty)
        store.commit()
    opened = Store.open(tmp_path / "s")
    assert opened.rows == 0 and opened.load("image").shape == (0, 4)
    assert opened.items().num_rows == 0
    assert verify_directory(tmp_path / "s").ok


def test_other_programs_read_it(tmp_path, monkeypatch):
    make_store(tmp_path / "s")
    found = load_file(tmp_path / "s/text.other-00001.safetensors")
    wanted = shard(1)["arrays"]["text:other"]
    assert sorted(found) == ["embeddings", "offsets", "values"]
    np.testing.assert_array_equal(found["embeddings"], wanted.embeddings)
    np.testing.assert_array_equal(found["values"], wanted.values)
    np.testing.assert_array_equal(found["offsets"], wanted.offsets)
    table = pq.read_table(tmp_path / "s/items-00001.parquet")
    assert table.column("id").to_pylist()[0] == "1/item-0-é"

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "s/items-*.parquet"), split="train",
        cache_dir=str(tmp_path / "hf"),
    )  # fmt: skip
    assert len(rows) == ROWS * SHARDS and rows[5]["id"] == "1/item-0-é"


def test_nothing_is_overwritten_unasked(tmp_path):
    make_store(tmp_path / "s")
    before = contents(tmp_path / "s")
    with pytest.raises(BadInput, match="already holds a store") as caught, writer(tmp_path / "s"):
        pass
    assert "--force" in caught.value.hint and "--resume" in caught.value.hint
    assert contents(tmp_path / "s") == before

    other = tmp_path / "photos"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"x")
    for settings in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(BadInput, match=r"not empty.*holiday\.jpg"), writer(other, **settings):
            pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="not a directory"), writer(tmp_path / "file", force=True):
        pass


def test_force_keeps_the_old_store_until_the_commit(tmp_path):
    make_store(tmp_path / "s")
    old = contents(tmp_path / "s")
    with writer(tmp_path / "s", force=True, options={"preset": "clip"}) as store:
        for index in range(SHARDS):
            store.write_shard(**shard(index, salt=1))
        during = contents(tmp_path / "s")
        assert old.items() <= during.items()
        np.testing.assert_array_equal(
            Store.open(tmp_path / "s").load("image")[:ROWS], shard(0)["arrays"]["image"].embeddings
        )
        manifest = store.commit()
    assert {p.name for p in (tmp_path / "s").iterdir()} == {*manifest["files"], "manifest.json"}
    assert "items-00000.g1.parquet" in manifest["files"]
    np.testing.assert_array_equal(
        Store.open(tmp_path / "s").load("image")[:ROWS],
        shard(0, salt=1)["arrays"]["image"].embeddings,
    )
    make_store(tmp_path / "s", force=True)
    assert (tmp_path / "s/items-00000.g2.parquet").exists()
    assert not (tmp_path / "s/items-00000.g1.parquet").exists()


def test_a_forced_run_that_was_cut_off_goes_on(tmp_path):
    make_store(tmp_path / "s")
    changed = {"options": {"preset": "clip"}}
    with writer(tmp_path / "s", force=True, **changed) as store:
        store.write_shard(**shard(0, salt=1))
    assert Store.open(tmp_path / "s", verify="full").rows == ROWS * SHARDS
    with writer(tmp_path / "s", resume=True, **changed) as store:
        assert [r.index for r in store.finished] == [0]
        for index in (1, 2):
            store.write_shard(**shard(index, salt=1))
        manifest = store.commit()
    assert {p.name for p in (tmp_path / "s").iterdir()} == {*manifest["files"], "manifest.json"}


def test_a_resumed_store_equals_an_uninterrupted_one(tmp_path):
    make_store(tmp_path / "whole")
    with writer(tmp_path / "s") as store:
        store.write_shard(**shard(1))
        store.write_shard(**shard(0))
    (tmp_path / "s/.tmp-image-00002.safetensors").write_bytes(b"half")
    (tmp_path / "s/image-00002.safetensors").write_bytes(b"renamed, but not yet in the state")
    with pytest.raises(BadInput, match="unfinished"):
        Store.open(tmp_path / "s")
    with pytest.raises(BadInput, match="unfinished"), writer(tmp_path / "s"):
        pass
    with writer(tmp_path / "s", resume=True) as store:
        assert [r.index for r in store.finished] == [0, 1]
        store.write_shard(**shard(2))
        store.commit(versions={"mmcli": "0.1.0"})
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_resume_makes_a_damaged_shard_again(tmp_path):
    with writer(tmp_path / "s") as store:
        for index in range(SHARDS):
            store.write_shard(**shard(index))
    flip(tmp_path / "s/items-00001.parquet")
    (tmp_path / "s/image-00002.safetensors").unlink()
    with writer(tmp_path / "s", resume=True) as store:
        assert [r.index for r in store.finished] == [0]
        store.write_shard(**shard(2))
        with pytest.raises(RuntimeError, match="shard 1"):
            store.commit()


def test_resume_refuses_what_would_give_another_store(tmp_path):
    with writer(tmp_path / "s") as store:
        store.write_shard(**shard(0))
    other_weights = {**KEYS, "image": {**KEYS["image"], "space": "e@ffffffffffff"}}
    for changes, words in (
        ({"options": {**OPTIONS, "shard_size": 7}}, "`shard_size` was 5, now 7"),
        ({"options": {**OPTIONS, "dim": 2}}, "`dim` was not set, now 2"),
        (
            {"keys": other_weights},
            'key `image`.*`space` was "e@0123456789ab", now "e@ffffffffffff"',
        ),
        ({"keys": {"image": KEYS["image"]}}, "has a key `text:other`"),
        ({"fingerprint": "f1"}, "the source has changed"),
    ):
        with pytest.raises(BadInput, match=words), writer(tmp_path / "s", resume=True, **changes):
            pass
    with writer(tmp_path / "s", resume=True) as store:
        assert len(store.finished) == 1  # none of the refusals took anything away


def test_resume_of_a_finished_store_changes_nothing(tmp_path):
    make_store(tmp_path / "s")
    before = contents(tmp_path / "s")
    with writer(tmp_path / "s", resume=True) as store:
        assert store.already_complete and len(store.finished) == SHARDS
        assert store.commit()["rows"] == ROWS * SHARDS
    assert contents(tmp_path / "s") == before
    with (
        pytest.raises(BadInput, match="preset"),
        writer(tmp_path / "s", resume=True, options={**OPTIONS, "preset": "clip"}),
    ):
        pass


def test_a_crash_between_manifest_and_clean_up(tmp_path):
    with writer(tmp_path / "s") as store:
        for index in range(SHARDS):
            store.write_shard(**shard(index))
        left = contents(tmp_path / "s")
        store.commit(versions={"mmcli": "0.1.0"})
    after = contents(tmp_path / "s")
    for name in ("state.json", "failures-00001.parquet"):
        (tmp_path / "s" / name).write_bytes(left[name])
    assert Store.open(tmp_path / "s").rows == ROWS * SHARDS
    assert verify_directory(tmp_path / "s").ok
    with pytest.raises(BadInput, match="already holds"), writer(tmp_path / "s"):
        pass
    with writer(tmp_path / "s", resume=True) as store:
        assert store.already_complete
        store.commit()
    assert contents(tmp_path / "s") == after


def test_a_damaged_state_or_manifest_asks_for_force(tmp_path):
    with writer(tmp_path / "s") as store:
        store.write_shard(**shard(0))
    flip(tmp_path / "s/state.json")
    with (
        pytest.raises(BadInput, match=r"state\.json") as caught,
        writer(tmp_path / "s", resume=True),
    ):
        pass
    assert "--force" in caught.value.hint
    make_store(tmp_path / "s", force=True)
    flip(tmp_path / "s/manifest.json")
    with pytest.raises(BadInput, match=r"manifest\.json"), writer(tmp_path / "s", resume=True):
        pass
    manifest = make_store(tmp_path / "s", salt=1, force=True)
    assert {p.name for p in (tmp_path / "s").iterdir()} == {*manifest["files"], "manifest.json"}


def test_a_run_that_finished_nothing_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), writer(tmp_path / "s"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "s").exists()
    with writer(tmp_path / "s", resume=True) as store:
        assert store.finished == []


def test_retried_shards_replace_the_old_ones(tmp_path):
    make_store(tmp_path / "s")
    untouched = (tmp_path / "s/items-00000.parquet").read_bytes()
    again = shard(1, salt=1)
    again["failures"], again["counts"] = [], (ROWS, 0, 0)
    with StoreWriter.reopen(tmp_path / "s", KEYS, SOURCE, OPTIONS, "f1") as store:
        assert [r.failures for r in store.finished] == [None, "failures.parquet", None]
        store.write_shard(**again)
        manifest = store.commit()
    assert (manifest["ok"], manifest["partial"]) == (15, 0)
    assert [s["items"] for s in manifest["shards"]] == [
        "items-00000.parquet", "items-00001.g1.parquet", "items-00002.parquet"]  # fmt: skip
    assert (tmp_path / "s/items-00000.parquet").read_bytes() == untouched
    assert {p.name for p in (tmp_path / "s").iterdir()} == {*manifest["files"], "manifest.json"}
    opened = Store.open(tmp_path / "s")
    assert opened.failures().num_rows == 0
    np.testing.assert_array_equal(
        opened.load("image")[ROWS : 2 * ROWS], again["arrays"]["image"].embeddings
    )
    assert verify_directory(tmp_path / "s").ok


def test_a_retry_keeps_the_failures_of_other_shards(tmp_path):
    with writer(tmp_path / "s") as store:
        for index in range(SHARDS):
            values = shard(index)
            first = shard(1)["failures"][0]
            ids = values["items"].column("id").to_pylist()
            values["failures"] = [type(first)(i, "image", "x", "corrupt", "") for i in ids[:2]]
            store.write_shard(**values)
        store.commit()
    with StoreWriter.reopen(tmp_path / "s", KEYS, SOURCE, OPTIONS, "f0") as store:
        store.write_shard(**{**shard(1), "failures": []})
    with StoreWriter.reopen(tmp_path / "s", KEYS, SOURCE, OPTIONS, "f0") as store:
        assert [r.failures_rows for r in store.finished] == [2, 0, 2]  # the retry goes on
        store.commit()
    failed = Store.open(tmp_path / "s").failures().column("id").to_pylist()
    assert [i[0] for i in failed] == ["0", "0", "2", "2"]


def test_a_retry_of_nothing_and_of_something_else(tmp_path):
    make_store(tmp_path / "s")
    before = contents(tmp_path / "s")
    with StoreWriter.reopen(tmp_path / "s", KEYS, SOURCE, OPTIONS, "f9") as store:
        store.commit()
    with (
        StoreWriter.reopen(tmp_path / "s", KEYS, SOURCE, OPTIONS, "f9") as store,
        pytest.raises(BadInput, match="no longer has the items"),
    ):
        store.write_shard(**{**shard(2), "index": 1, "start": ROWS})
    assert contents(tmp_path / "s") == before
    with (
        pytest.raises(BadInput, match="does not exist"),
        StoreWriter.reopen(tmp_path / "none", KEYS, SOURCE, OPTIONS, "f0"),
    ):
        pass


def test_one_writer_at_a_time(tmp_path):
    with writer(tmp_path / "s") as store:
        store.write_shard(**shard(0))
        with (
            pytest.raises(BadInput, match="being written by another process"),
            writer(tmp_path / "s", resume=True),
        ):
            pass
        store.write_shard(**shard(1))
    assert not (tmp_path / "s/.lock").exists()
    with writer(tmp_path / "s", resume=True) as store:
        assert len(store.finished) == 2


_SLOW_RUN = """
import sys, time
from pathlib import Path
from store_making import shard, writer
with writer(Path(sys.argv[1])) as store:
    for index in range(2):
        store.write_shard(**shard(index))
        print(index, flush=True)
    Path(sys.argv[1], ".tmp-items-00002.parquet").write_bytes(b"half")
    time.sleep(60)
"""


def test_kill_9_leaves_no_manifest_and_no_lock(tmp_path):
    make_store(tmp_path / "whole")
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here.parents[1]}{os.pathsep}{here}"}
    run = subprocess.Popen(
        [sys.executable, "-c", _SLOW_RUN, str(tmp_path / "s")],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert run.stdout is not None
    assert [run.stdout.readline() for _ in range(2)] == ["0\n", "1\n"]
    deadline = time.monotonic() + 10
    while not (tmp_path / "s/.tmp-items-00002.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    assert not (tmp_path / "s/manifest.json").exists()
    with writer(tmp_path / "s", resume=True) as store:
        assert [r.index for r in store.finished] == [0, 1]
        store.write_shard(**shard(2))
        store.commit(versions={"mmcli": "0.1.0"})
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_vectors_that_do_not_fit_the_manifest_are_a_defect(tmp_path):
    for key, arrays in (
        ("image", KeyArrays(np.zeros((ROWS, 3), np.float32))),
        ("image", KeyArrays(np.zeros((ROWS, 4), np.float64))),
        ("text:other", KeyArrays(np.zeros((ROWS, 3), np.float16), np.zeros((2, 3), np.float16),
                                 np.array([0, 1, 1, 1, 1, 1]))),
    ):  # fmt: skip
        values = shard(0)
        values["arrays"][key] = arrays
        with writer(tmp_path / "s", force=True) as store, pytest.raises(ValueError, match=key):
            store.write_shard(**values)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
