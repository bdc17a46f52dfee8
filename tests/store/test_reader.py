"""Reading: round trips, stores of other programs, and files that do not fit their manifest."""

import hashlib
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from store_making import DIM, ROWS, SHARDS, make_store, shard

from mmcli.core.errors import BadInput
from mmcli.store.mapped import MappedKey
from mmcli.store.reader import Store
from mmcli.store.rows import StoreRows
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


def foreign(path, embeddings, items=None, **changes):
    """A store as another program may write it: the least that the format asks for.

    items: a table a shard, whose rows take the embeddings in turn.
    """
    path.mkdir()
    rows, start, shards = len(embeddings), 0, []
    for index, table in enumerate(items or [pa.table({"id": [f"r{i}" for i in range(rows)]})]):
        files = f"items-{index:05}.parquet", f"image-{index:05}.safetensors"
        pq.write_table(table, path / files[0])
        taken = embeddings if items is None else embeddings[start : start + len(table)]
        save_file({"embeddings": np.ascontiguousarray(taken)}, path / files[1])
        shards.append({"rows": len(taken), "items": files[0], "keys": {"image": files[1]}})
        start += len(taken)
    files = {}
    for file in path.iterdir():
        raw = file.read_bytes()
        files[file.name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    manifest = {
        "format": "mmcli.store/1", "rows": rows,
        "keys": {"image": {"dim": DIM, "dtype": "F32"}},
        "shards": shards,
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


def odd_shards(ids):
    """Two shards with the columns of other programs: texts of four kinds, a column that is new."""
    words = [f"w{i}" for i in range(len(ids))]
    yield pa.table({
        "id": pa.array(ids[:2]).dictionary_encode(),
        "label": pa.array(words[:2]).dictionary_encode(),
        "tags": pa.array([[w] for w in words[:2]], pa.large_list(pa.string_view())),
        "n": pa.array([1, 2], pa.int32()),
    })  # fmt: skip
    yield pa.table({
        "id": pa.array(ids[2:], pa.string_view()),
        "label": pa.array(words[2:], pa.large_string()),
        "tags": pa.array([[w] for w in words[2:]], pa.list_(pa.string())),
        "n": pa.array([2**40] * len(ids[2:]), pa.int64()),
        "more": pa.array([b"x"] * len(ids[2:]), pa.binary_view()),
    })  # fmt: skip


def test_columns_of_any_kind_are_read_in_plain_types(tmp_path):
    foreign(tmp_path / "s", np.ones((4, DIM), np.float32), list(odd_shards(list("abcd"))))
    store = Store.open(tmp_path / "s")
    plain = {"id": pa.string(), "label": pa.string(), "tags": pa.list_(pa.string()),
             "n": pa.int64(), "more": pa.binary()}  # fmt: skip
    assert store.columns == list(plain)
    tables = [store.items(), *(t for _, t in store.iter_items()), store.shard_items(0)]
    for table in [*tables, StoreRows(store, {}).take(np.array([0, 3])).items]:
        assert dict(zip(table.column_names, table.schema.types, strict=True)) == plain
    assert store.items(["label", "more"]).to_pylist()[1:3] == [
        {"label": "w1", "more": None}, {"label": "w2", "more": b"x"}]  # fmt: skip
    assert store.ids() == list("abcd")
    assert verify_directory(tmp_path / "s").ok


def test_types_that_do_not_agree_name_both_shards(tmp_path):
    items = [pa.table({"id": ["a"], "n": [1]}), pa.table({"id": ["b"], "n": ["one"]})]
    foreign(tmp_path / "s", np.ones((2, DIM), np.float32), items)
    store = Store.open(tmp_path / "s")
    assert store.ids() == ["a", "b"]
    for read in (store.items, lambda: store.items(["n"]), lambda: StoreRows(store, {})):
        with pytest.raises(BadInput, match=r"`n` is int64 in `.*00000\.pa.*string in `.*00001\.pa"):
            read()
    items = [pa.table({"id": ["a"], "n": [2**53 + 1]}), pa.table({"id": ["b"], "n": [0.5]})]
    foreign(tmp_path / "t", np.ones((2, DIM), np.float32), items)
    with pytest.raises(BadInput, match=r"`n` of `.*00000\.parquet` is no double"):
        Store.open(tmp_path / "t").items()


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (pa.array([1, 2, 3]), "row 0: the id is `1`, int64 and not a text"),
        (pa.nulls(3), "row 0: the id is null"),
        (pa.array(["a", "b", None]), "row 2: the id is null"),
        (pa.array(["é", "e\u0301", "c"]), "row 1: the id `e\u0301` is not in form NFC"),
        (pa.array(["a", "b", "a"]), r"row 2: the id `a` is that of `.*items-00000.parquet`, row 0"),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "row 2: the id `a` is that of"),
    ],
)
def test_ids_that_are_none_are_named(tmp_path, ids, words):
    foreign(tmp_path / "s", np.ones((3, DIM), np.float32), [pa.table({"id": ids})])
    store = Store.open(tmp_path / "s")
    for read in (store.ids, store.id_column):
        with pytest.raises(BadInput, match=r"items-00000\.parquet`, " + words) as caught:
            read()
        assert "an id of its own" in caught.value.hint
    (problem,) = verify_directory(tmp_path / "s").problems
    assert problem.file == "items-00000.parquet" and re.match(words, problem.message)
    if "that of" in words:
        assert len(store.items(["id"])) == 3, "looked at only where rows are found by id"
    else:
        with pytest.raises(BadInput, match=words):
            store.items()


def test_vectors_that_are_not_what_the_manifest_says(tmp_path):
    sound = np.eye(4, DIM, dtype=np.float16)
    sound[1] = 0  # an absent part
    keys = {"image": {"dim": DIM, "dtype": "F16", "normalized": True}}
    odd = pa.table({"id": list("abcd")})
    items = odd.append_column("has_image", pa.array([True, False, True, True]))
    foreign(tmp_path / "sound", sound, [items], keys=keys)
    report = verify_directory(tmp_path / "sound")
    assert report.ok and not report.warnings
    foreign(tmp_path / "nohas", sound, [odd], keys=keys)
    report = verify_directory(tmp_path / "nohas")
    assert report.ok and "no column `has_image`" in report.warnings[0].message
    wrong = {"nan": np.nan, "inf": np.inf, "long": 3.0, "half": 0.98}
    for name, value in wrong.items():
        vectors = sound.copy()
        vectors[2, 2] = vectors[3, 3] = value
        foreign(tmp_path / name, vectors, [items], keys=keys)
        (problem,) = verify_directory(tmp_path / name).problems
        said = "NaN or an infinity" if name in ("nan", "inf") else f"length {value:.2g}"
        assert problem.file == "image-00000.safetensors" and problem.message.startswith("row 2: ")
        assert said in problem.message
    free = {"image": {"dim": DIM, "dtype": "F16"}}
    foreign(tmp_path / "free", sound * 3, [items], keys=free)
    assert verify_directory(tmp_path / "free").ok


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.table([["a"], ["x"], ["y"]], names=["id", "text", "text"])
    foreign(tmp_path / "s", np.ones((1, DIM), np.float32), [table])
    with pytest.raises(BadInput, match="two columns `text`"):
        Store.open(tmp_path / "s").items()


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
