"""`mmcli store import|export`: equal bits there and back, and what is wrong is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.store.reader import Store
from mmcli.workflows.queries.plans import key_of_modality
from tests.cli.test_store_tools import raw, refused, report_of, same_rows, sound
from tests.conftest import Run
from tests.store.store_making import KEYS, contents, make_store

LAYOUTS = ("npy", "parquet", "jsonl", "clip-retrieval")


@pytest.fixture
def a(tmp_path: Path) -> Path:
    """Fifteen rows in three shards; `text:other` is F16, with sequences."""
    make_store(tmp_path / "a")
    return tmp_path / "a"


def name_of(layout: str) -> str:
    return f"x.{layout}" if layout in ("parquet", "jsonl") else "x"


def exported(run_here: Run, layout: str, *more: object) -> Any:
    return report_of(
        run_here("store", "export", "a", "-o", name_of(layout), "--to", layout, "--json", *more)
    )


@pytest.mark.parametrize("layout", ["npy", "parquet", "clip-retrieval"])
def test_there_and_back_is_the_same_store(run_here: Run, a: Path, layout: str) -> None:
    report = exported(run_here, layout)
    assert report["rows"] == 15 and report["keys"] == list(KEYS)
    assert "text:other" in report["warnings"][0]  # its sequences are left out
    report_of(run_here("store", "import", name_of(layout), "-o", "back", "--json"))
    old, new = Store.open(a), sound(a.parent / "back")
    for key in old.keys:
        assert raw(new, key).tobytes() == raw(old, key).tobytes()
        assert new.has(key).tolist() == old.has(key).tolist()
        kept = {**old.keys[key], "sequence": False}
        assert {name: new.keys[key][name] for name in kept} == kept
    assert new.ids() == old.ids() and new.columns == old.columns
    assert new.items().select(["id", "label"]).equals(old.items().select(["id", "label"]))
    assert new.source_root == old.source_root


def test_sequences_go_along_in_npy(run_here: Run, a: Path) -> None:
    exported(run_here, "npy", "--sequence")
    offsets = np.load(a.parent / "x/text.other.offsets.npy")
    assert len(offsets) == 16
    assert len(np.load(a.parent / "x/text.other.values.npy")) == offsets[-1]
    report_of(run_here("store", "import", "x", "-o", "back", "--shard-size", 4, "--json"))
    new = sound(a.parent / "back")
    assert len(new.shards) == 4
    same_rows(new, Store.open(a), range(15))
    refused(run_here("store", "export", "a", "-o", "y.parquet", "--to", "parquet", "--sequence"),
            "--to npy", code=2)  # fmt: skip


def test_jsonl_has_the_fewest_digits_that_give_the_bits(run_here: Run, a: Path) -> None:
    exported(run_here, "jsonl")
    rows = [json.loads(line) for line in (a.parent / "x.jsonl").read_text("utf-8").splitlines()]
    old = Store.open(a)
    assert [row["id"] for row in rows] == old.ids()
    assert rows[5]["image_embedding"] is None  # the one that failed
    for i, row in enumerate(rows):
        for key, column in (("image", "image_embedding"), ("text:other", "text.other_embedding")):
            if row[column] is not None:
                dtype = raw(old, key).dtype
                assert np.array(row[column]).astype(dtype).tobytes() == raw(old, key)[i].tobytes()
    report_of(run_here("store", "import", "x.jsonl", "-o", "back", "--key", "image", "--column",
                       "image_embedding", "--json"))  # fmt: skip
    assert raw(sound(a.parent / "back"), "image").tobytes() == raw(old, "image").tobytes()


def test_every_key_of_a_jsonl_comes_back(run_here: Run, a: Path) -> None:
    exported(run_here, "jsonl")
    report_of(run_here("store", "import", "x.jsonl", "-o", "back", "--json"))
    old, new = Store.open(a), sound(a.parent / "back")
    assert list(new.keys) == list(old.keys) and new.columns == old.columns
    for key in old.keys:
        assert new.keys[key]["dtype"] == "F32" and np.array_equal(new.load(key), old.load(key))
        assert new.has(key).tolist() == old.has(key).tolist()
    report_of(run_here("store", "import", "x.jsonl", "-o", "one", "--key", "image", "--json"))
    assert list(sound(a.parent / "one").keys) == ["image"]
    (a.parent / "whole.jsonl").write_text('{"id": "a", "image_embedding": [1, 0]}\n')
    report_of(run_here("store", "import", "whole.jsonl", "-o", "named", "--json"))
    assert sound(a.parent / "named").load("image").tolist() == [[1, 0]]
    report_of(run_here("store", "import", "whole.jsonl", "-o", "else", "--key", "text", "--json"))
    assert list(sound(a.parent / "else").keys) == ["text"]


def test_a_column_called_caption_stays_one(run_here: Run, a: Path) -> None:
    captions = "".join(f"{i},thing {n}\n" for n, i in enumerate(Store.open(a).ids()))
    (a.parent / "words.csv").write_text(f"id,caption\n{captions}", "utf-8")
    report_of(run_here("store", "join", "a", "words.csv", "-o", "b", "--json"))
    report_of(run_here("store", "export", "b", "-o", "x", "--to", "npy", "--json"))
    report_of(run_here("store", "import", "x", "-o", "back", "--json"))
    assert sound(a.parent / "back").items(["caption"])["caption"][3].as_py() == "thing 3"


def test_the_picture_is_the_key_of_that_name_whatever_the_order(run_here: Run, a: Path) -> None:
    """A store of another program, whose first key of pictures is a layer."""
    manifest = json.loads((a / "manifest.json").read_text("utf-8"))
    old = Store.open(a)
    layer, image = manifest["keys"]["text:other"], manifest["keys"]["image"]
    layer["slug"] = "image.layer"
    shards = manifest["shards"]
    for one in shards:
        one["keys"] = {"image:NAME@4": one["keys"]["text:other"], "image": one["keys"]["image"]}
    told = {"format": manifest["format"], "rows": manifest["rows"], "shards": shards,
            "keys": {"image:NAME@4": layer, "image": image}}  # fmt: skip
    (a / "manifest.json").write_text(json.dumps(told), "utf-8")
    assert list(Store.open(a).keys) == ["image:NAME@4", "image"]
    assert exported(run_here, "clip-retrieval")["keys"] == ["image"]
    found = np.load(a.parent / "x/img_emb/img_emb_0.npy")
    assert found.tobytes() == raw(old, "image").tobytes()
    assert key_of_modality(Store.open(a).keys, "image") == "image"
    layers = {"image:a@4": {"layer": 4}, "image:a": {}, "text": {}}
    assert key_of_modality(layers, "image") == "image:a"
    assert key_of_modality(layers, "speech") is None


def test_clip_retrieval_finds_its_own_layout(run_here: Run, tmp_path: Path) -> None:
    """Two parts as that program writes them: half floats, its own column names."""
    folder = tmp_path / "clip"
    random = np.random.default_rng(0)
    vectors = {}
    for name in ("img_emb", "text_emb"):
        made = random.standard_normal((7, 8))
        vectors[name] = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)
        (folder / name).mkdir(parents=True)
    (folder / "metadata").mkdir()
    for number, part in ((2, slice(0, 5)), (10, slice(5, 7))):
        for name, made in vectors.items():
            np.save(folder / name / f"{name}_{number}.npy", made[part])
        rows = range(7)[part]
        table = pa.table({"image_path": [f"/i/{r}.jpg" for r in rows],
                          "caption": [f"thing {r}" for r in rows],
                          "key": [f"{r:09d}" for r in rows]})  # fmt: skip
        pq.write_table(table, folder / f"metadata/metadata_{number}.parquet")
    space = ("--space", "clip@0123456789ab")
    command = ("store", "import", "clip", "-o", "s", *space, "--map", "id=key", "--json")
    report = report_of(run_here(*command))
    assert report["layout"] == "clip-retrieval"
    new = sound(tmp_path / "s")
    assert raw(new, "image").tobytes() == vectors["img_emb"].tobytes()
    assert raw(new, "text").tobytes() == vectors["text_emb"].tobytes()
    for key in ("image", "text"):
        entry = new.keys[key]
        assert (entry["dtype"], entry["normalized"]) == ("F16", True)
        assert entry["space"] == "clip@0123456789ab"
    items = new.items(["id", "image", "text"]).to_pylist()
    assert items[6] == {"id": "000000006", "image": "/i/6.jpg", "text": "thing 6"}
    out = run_here("store", "export", "s", "-o", "again", "--to", "clip-retrieval", "--json")
    report_of(out)
    back = pq.read_table(tmp_path / "again/metadata/metadata_0.parquet")
    assert back.column("image_path")[6].as_py() == "/i/6.jpg"
    assert back.column("caption")[6].as_py() == "thing 6"
    found = np.load(tmp_path / "again/img_emb/img_emb_0.npy")
    assert found.tobytes() == vectors["img_emb"].tobytes()


def test_npy_with_a_table_of_items(run_here: Run, tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    vectors[2] = 0
    np.save(tmp_path / "one.npy", vectors[:3])
    np.save(tmp_path / "two.npy", vectors[3:].astype(">f4"))
    (tmp_path / "items.csv").write_text("name,label\na,1\nb,2\nc,3\nd,4\ne,5\n", "utf-8")
    done = run_here("store", "import", "one.npy", "two.npy", "-o", "s", "--items", "items.csv",
                    "--map", "id=name", "--key", "image", "--json")  # fmt: skip
    report = report_of(done)
    assert report["keys"]["image"]["with_part"] == 4
    assert not report["keys"]["image"]["normalized"]
    assert "names no space" in done.stderr
    new = sound(tmp_path / "s")
    assert raw(new, "image").tobytes() == vectors.tobytes()
    assert new.items(["id", "label"]).to_pylist()[4] == {"id": "e", "label": 5}
    assert new.has("image").tolist() == [True, True, False, True, True]


def test_vectors_of_a_named_encoder(run_here: Run, tmp_path: Path) -> None:
    unit = np.eye(384, dtype=np.float32)[:3]
    np.save(tmp_path / "v.npy", unit)
    command = ("store", "import", "v.npy", "--key", "text", "--json", "-o")
    report_of(run_here(*command, "s", "--encoder", "minilm-l6"))
    entry = sound(tmp_path / "s").keys["text"]
    assert entry["space"] == "minilm-l6@53aa51172d14" and entry["normalized"]
    assert sound(tmp_path / "s").ids() == ["00000000", "00000001", "00000002"]
    refused(run_here(*command, "t", "--encoder", "efficientnet-lite0"), "takes image", code=2)
    np.save(tmp_path / "v.npy", unit[:, :5])
    refused(run_here(*command, "t", "--encoder", "minilm-l6"), "384 numbers", "have 5")


def test_rows_that_hold_nan_are_named(run_here: Run, tmp_path: Path) -> None:
    vectors = np.ones((4, 3), np.float32)
    vectors[2, 1] = np.nan
    np.save(tmp_path / "v.npy", vectors)
    command = ("store", "import", "v.npy", "--key", "image")
    refused(run_here(*command, "-o", "t", "--on-error", "fail"), "`v.npy`, row 2", "NaN")
    done = run_here(*command, "-o", "s", "--json")
    assert done.returncode == 6 and "`v.npy`, row 2" in done.stderr
    new = sound(tmp_path / "s")
    assert (new.manifest["ok"], new.manifest["failed"]) == (3, 1)
    (failure,) = new.failures().to_pylist()
    assert failure["id"] == "00000002" and failure["error"] == "non-finite"
    assert not new.load("image")[2].any() and new.has("image").tolist() == [True, True, False, True]


def test_doubles_become_floats_and_it_is_said(run_here: Run, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((3, 4))
    vectors[1, 2] = 1e300
    np.save(tmp_path / "v.npy", vectors)
    done = run_here("store", "import", "v.npy", "--key", "image", "-o", "s", "--space", "x@1")
    assert done.returncode == 6
    kept, beyond = done.stderr.splitlines()[::-1]
    assert "float64: it is kept as float32" in kept and "beyond float32: `v.npy`, row 1" in beyond
    assert (sound(tmp_path / "s").load("image")[[0, 2]] == vectors[[0, 2]].astype(np.float32)).all()


def test_normalized_is_checked_not_believed(run_here: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32) * [[1], [2], [1]])
    command = ("store", "import", "v.npy", "--key", "image", "-o")
    refused(run_here(*command, "s", "--normalized", "yes"), "`v.npy`, row 1", "length 2")
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    report_of(run_here(*command, "s", "--json"))
    assert sound(tmp_path / "s").keys["image"]["normalized"] is True
    report_of(run_here(*command, "t", "--normalized", "no", "--json"))
    assert sound(tmp_path / "t").keys["image"]["normalized"] is False


def test_import_refuses(run_here: Run, tmp_path: Path) -> None:
    command = ("store", "import", "-o", "s")
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    refused(run_here(*command, "v.npy"), "--key image", code=2)
    (tmp_path / "junk.npy").write_text("abc\n")
    refused(run_here(*command, "junk.npy", "--key", "image"), "`junk.npy` is no npy file", "np.sav")
    (tmp_path / "i.csv").write_text("id,has_image\na,1\nb,0\nc,1\n")
    refused(run_here(*command, "v.npy", "--key", "image", "--items", "i.csv"),
            "`has_image` is int64, not bool", "true and false")  # fmt: skip
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(run_here(*command, "o.npy", "--key", "image"), "`o.npy`")
    np.save(tmp_path / "i.npy", np.eye(3, dtype=np.int64))
    refused(run_here(*command, "i.npy", "--key", "image"), "int64 [3, 3]")
    (tmp_path / "two.csv").write_text("id\na\nb\n", "utf-8")
    with_items = (*command, "v.npy", "--key", "image", "--items")
    refused(run_here(*with_items, "two.csv"), "3 vectors", "2 rows")
    (tmp_path / "same.csv").write_text("id\na\nb\na\n", "utf-8")
    refused(run_here(*with_items, "same.csv"), "row 2", '"a"', "row 0")
    (tmp_path / "r.jsonl").write_text('{"v": [1.5, 2]}\n{"v": [1.5]}\n', "utf-8")
    refused(run_here(*command, "r.jsonl", "--key", "image"), "r.jsonl", "row 2", "1 numbers")
    (tmp_path / "n.jsonl").write_text('{"text": "words"}\n', "utf-8")
    refused(run_here(*command, "n.jsonl", "--key", "image"), "no column of vectors")
    make_store(tmp_path / "a")
    refused(run_here(*command, "a"), "`a` is a store already")
    (tmp_path / "clip/img_emb").mkdir(parents=True)
    (tmp_path / "clip/metadata").mkdir()
    np.save(tmp_path / "clip/img_emb/img_emb_0.npy", np.eye(3, dtype=np.float32))
    pq.write_table(pa.table({"caption": ["a"]}), tmp_path / "clip/metadata/metadata_0.parquet")
    refused(run_here(*command, "clip"), "img_emb_0.npy", "3 rows", "1")
    assert not (tmp_path / "s").exists()


def test_export_refuses_and_replaces_only_its_own(run_here: Run, a: Path) -> None:
    command = ("store", "export", "a", "--json", "-o")
    refused(run_here(*command, "x", "--to", "csv"), "--to csv", code=2)
    refused(run_here(*command, "x", "--to", "parquet"), "*.parquet", code=2)
    refused(run_here(*command, "a/x.parquet", "--to", "parquet"), "lies in `a`")
    (a.parent / "mine").mkdir()
    (a.parent / "mine/thesis.txt").write_text("words", "utf-8")
    refused(run_here(*command, "mine", "--to", "npy", "--force"), "holds no export")
    for layout in LAYOUTS:
        name = f"{layout}-{name_of(layout)}"
        dry = report_of(run_here(*command, name, "--to", layout, "-n"))
        assert dry["dry_run"] and not (a.parent / name).exists()
        report_of(run_here(*command, name, "--to", layout))
        refused(run_here(*command, name, "--to", layout), "already", "--force")
        report_of(run_here(*command, name, "--to", layout, "--force"))
    left = {p.name for p in a.parent.iterdir()}
    assert left == {"a", "mine", *(f"{layout}-{name_of(layout)}" for layout in LAYOUTS)}


def test_equal_stores_give_equal_files(run_here: Run, a: Path) -> None:
    for layout in LAYOUTS:
        for name in ("first", "second"):
            report_of(run_here("store", "export", "a", "-o", f"{name}-{name_of(layout)}", "--to",
                               layout, "--json", "--force"))  # fmt: skip
        one, two = (a.parent / f"{name}-{name_of(layout)}" for name in ("first", "second"))
        if one.is_file():
            assert one.read_bytes() == two.read_bytes()
        elif layout == "npy":
            assert contents(one) == contents(two)


def test_other_programs_read_an_export(
    run_here: Run, a: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    exported(run_here, "parquet")
    from datasets import load_dataset

    where = {"data_files": str(tmp_path / "x.parquet"), "cache_dir": str(tmp_path / "cache")}
    rows = load_dataset("parquet", **where)["train"].with_format("numpy")
    old = Store.open(a)
    assert rows[3]["image_embedding"].tobytes() == raw(old, "image")[3].tobytes()
    assert pq.read_schema(tmp_path / "x.parquet").field("image_embedding").type == pa.list_(
        pa.float32(), 4
    )
    assert pq.read_table(tmp_path / "x.parquet").column("image_embedding")[5].as_py() is None


def test_the_place_of_an_npy_file_is_taken_at_once(tmp_path: Path) -> None:
    """A sparse file that is written through a map ends the process where the disk is full."""
    from mmcli.workflows.store.export_files import _mapped

    mapped = _mapped(tmp_path / "x.npy", np.float32, (4096, 64))
    told = (tmp_path / "x.npy").stat()
    assert told.st_blocks * 512 >= told.st_size > mapped.nbytes
    assert not np.load(tmp_path / "x.npy").any()
