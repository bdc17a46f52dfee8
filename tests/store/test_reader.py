"""Reading: round trips, stores of other programs, and files that do not fit their manifest."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from store_making import DIM, ROWS, SHARDS, make_store, shard

from mmcli.core.errors import BadInput
from mmcli.store.mapped import MappedKey
from mmcli.store.reader import Store
from mmcli.store.verification import verify_directory


def test_what_was_written_is_read(tmp_path):
    make_store(tmp_path / "s")
    store = Store.open(tmp_path / "s")
    shards = [shard(index) for index in range(SHARDS)]
    image = np.concatenate([s["arrays"]["image"].embeddings for s in shards])
    assert store.rows == len(image) and list(store.keys) == ["image", "text:other"]
    np.testing.assert_array_equal(store.load("image"), image)
    assert store.load("text:other").dtype == np.float32
    assert store.items().equals(pa.concat_tables([s["items"] for s in shards]))
    assert store.items(["label", "id"]).column_names == ["label", "id"]
    assert store.columns == ["id", "label", "has_image", "has_text.other"]
    assert store.ids()[ROWS] == "1/item-0-é"
    assert store.source_root == "/data/photos"
    assert np.flatnonzero(~store.has("image")).tolist() == [ROWS]
    assert np.flatnonzero(~store.has("text:other")).tolist() == [1, ROWS + 1, 2 * ROWS + 1]
    assert store.failures().to_pylist()[0]["error"] == "corrupt"
    batches = list(store.iter("image", batch=3))
    assert [start for start, _ in batches] == [0, 3, 5, 8, 10, 13]
    np.testing.assert_array_equal(np.concatenate([v for _, v in batches]), image)
    assert [(start, rows) for start, rows, _, _ in store.iter_shards()] == [(0, 5), (5, 5), (10, 5)]
    assert all(p.exists() for _, _, items, keys in store.iter_shards()
               for p in (items, *keys.values()))  # fmt: skip


def test_sequences_are_read_by_row(tmp_path):
    make_store(tmp_path / "s")
    store = Store.open(tmp_path / "s")
    wanted = shard(2)["arrays"]["text:other"]
    for row in range(ROWS):
        start, stop = wanted.offsets[row : row + 2]
        found = store.sequence("text:other", 2 * ROWS + row)
        np.testing.assert_array_equal(found, wanted.values[start:stop])
    assert len(store.sequence("text:other", 1)) == 0
    assert [start for start, _, _ in store.iter_sequences("text:other")] == [0, 5, 10]
    with pytest.raises(BadInput, match="no sequences"):
        store.sequence("image", 0)


def test_a_wrong_name_is_answered_with_the_right_one(tmp_path):
    make_store(tmp_path / "s")
    store = Store.open(tmp_path / "s")
    with pytest.raises(BadInput, match="no key `imag`") as caught:
        store.load("imag")
    assert "`image`" in caught.value.hint
    with pytest.raises(BadInput, match="no column `lable`") as caught:
        store.items(["lable"])
    assert "`label`" in caught.value.hint


def foreign(path, embeddings, **changes):
    """A store as another program may write it: the least that the format asks for."""
    path.mkdir()
    rows = len(embeddings)
    pq.write_table(pa.table({"id": [f"r{i}" for i in range(rows)]}), path / "items-00000.parquet")
    save_file({"embeddings": embeddings}, path / "image-00000.safetensors")
    files = {}
    for file in path.iterdir():
        raw = file.read_bytes()
        files[file.name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    manifest = {
        "format": "mmcli.store/1", "rows": rows,
        "keys": {"image": {"dim": DIM, "dtype": "F32"}},
        "shards": [{"rows": rows, "items": "items-00000.parquet",
                    "keys": {"image": "image-00000.safetensors"}}],
        "files": files,
        **changes,
    }  # fmt: skip
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_a_store_of_another_program(tmp_path):
    vectors = np.ones((3, DIM), np.float32)
    vectors[1] = 0
    foreign(tmp_path / "a", vectors)
    store = Store.open(tmp_path / "a")
    np.testing.assert_array_equal(store.load("image"), vectors)
    assert store.has("image").tolist() == [True, False, True]
    assert store.source_root is None and store.failures().num_rows == 0
    assert store.keys["image"] == {"slug": "image", "dim": DIM, "dtype": "F32", "space": "",
                                   "normalized": False, "sequence": False}  # fmt: skip
    assert verify_directory(tmp_path / "a").ok
    foreign(tmp_path / "b", vectors.astype(np.float16),
            keys={"image": {"dim": DIM, "dtype": "F16"}})  # fmt: skip
    assert Store.open(tmp_path / "b").load("image").dtype == np.float32


def test_files_that_do_not_fit_the_manifest_name_both(tmp_path):
    good = np.ones((3, DIM), np.float32)
    a_shard = {"rows": 2, "items": "items-00000.parquet",
               "keys": {"image": "image-00000.safetensors"}}  # fmt: skip
    cases = (
        (good[:, :3], {}, r"image-00000.*F32 \[3, 3\].*manifest\.json.*F32 \[3, 4\]"),
        (good, {"keys": {"image": {"dim": 5}}}, r"F32 \[3, 4\].*manifest\.json.*F32 \[3, 5\]"),
        (good.astype(np.float16), {}, r"F16 \[3, 4\].*manifest\.json.*F32 \[3, 4\]"),
        (good.astype(np.float64), {}, "is F64; a store holds F32 or F16"),
        (good, {"rows": 2, "shards": [a_shard]}, r"has 3 rows.*manifest\.json.*says 2"),
    )
    for number, (vectors, changes, words) in enumerate(cases):
        foreign(tmp_path / str(number), vectors, **changes)
        with pytest.raises(BadInput, match=words):
            store = Store.open(tmp_path / str(number))
            store.items()
            store.load("image")
        if "rows" not in changes:
            with pytest.raises(BadInput, match=words):
                MappedKey(store, "image")
        assert not verify_directory(tmp_path / str(number)).ok


def test_bf16_is_refused_by_name(tmp_path):
    foreign(tmp_path / "s", np.ones((3, DIM), np.float32))
    header = json.dumps({"embeddings": {"dtype": "BF16", "shape": [3, DIM],
                                        "data_offsets": [0, 6 * DIM]}}).encode()  # fmt: skip
    raw = len(header).to_bytes(8, "little") + header + bytes(6 * DIM)
    (tmp_path / "s/image-00000.safetensors").write_bytes(raw)
    with pytest.raises(BadInput, match="is BF16; a store holds F32 or F16"):
        Store.open(tmp_path / "s", verify="none").load("image")


def test_manifests_that_make_no_sense(tmp_path):
    shards = [{"rows": 3, "items": "items-00000.parquet",
               "keys": {"image": "image-00000.safetensors"}}]  # fmt: skip
    for number, (changes, words) in enumerate((
        ({"rows": 4}, "`rows` is 4, its shards have 3"),
        ({"keys": []}, "`keys` is not an object"),
        ({"keys": {"image": {"dtype": "F32"}}}, "has no `dim`"),
        ({"keys": {"image": {"dim": DIM, "dtype": "BF16"}}}, "is BF16"),
        ({"shards": None}, "`shards` is not a list"),
        ({"shards": [{**shards[0], "keys": {}}]}, "no file of key `image`"),
        ({"shards": [{**shards[0], "keys": {"image": "image.npy"}}]}, "ends in .safetensors"),
        ({"shards": [{**shards[0], "items": "items.pkl"}]}, "ends in .parquet"),
        ({"shards": [{**shards[0], "items": "../items.parquet"}]}, "outside"),
        ({"files": {}}, "has no hash of"),
        ({"files": {"/etc/passwd": {"bytes": 1, "sha256": ""}}}, "outside"),
        ({"versions": {"mmcli": "1"}}, "no valid hash of itself"),
    )):  # fmt: skip
        foreign(tmp_path / str(number), np.ones((3, DIM), np.float32), **changes)
        with pytest.raises(BadInput, match=words):
            Store.open(tmp_path / str(number))
