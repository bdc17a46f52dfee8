"""`mmcli data validate`: what it finds, what it leaves alone, and how it says so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mmcli.store.records import KeyArrays
from mmcli.workflows.data.ledger import across, repeats
from tests.conftest import Run, picture, recording
from tests.store.store_making import KEYS, make_store, writer

Find = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def find(run_here: Run) -> Find:
    """The findings of `data validate WORDS…`; the exit code must say whether there are any."""

    def command(*words: object) -> list[dict[str, Any]]:
        done = run_here("data", "validate", *words, "--format", "jsonl")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == (3 if found else 0), done.stderr
        return found

    return command


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def brief(findings: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(f["check"], f["id"], f["part"]) for f in findings}


def test_clean_data_are_exit_0(find: Find, tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / f"d/{i}.png", i)
        recording(tmp_path / f"d/{i}.wav", i, seconds=0.5 + 0.1 * i)
    assert find("d") == []
    assert find("d", "--deep") == []


def test_files(find: Find, tmp_path: Path) -> None:
    picture(tmp_path / "good.png", 1)
    whole = picture(tmp_path / "whole.jpg", 2, (400, 300)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    png = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(png[:-20])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.png").write_text("<html>404</html>", "utf-8")
    wav = recording(tmp_path / "s.wav", 3).read_bytes()
    (tmp_path / "cut.wav").write_bytes(wav[:-100])
    rows = [
        {"id": name, part: name}
        for part, names in (
            (
                "image",
                (
                    "good.png",
                    "whole.jpg",
                    "cut.jpg",
                    "cut.png",
                    "empty.png",
                    "page.png",
                    "gone.png",
                ),
            ),
            ("speech", ("s.wav", "cut.wav")),
        )
        for name in names
    ]
    table(tmp_path / "t.jsonl", [*rows, {"id": "nothing"}])
    assert brief(find("t.jsonl")) == {
        ("broken", "cut.jpg", "image"), ("broken", "cut.png", "image"),
        ("broken", "empty.png", "image"), ("broken", "page.png", "image"),
        ("missing", "gone.png", "image"), ("broken", "cut.wav", "speech"),
        ("missing", "nothing", ""),
    }  # fmt: skip
    only = find("t.jsonl", "--checks", "missing")
    assert {f["id"] for f in only} == {"gone.png", "nothing"}
    assert next(f for f in only if f["id"] == "gone.png")["value"] == "gone.png"


def test_deep_finds_what_headers_hide(find: Find, tmp_path: Path) -> None:
    values = np.add.outer(np.arange(90) ** 2 // 7, np.arange(90) * 3) % 251
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "x.png")
    raw = bytearray((tmp_path / "x.png").read_bytes())
    raw[100:300] = bytes(200)
    (tmp_path / "x.png").write_bytes(bytes(raw))
    table(tmp_path / "t.jsonl", [{"id": "x", "image": "x.png"}])
    assert find("t.jsonl") == []
    assert brief(find("t.jsonl", "--deep")) == {("broken", "x", "image")}


def test_duplicates(find: Find, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "b.png", 2)
    shutil.copy(tmp_path / "a.png", tmp_path / "copy.png")
    rows = [
        {"id": "one", "image": "a.png", "text": "a cat"},
        {"id": "two", "image": "copy.png", "text": "the same cat"},
        {"id": "three", "image": "a.png", "text": "a cat"},
        {"id": "four", "image": "a.png", "text": "the same file, another caption"},
        {"id": "five", "image": "b.png", "text": "a cat"},
    ]
    found = find(table(tmp_path / "t.jsonl", rows))
    assert {(f["id"], f["part"], f["other"]) for f in found} == {
        ("two", "image", "one"), ("three", "", "one"),
    }  # fmt: skip
    assert {f["check"] for f in found} == {"duplicate"}


def test_windows_of_one_recording_are_no_duplicates(find: Find, tmp_path: Path) -> None:
    recording(tmp_path / "s.wav", 1, seconds=2)
    rows = [{"id": f"w{i}", "speech": "s.wav", "start_s": i, "end_s": i + 1} for i in (0, 1)]
    assert find(table(tmp_path / "t.jsonl", rows)) == []


def test_leaks_between_splits(find: Find, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    picture(tmp_path / "c.png", 2)
    rows = [
        {"id": "1", "image": "a.png", "author": "x", "split": "train"},
        {"id": "2", "image": "b.png", "author": "y", "split": "test"},
        {"id": "3", "image": "c.png", "author": "x", "split": "test"},
    ]
    found = find(table(tmp_path / "t.jsonl", rows), "--group-by", "author")
    assert {(f["check"], f["id"], f["other"]) for f in found} == {("leak", "2", "1"),
                                                                  ("leak", "3", "1")}  # fmt: skip
    assert all("test and train" in f["message"] for f in found)
    (tmp_path / "s.csv").write_text("id,split\n1,train\n2,train\n3,train\n", "utf-8")
    again = find("t.jsonl", "--group-by", "author", "--split-file", "s.csv")
    assert {(f["check"], f["id"]) for f in again} == {("duplicate", "2")}


def test_a_split_file_of_other_data_is_no_clean_bill(run_here: Run, tmp_path: Path) -> None:
    table(tmp_path / "t.jsonl", [{"id": str(i), "text": f"text {i}"} for i in range(3)])
    command = ("data", "validate", "t.jsonl", "--checks", "leak", "--split-file", "s.csv")
    (tmp_path / "s.csv").write_text("id,split\nx,train\ny,test\n", "utf-8")
    done = run_here(*command)
    assert done.returncode == 3 and "`s.csv` names no item of `t.jsonl`: `x`" in done.stderr
    (tmp_path / "s.csv").write_text("id,split\n0,train\n1,test\ny,test\n", "utf-8")
    done = run_here(*command)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 ids of `s.csv` are not in `t.jsonl` (first: `y`)" in done.stderr
    assert "`s.csv` gives no split to 1 of 3 items" in done.stderr
    (tmp_path / "s.csv").write_text("id,split\n0,train\n1,test\n0,test\n", "utf-8")
    done = run_here(*command)
    assert done.returncode == 3 and "names an id twice: `0`, in rows 0 and 2" in done.stderr


def test_labels(find: Find, tmp_path: Path) -> None:
    labels = [*"aaaabbbb", "B", "c", None, "a", "b"]
    rows = [{"id": str(i), "text": f"text {i}", "label": v} for i, v in enumerate(labels)]
    rows[11]["text"] = rows[12]["text"] = "twice"
    found = find(table(tmp_path / "t.jsonl", rows), "--checks", "label")
    told = {(f["id"], f["value"], f["message"]) for f in found}
    assert told == {
        ("10", "", "1 of 13 rows have no `label`"),
        ("8", "B", "spelled otherwise than `b` (1 and 5 rows)"),
        ("8", "B", "the class has one row only"),
        ("9", "c", "the class has one row only"),
        ("12", "b", "equal items: `label` is `b` here, `a` there"),
    }


def test_odd_durations(find: Find, tmp_path: Path) -> None:
    lengths = [1.0, 1.1, 0.9, 1.2, 1.05, 0.02, 30.0]
    for i, seconds in enumerate(lengths):
        recording(tmp_path / f"d/r{i}.wav", i, seconds=seconds)
    assert {f["id"] for f in find("d", "--checks", "duration")} == {"r5", "r6"}
    limits = ("--min-duration", 0.95, "--max-duration", 1.15)
    assert {f["id"] for f in find("d", *limits)} == {"r2", "r3", "r5", "r6"}


def test_near_duplicates_by_embedding(find: Find, run_here: Run, tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 0, 2]]
    vectors[2, 1] = 0.05
    rows = [{"id": str(i), "text": f"t{i}", "split": "train" if i else "test"} for i in range(4)]
    table(tmp_path / "t.jsonl", rows)
    keys = {"text": {**KEYS["image"], "slug": "text", "normalized": False}}
    with writer(tmp_path / "store", keys=keys) as store:
        items = pa.table({**{n: [r[n] for r in rows] for n in rows[0]}, "has_text": [True] * 4})
        store.write_shard(0, 0, items, {"text": KeyArrays(vectors)}, (), (4, 0, 0))
        store.commit()
    (leak,) = find("t.jsonl", "--store", "store", "--near", "text")
    assert (leak["check"], leak["id"], leak["other"]) == ("leak", "2", "0")
    (near,) = find("store", "--near", "text:0.99", "--checks", "near-duplicate")
    assert near["message"] == "cosine 0.9988 of `text`"
    assert find("store", "--near", "text:0.9999") == []
    done = run_here("data", "validate", "t.jsonl", "--near", "text")
    assert done.returncode == 2 and "--store" in done.stderr


def test_a_leak_through_a_row_that_is_itself_a_near_duplicate(find: Find, tmp_path: Path) -> None:
    """At 0, 15 and 30 degrees: the third is near the second alone, which is near the first."""
    angles = np.radians([0, 15, 30])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    rows = [{"id": n, "text": n, "split": s} for n, s in zip("abc", ("train", "train", "test"))]
    table(tmp_path / "t.jsonl", rows)
    keys = {"text": {**KEYS["image"], "slug": "text", "dim": 2}}
    with writer(tmp_path / "store", keys=keys) as store:
        items = pa.table({**{n: [r[n] for r in rows] for n in rows[0]}, "has_text": [True] * 3})
        store.write_shard(0, 0, items, {"text": KeyArrays(vectors)}, (), (3, 0, 0))
        store.commit()
    asked = ("t.jsonl", "--store", "store", "--near", "text:0.95", "--checks")
    (leak,) = find(*asked, "leak")
    assert (leak["id"], leak["other"], leak["message"][:17]) == ("c", "b", "in test and train")
    near = find(*asked, "near-duplicate")
    assert [(f["id"], f["other"]) for f in near] == [("b", "a"), ("c", "b")]


def test_a_held_out_copy_is_a_leak_whichever_copy_comes_first(find: Find, tmp_path: Path) -> None:
    """Of three equal files the first is held out too: the third leaks from the second."""
    rows = []
    for name, split in zip("abc", ("test", "train", "test"), strict=True):
        picture(tmp_path / f"{name}.png", 1)
        rows.append({"id": name, "image": f"{name}.png", "split": split})
    table(tmp_path / "t.jsonl", rows)
    with writer(tmp_path / "store", keys={"image": KEYS["image"]}) as store:
        items = pa.table({**{n: [r[n] for r in rows] for n in rows[0]}, "has_image": [True] * 3})
        vectors = np.eye(4, dtype=np.float32)[[0, 0, 0]]
        store.write_shard(0, 0, items, {"image": KeyArrays(vectors)}, (), (3, 0, 0))
        store.commit()
    found = find("t.jsonl", "--store", "store", "--near", "image", "--checks", "leak")
    assert [(f["id"], f["other"]) for f in found] == [("b", "a"), ("c", "b")]


def test_vectors_without_any_parts_are_sound(find: Find, tmp_path: Path) -> None:
    make_store(tmp_path / "s")
    assert find("s", "--label", "label") == []


def test_formats_and_errors(run_here: Run, tmp_path: Path) -> None:
    table(tmp_path / "t.jsonl", [{"id": "x", "image": "gone.png"}, {"id": "y", "text": "words"}])
    shown = run_here("data", "validate", "t.jsonl")
    assert shown.returncode == 3 and "2 items, 1 missing" in shown.stderr
    header, row = shown.stdout.splitlines()
    assert header.split() == ["check", "id", "part", "value", "other", "message"]
    assert row.split()[:4] == ["missing", "x", "image", "gone.png"]
    assert json.loads(run_here("data", "validate", "t.jsonl", "--format", "json").stdout)
    tsv = run_here("data", "validate", "t.jsonl", "--format", "tsv").stdout.splitlines()
    assert [len(line.split("\t")) for line in tsv] == [6, 6]
    clean = run_here("data", "validate", "t.jsonl", "--checks", "broken", "--format", "json")
    assert (clean.returncode, json.loads(clean.stdout)) == (0, [])
    for words in (("--checks", "brokn"), ("--label", "lab"), ("--store", "x")):
        done = run_here("data", "validate", "t.jsonl", *words)
        assert done.returncode in (2, 3) and done.stderr.count("\n") == 2, done.stderr


def test_repeated_keys_are_found_in_order() -> None:
    random = np.random.default_rng(0)
    keys = random.integers(0, 40, (500, 2)).astype(np.uint64)
    keys[::9] = 0
    rows, first = repeats(keys)
    seen: dict[tuple[int, int], int] = {}
    expected = []
    for row, key in enumerate(map(tuple, keys.tolist())):
        if key == (0, 0):
            continue
        if key in seen:
            expected.append((row, seen[key]))
        seen.setdefault(key, row)
    assert list(zip(rows.tolist(), first.tolist(), strict=True)) == expected


def test_values_in_several_splits() -> None:
    values = np.array([5, 7, 5, 0, 7, 9, 0])
    splits = np.array([1, 1, 2, 1, 1, 2, 2], np.int32)
    assert across(values, splits) == [(0, 2)]
