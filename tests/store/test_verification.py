"""A changed byte in any file is found, by `verify` and by opening; pickles are never run."""

import os
import pickle
import time

import pytest
from store_making import ROWS, contents, make_store, shard, writer

from mmcli.core.errors import BadInput, UsageError
from mmcli.store.hashes import check_files
from mmcli.store.manifest import file_record, read_manifest, write_manifest
from mmcli.store.reader import Store
from mmcli.store.writer import Failure
from mmcli.workflows.verify import verify


def test_a_sound_store(tmp_path):
    make_store(tmp_path / "s")
    report = verify(tmp_path / "s")
    assert report["ok"] and report["kind"] == "store" and report["files"] == 11
    assert not report["problems"] and not report["warnings"]


@pytest.mark.parametrize("position", [0.0, 0.3, 0.6, 1.0])
def test_a_flipped_byte_in_any_file_is_found(tmp_path, position):
    make_store(tmp_path / "s")
    Store.open(tmp_path / "s")
    for name, raw in contents(tmp_path / "s").items():
        changed = bytearray(raw)
        changed[int((len(raw) - 1) * position)] ^= 1
        (tmp_path / "s" / name).write_bytes(changed)
        with pytest.raises(BadInput) as caught:
            Store.open(tmp_path / "s")
        assert name in caught.value.message
        try:
            report = verify(tmp_path / "s")
        except BadInput as error:  # it is not even JSON
            assert name == "manifest.json" and name in error.message
        else:
            assert not report["ok"]
            assert [p["file"] for p in report["problems"]] == [name]
        (tmp_path / "s" / name).write_bytes(raw)
    assert Store.open(tmp_path / "s", verify="full")


def test_every_problem_is_listed(tmp_path):
    make_store(tmp_path / "s")
    (tmp_path / "s/items-00000.parquet").unlink()
    (tmp_path / "s/items-00001.parquet").write_bytes(b"short")
    (tmp_path / "s/image-00002.safetensors").unlink()
    os.mkfifo(tmp_path / "s/image-00002.safetensors")
    (tmp_path / "s/notes.txt").write_text("mine")
    (tmp_path / "s/.lock").touch()
    report = verify(tmp_path / "s")
    assert [p["file"] for p in report["problems"]] == [
        "image-00002.safetensors", "items-00000.parquet", "items-00001.parquet"]  # fmt: skip
    assert [w["file"] for w in report["warnings"]] == ["notes.txt"]
    with pytest.raises(BadInput, match="not a regular file"):
        Store.open(tmp_path / "s")


def test_counts_that_do_not_add_up(tmp_path):
    manifest = make_store(tmp_path / "s")
    write_manifest(tmp_path / "s", {**manifest, "ok": 3})
    report = verify(tmp_path / "s")
    assert report["problems"] == [
        {"file": "manifest.json", "message": "ok + partial + failed is 4, rows 15"}]  # fmt: skip


def test_ids_that_are_not_unique_and_failures_of_nobody(tmp_path):
    with writer(tmp_path / "s") as store:
        store.write_shard(**shard(0))
        stranger = Failure("nobody", "image", "a.jpg", "corrupt", "")
        store.write_shard(**{**shard(0), "index": 1, "start": ROWS, "failures": [stranger]})
        store.commit()
    twice, stranger = verify(tmp_path / "s")["problems"]
    assert twice["file"] == "items-00001.parquet"
    assert twice["message"].startswith("row 0: the id `0/item-0-é` is that of")
    assert "items-00000.parquet`, row 0" in twice["message"]
    assert stranger["message"] == "names an item that the store lacks: `nobody`"


def test_directories_of_every_kind(tmp_path):
    (tmp_path / "query/text").mkdir(parents=True)
    (tmp_path / "query/text/query.json").write_text("{}")
    (tmp_path / "index.faiss").write_bytes(b"faiss")
    files = {n: file_record(tmp_path / n) for n in ("query/text/query.json", "index.faiss")}
    write_manifest(
        tmp_path, {"format": "mmcli.index/1", "files": files, "versions": {"mmcli": "0"}}
    )
    assert verify(tmp_path)["kind"] == "index" and verify(tmp_path)["ok"]
    (tmp_path / "query/text/query.json").write_text("[]")
    assert verify(tmp_path)["problems"][0]["file"] == "query/text/query.json"


def test_a_file_is_hashed_once_per_version(tmp_path, own_cache):
    make_store(tmp_path / "s")
    manifest = read_manifest(tmp_path / "s")
    time.sleep(0.15)
    check_files(tmp_path / "s", manifest)
    remembered = list((own_cache / "verified").iterdir())
    assert len(remembered) == 1

    target = tmp_path / "s/image-00000.safetensors"
    raw, times = bytearray(target.read_bytes()), os.stat(target)
    raw[-1] ^= 1
    descriptor = os.open(target, os.O_WRONLY)
    os.write(descriptor, raw)
    os.close(descriptor)
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))  # ctime tells nevertheless
    with pytest.raises(BadInput, match="image-00000"):
        check_files(tmp_path / "s", manifest)
    check_files(tmp_path / "s", manifest, names=["image-00001.safetensors"])
    check_files(tmp_path / "s", manifest, mode="none")
    with pytest.raises(UsageError, match="`--verify twice`"):
        check_files(tmp_path / "s", manifest, mode="twice")
    remembered[0].write_text("[broken")
    with pytest.raises(BadInput, match="image-00000"):
        check_files(tmp_path / "s", manifest)


def test_a_remembered_file_is_not_read_again(tmp_path, own_cache):
    make_store(tmp_path / "s")
    manifest = read_manifest(tmp_path / "s")
    time.sleep(0.15)
    check_files(tmp_path / "s", manifest)
    before = {p: p.stat().st_atime_ns for p in (tmp_path / "s").iterdir()}
    memory = next((own_cache / "verified").iterdir()).stat().st_mtime_ns
    check_files(tmp_path / "s", manifest)
    assert before == {p: p.stat().st_atime_ns for p in (tmp_path / "s").iterdir()}
    assert next((own_cache / "verified").iterdir()).stat().st_mtime_ns == memory


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    make_store(tmp_path / "s")
    (tmp_path / "file").touch()
    monkeypatch.setenv("MMCLI_CACHE_DIR", str(tmp_path / "file"))
    assert Store.open(tmp_path / "s").rows == 15


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


def test_a_pickle_is_never_run(tmp_path):
    manifest = make_store(tmp_path / "s")
    attack = pickle.dumps(Malicious(tmp_path / "owned"))
    for name in ("x.npy", "x.pth", "x.pt", "pytorch_model.bin", "extra.pkl"):
        (tmp_path / "s" / name).write_bytes(attack)
    store = Store.open(tmp_path / "s", verify="full")
    store.items(), store.load("image"), verify(tmp_path / "s")
    for name in ("image-00000.safetensors", "items-00000.parquet"):
        sound = (tmp_path / "s" / name).read_bytes()
        (tmp_path / "s" / name).write_bytes(attack)
        files = {**manifest["files"], name: file_record(tmp_path / "s" / name)}
        write_manifest(tmp_path / "s", {**manifest, "files": files})
        with pytest.raises(BadInput, match=name):
            Store.open(tmp_path / "s").load("image"), Store.open(tmp_path / "s").items()
        assert not verify(tmp_path / "s")["ok"]
        (tmp_path / "s" / name).write_bytes(sound)
    assert not (tmp_path / "owned").exists()
