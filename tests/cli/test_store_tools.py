"""`mmcli store join|filter`, as they are typed: what they write, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from mmcli.store.reader import Store
from mmcli.store.records import KeyArrays
from mmcli.store.verification import verify_directory
from tests.conftest import Run
from tests.store.store_making import KEYS, SHARDS, contents, make_store, shard, writer


@pytest.fixture
def a(tmp_path: Path) -> Path:
    """Fifteen rows in three shards; `text:other` has sequences, one row of `image` failed."""
    make_store(tmp_path / "a")
    return tmp_path / "a"


def sound(path: Path) -> Store:
    """The store, once every hash, count and id of it has been checked."""
    report = verify_directory(path)
    assert report.ok and not report.warnings, report
    return Store.open(path)


def same_rows(new: Store, old: Store, rows: Any, at: Any = None, keys: Any = None) -> None:
    """Row `at[i]` of the new store is row `rows[i]` of the old one, in every bit."""
    at = np.arange(len(rows)) if at is None else at
    for mine, theirs in (keys or {k: k for k in old.keys}).items():
        assert raw(new, mine)[at].tobytes() == raw(old, theirs)[rows].tobytes()
        assert new.has(mine)[at].tolist() == old.has(theirs)[rows].tolist()
        if old.keys[theirs]["sequence"]:
            for i, j in zip(at, rows, strict=True):
                assert np.array_equal(new.sequence(mine, int(i)), old.sequence(theirs, int(j)))


def raw(store: Store, key: str) -> np.ndarray:
    """Vectors as any other program reads them."""
    files = [load_file(files[key]) for _, _, _, files in store.iter_shards()]
    return np.concatenate([file["embeddings"] for file in files])


def report_of(done: Any) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(done: Any, *parts: str, code: int = 3) -> None:
    """One line that names these, one that helps, no traceback."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2 and lines[0].startswith("error: ") and lines[1].startswith("hint: ")
    for part in parts:
        assert part in lines[0] + lines[1]


# -- filter -----------------------------------------------------------------------------------


def test_filter_keeps_rows_bits_sequences_and_metadata(run_here: Run, a: Path) -> None:
    before = contents(a)
    report = report_of(run_here("store", "filter", a, "-o", "f", "--where", "label = 1", "--json"))
    assert report["left_after"] == {"where": 6} and report["rows"] == 6
    new, old = sound(a.parent / "f"), Store.open(a)
    rows = [i for i, label in enumerate(old.items(["label"])["label"].to_pylist()) if label == 1]
    same_rows(new, old, rows)
    assert new.ids() == [old.ids()[i] for i in rows]
    assert new.columns == old.columns
    assert new.keys == old.keys
    assert new.source_root == "/data/photos"
    assert contents(a) == before


def test_filter_combines_conditions(run_here: Run, a: Path) -> None:
    chosen = a.parent / "ids.txt"
    old = Store.open(a)
    chosen.write_text("\n".join([*old.ids()[3:12], "nobody", ""]), "utf-8")
    done = run_here(
        "store", "filter", a, "-o", "f", "--ids", chosen, "--has", "image,text:other",
        "--sample", 4, "--seed", 3, "--keys", "image", "--json",
    )  # fmt: skip
    report = report_of(done)
    assert list(report["left_after"]) == ["has", "ids", "sample"]
    assert "1 ids" in done.stderr and "nobody" in done.stderr
    new = sound(a.parent / "f")
    assert new.rows == 4 and list(new.keys) == ["image"]
    assert "has_text.other" not in new.columns
    rows = [old.ids().index(i) for i in new.ids()]
    both = old.has("image") & old.has("text:other")
    assert rows == sorted(rows) and set(rows) <= set(range(3, 12)) and both[rows].all()
    same_rows(new, old, rows, keys={"image": "image"})
    again = run_here("store", "filter", a, "-o", "g", "--has", "image,text:other", "--ids", chosen,
                     "--sample", 4, "--seed", 3, "--keys", "image", "-q")  # fmt: skip
    assert again.returncode == 0 and sound(a.parent / "g").ids() == new.ids()


def test_ids_of_a_table_and_of_stdin(run_here: Run, a: Path) -> None:
    ids = Store.open(a).ids()
    pq.write_table(pa.table({"id": ids[::4], "x": [0] * 4}), a.parent / "some.parquet")
    assert run_here("store", "filter", a, "-o", "t", "--ids", "some.parquet", "-q").returncode == 0
    lines = "".join(f"{i}\n" for i in ids[::4])
    assert (
        run_here("store", "filter", a, "-o", "s", "--ids", "-", "-q", stdin=lines).returncode == 0
    )
    assert sound(a.parent / "t").ids() == sound(a.parent / "s").ids() == ids[::4]
    done = run_here("store", "filter", a, "-o", "x", "--exclude", "some.parquet", "-q")
    assert done.returncode == 0, done.stderr
    assert sound(a.parent / "x").ids() == [i for i in ids if i not in ids[::4]]


def test_failures_and_counts_follow_their_rows(run_here: Run, a: Path) -> None:
    old = Store.open(a)
    (failed,) = old.failures()["id"].to_pylist()
    pick = a.parent / "ids.txt"
    pick.write_text(f"{failed}\n{old.ids()[0]}\n", "utf-8")
    report_of(run_here("store", "filter", a, "-o", "f", "--ids", pick, "--json"))
    new = sound(a.parent / "f")
    assert new.failures().to_pylist() == old.failures().to_pylist()
    assert (new.manifest["ok"], new.manifest["partial"]) == (1, 1)
    report_of(run_here("store", "filter", a, "-o", "t", "--ids", pick, "--keys", "text:other",
                       "--json"))  # fmt: skip
    assert sound(a.parent / "t").failures().num_rows == 0


def test_shards_are_cut_anew(run_here: Run, a: Path) -> None:
    report_of(run_here("store", "filter", a, "-o", "f", "--where", "true", "--shard-size", 4,
                       "--json"))  # fmt: skip
    new = sound(a.parent / "f")
    assert [shard.rows for shard in new.shards] == [4, 4, 4, 3]
    same_rows(new, Store.open(a), range(SHARDS * 5))


def test_dedup_keeps_the_first_of_near_rows(run_here: Run, tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 0, 2, 1, 0]]
    vectors[4] += 0.01
    has = np.array([True, True, True, True, True, False])
    key = {"image": {**KEYS["image"], "normalized": False}}
    with writer(tmp_path / "d", keys=key) as store:
        items = pa.table({"id": list("abcdef"), "has_image": has})
        arrays = {"image": KeyArrays(np.where(has[:, None], vectors, 0).astype(np.float32))}
        store.write_shard(0, 0, items, arrays, counts=(6, 0, 0))
        store.commit()
    report_of(run_here("store", "filter", "d", "-o", "near", "--dedup", "image", "--json"))
    assert sound(tmp_path / "near").ids() == ["a", "b", "d", "f"]
    report_of(run_here("store", "filter", "d", "-o", "same", "--dedup", "image:1", "--json"))
    assert sound(tmp_path / "same").ids() == ["a", "b", "d", "e", "f"]


def test_filter_refuses(run_here: Run, a: Path) -> None:
    filter_ = ("store", "filter", a, "-o", "f")
    refused(run_here(*filter_), "nothing to filter by", code=2)
    refused(run_here(*filter_, "--where", "labl = 1"), "`labl`", "`label`")
    refused(run_here(*filter_, "--where", "label ="), "syntax", code=2)
    refused(run_here(*filter_, "--where", "label = 9"), "no row", "--where")
    refused(run_here(*filter_, "--sample", 99), "only 15 rows")
    for word in ("nan", "inf", "-1"):
        refused(run_here(*filter_, f"--sample={word}"), f"`--sample {word}` is no number", code=2)
    refused(run_here(*filter_, "--keys", "imag"), "--keys imag", "`image`")
    refused(run_here(*filter_, "--has", "speech"), "--has speech")
    refused(run_here(*filter_, "--dedup", "image:2"), "no cosine", code=2)
    refused(run_here("store", "filter", a, "-o", a, "--sample", 1, "--force"), "the input itself")
    assert not (a.parent / "f").exists()


def test_dry_run_writes_nothing_and_force_replaces(run_here: Run, a: Path) -> None:
    filter_ = ("store", "filter", a, "-o", "f", "--where", "label = 1", "--json")
    report = report_of(run_here(*filter_, "-n"))
    assert report["dry_run"] and report["rows"] == 6 and not (a.parent / "f").exists()
    report_of(run_here(*filter_))
    refused(run_here(*filter_), "already holds a store", "--force")
    report_of(run_here(*filter_, "--force", "--sample", "0.5"))
    assert sound(a.parent / "f").rows == 3


def test_what_was_cut_off_goes_on(run_here: Run, a: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmcli.store.writer import StoreWriter

    command = ("store", "filter", a, "-o", "f", "--where", "true", "--shard-size", 4)
    report_of(run_here(*command[:-1], 4, "-o", "whole", "--json"))
    write, calls = StoreWriter.write_shard, []

    def stop(self: StoreWriter, index: int, *rest: Any) -> Any:
        calls.append(index)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(self, index, *rest)

    monkeypatch.setattr(StoreWriter, "write_shard", stop)
    with pytest.raises(KeyboardInterrupt):
        run_here(*command)
    refused(run_here(*command), "unfinished", "--resume")
    calls[:] = [0, 0, 0]
    report_of(run_here(*command, "--resume", "--json"))
    assert calls == [0, 0, 0, 2, 3]
    sound(a.parent / "f")
    assert contents(a.parent / "f") == contents(a.parent / "whole")


# -- join -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_columns_of_a_table(run_here: Run, a: Path, suffix: str) -> None:
    old = Store.open(a)
    ids = [*old.ids()[::-2], "nobody"]
    rows = [{"id": i, "class": n, "note": f"n,{n}"} for n, i in enumerate(ids)]
    path = a.parent / f"labels.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        tab = "\t" if suffix == "tsv" else ","
        lines = [tab.join(["id", "class", "note"])]
        lines += [tab.join([r["id"], str(r["class"]), f'"{r["note"]}"']) for r in rows]
        path.write_text("\n".join(lines), "utf-8")
    done = run_here("store", "join", a, path, "-o", "j", "--json")
    report = report_of(done)
    assert {k: report[k] for k in ("matched", "unmatched", "unused", "repeated")} == {
        "matched": 8, "unmatched": 7, "unused": 1, "repeated": 0,
    }  # fmt: skip
    assert "7 of 15 rows have no partner" in done.stderr
    new = sound(a.parent / "j")
    same_rows(new, old, range(15))
    found = dict(zip(new.ids(), new.items(["class", "note"]).to_pylist(), strict=True))
    for row in rows[:-1]:
        assert found[row["id"]] == {"class": row["class"], "note": row["note"]}
    assert sum(value["class"] is None for value in found.values()) == 7
    assert new.items(["class"]).schema.field("class").type == pa.int64()


def test_inner_join_by_another_column(run_here: Run, a: Path) -> None:
    (a.parent / "t.csv").write_text("code,name\n1,odd\n7,none\n1,again\n", "utf-8")
    done = run_here("store", "join", a, "t.csv", "-o", "j", "--on", "label=code", "--how", "inner",
                    "--json")  # fmt: skip
    report = report_of(done)
    assert (report["matched"], report["unmatched"], report["repeated"]) == (6, 9, 1)
    assert "repeat the `code` of an earlier one" in done.stderr
    new = sound(a.parent / "j")
    assert new.items(["label", "name"]).to_pylist() == [{"label": 1, "name": "odd"}] * 6


def test_keys_of_another_store(run_here: Run, a: Path, tmp_path: Path) -> None:
    """Rows in another order, one missing, one that failed there."""
    old = Store.open(a)
    order = [13, 2, 5, 7, 0, 1, 3, 4, 6, 8, 9, 10, 11, 12]
    speech = np.random.default_rng(7).standard_normal((14, 2)).astype(np.float32)
    speech[3] = 0
    lengths = np.arange(14) % 3
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.arange(offsets[-1] * 2, dtype=np.float32).reshape(-1, 2)
    entry = {"slug": "speech", "dim": 2, "dtype": "F32", "normalized": False, "space": "w@1",
             "sequence": True, "encoder": "whisper", "prompts": {"query": "q: "}}  # fmt: skip
    from mmcli.store.records import Failure

    with writer(tmp_path / "b", keys={"speech": entry}) as store:
        ids = [old.ids()[i] for i in order]
        items = pa.table(
            {"id": ids, "has_speech": [i != 3 for i in range(14)], "label": ["x"] * 14}
        )
        failure = Failure(ids[3], "speech", "s.wav", "corrupt", "no sound")
        arrays = {"speech": KeyArrays(speech, values, offsets)}
        store.write_shard(0, 0, items, arrays, [failure], (13, 0, 1))
        store.commit()
    report_of(run_here("store", "join", a, "b", "-o", "j", "--shard-size", 4, "--json"))
    new, other = sound(tmp_path / "j"), Store.open(tmp_path / "b")
    same_rows(new, old, range(15))
    same_rows(new, other, range(14), at=order, keys={"speech": "speech"})
    assert not new.has("speech")[14] and not new.load("speech")[14].any()
    assert len(new.sequence("speech", 14)) == 0
    assert new.keys["speech"] == other.keys["speech"]
    assert new.items(["label"])["label"].to_pylist() == old.items(["label"])["label"].to_pylist()
    failed = {(row["id"], row["key"]) for row in new.failures().to_pylist()}
    assert failed == {(ids[3], "speech"), (old.failures()["id"][0].as_py(), "image")}


def test_two_stores_of_different_spaces_are_not_joined(run_here: Run, a: Path) -> None:
    keys = {**KEYS, "image": {**KEYS["image"], "space": "clip@ffffffffffff"}}
    make_store(a.parent / "b", keys=keys)
    done = run_here("store", "join", a, "b", "-o", "j", "--keys", "image")
    refused(done, "key `image`", "e@0123456789ab", "clip@ffffffffffff", f"`{a}`", "`b`")
    done = run_here("store", "concat", a, "b", "-o", "j", "--prefix", "a/,b/")
    refused(done, "key `image`", "e@0123456789ab", "clip@ffffffffffff")
    report_of(run_here("store", "join", a, "b", "-o", "j", "--keys", "image", "--map",
                       "image:b=image", "--json"))  # fmt: skip
    new = sound(a.parent / "j")
    assert new.keys["image:b"]["space"] == "clip@ffffffffffff"
    assert new.keys["image"]["space"] == "e@0123456789ab"
    same_rows(new, Store.open(a.parent / "b"), range(15), keys={"image:b": "image"})


def test_join_refuses(run_here: Run, a: Path) -> None:
    join = ("store", "join", a)
    (a.parent / "t.csv").write_text("id,label,has_x\nq,1,2\n", "utf-8")
    refused(run_here(*join, "t.csv", "-o", "j"), "`has_x` is reserved")
    refused(run_here(*join, "t.csv", "-o", "j", "--columns", "label"), "both have a column `label`")
    refused(run_here(*join, "t.csv", "-o", "j", "--columns", "label", "--map", "other=label"),
            "no `id`", "found in `id`", "`0/item-0-é` and `q`")  # fmt: skip
    refused(run_here(*join, "t.csv", "-o", "j", "--on", "name"), "--on name")
    refused(run_here(*join, "t.csv", "-o", "j", "--keys", "image"), "is a table", code=2)
    refused(run_here(*join, a, "-o", "j"), "both have a key `image`", "--map")
    refused(run_here(*join, "none.csv", "-o", "j"), "`none.csv` does not exist")
    (a.parent / "bad.jsonl").write_text('{"id": "a", "x": 1}\n{"id": "b", "x": "y"}\n', "utf-8")
    refused(run_here(*join, "bad.jsonl", "-o", "j"), "bad.jsonl:2", '"x"')
    assert not (a.parent / "j").exists()


def test_a_store_of_a_newer_program_is_refused(run_here: Run, a: Path) -> None:
    newer = a.parent / "newer"
    make_store(newer)
    manifest = json.loads((newer / "manifest.json").read_text("utf-8"))
    manifest = {**manifest, "format": "mmcli.store/2", "versions": {}}
    manifest.pop("manifest_sha256")
    (newer / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    for command in (
        ("store", "join", a, "newer", "-o", "x"),
        ("store", "join", "newer", a, "-o", "x"),
        ("store", "filter", "newer", "-o", "x", "--sample", 1),
        ("store", "concat", a, "newer", "-o", "x"),
        ("store", "export", "newer", "-o", "x", "--to", "npy"),
    ):
        refused(run_here(*command), "`newer` was written by a newer mmcli (`mmcli.store/2`)")
    assert not (a.parent / "x").exists()


def test_outputs_are_read_by_other_programs(
    run_here: Run, a: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    report_of(run_here("store", "filter", a, "-o", "f", "--where", "label = 0", "--shard-size", 4,
                       "--json"))  # fmt: skip
    from datasets import load_dataset

    files = sorted(map(str, (tmp_path / "f").glob("items-*.parquet")))
    rows = load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert rows["id"][:] == sound(tmp_path / "f").ids()
    assert pq.read_table(files[0]).num_rows == 4
    assert len(shard(0)["items"]) == 5
