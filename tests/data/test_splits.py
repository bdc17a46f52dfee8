"""The split of every row, whatever says it: a file, a fold, a column, or nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.splits import SplitOptions, fold_numbers, split_rows
from mmcli.store.parquet import write_table
from mmcli.store.reader import Store
from mmcli.store.writer import KeyArrays, StoreWriter

KEYS: dict[str, dict[str, Any]] = {
    "text": {"slug": "text", "dim": 2, "dtype": "F32", "normalized": False, "space": "s@0",
             "sequence": False},
}  # fmt: skip


def store_of(path: Path, shard: int = 7, **columns: list[Any]) -> Store:
    """A store with these columns, cut into shards; ids are `r000`, `r001` … unless given."""
    rows = len(next(iter(columns.values())))
    columns = {"id": [f"r{i:03d}" for i in range(rows)], **columns}
    table = pa.table(columns)
    with StoreWriter(
        path, keys=KEYS, source={"kind": "test"}, options={}, fingerprint="f"
    ) as writer:
        for index, start in enumerate(range(0, rows, shard)):
            part = table.slice(start, shard)
            items = part.append_column("has_text", pa.array([True] * len(part)))
            arrays = {"text": KeyArrays(np.ones((len(part), 2), np.float32))}
            writer.write_shard(
                index=index, start=start, items=items, arrays=arrays, failures=[],
                counts=(len(part), 0, 0), notes={},
            )  # fmt: skip
        writer.commit(versions={"mmcli": "0"})
    return Store.open(path)


def test_the_split_column_names_every_row(tmp_path: Path) -> None:
    given = ["train", "test", None, "val", "hard", "train", "train", "", "test"]
    splits = split_rows(store_of(tmp_path / "s", split=given), SplitOptions(), train=True)
    assert splits.names.tolist() == [value or "" for value in given]
    assert splits.rows("test").tolist() == [1, 8]
    assert splits.rows("hard").tolist() == [4]
    assert splits.has("val") and not splits.has("nothing")
    assert splits.rows("nothing").tolist() == []
    assert splits.counts() == {"hard": 1, "test": 2, "train": 3, "val": 1}
    assert splits.source == "column split; test sets left alone: 1 rows `hard`"


def test_test_sets_of_other_names_are_told_of(tmp_path: Path) -> None:
    given = ["train"] * 8 + ["validation", "hard", "hard"]
    store = store_of(tmp_path / "s", split=given)
    told = split_rows(store, SplitOptions(), train=True).source
    assert "test sets left alone: 2 rows `hard`, 1 rows `validation`" in told
    assert "`val` is the name of rows to choose models by" in told
    assert split_rows(store, SplitOptions(), train=False).source == "column split"
    usual = store_of(tmp_path / "t", split=["train"] * 8 + ["val", "test"])
    assert split_rows(usual, SplitOptions(), train=True).source == "column split"


def test_integers_may_name_splits(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", part=[1, 2, None, 1])
    splits = split_rows(store, SplitOptions(split_column="part"), train=False)
    assert splits.names.tolist() == ["1", "2", "", "1"]


@pytest.mark.parametrize("values", [[0.5, 1.0], [True, False], [["train"], ["test"]]])
def test_other_types_name_none(tmp_path: Path, values: list[Any]) -> None:
    store = store_of(tmp_path / "s", split=values)
    with pytest.raises(BadInput, match="column `split`"):
        split_rows(store, SplitOptions(), train=False)


def test_without_a_split_rows_train_or_are_in_none(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", label=list("abcdefghij"))
    trained = split_rows(store, SplitOptions(val_fraction=0), train=True)
    assert trained.counts() == {"train": 10}
    assert split_rows(store, SplitOptions(), train=False).names.tolist() == [""] * 10


def test_a_named_column_must_be_there(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", split=["train", "test"])
    with pytest.raises(BadInput, match="no column `splitt`") as caught:
        split_rows(store, SplitOptions(split_column="splitt"), train=False)
    assert "`split`" in caught.value.hint


def test_a_fold_is_the_test_set(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", fold=[0, 1, 2, None, 1], split=["test"] * 5)
    splits = split_rows(store, SplitOptions(fold=1, val_fraction=0), train=True)
    assert splits.names.tolist() == ["train", "test", "train", "", "test"]
    with pytest.raises(BadInput, match="fold 5") as caught:
        split_rows(store, SplitOptions(fold=5), train=True)
    assert "0, 1, 2" in caught.value.hint


def test_a_fold_needs_its_column_of_integers(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no column `fold`"):
        split_rows(store_of(tmp_path / "a", label=[1, 2]), SplitOptions(fold=0), train=True)
    with pytest.raises(BadInput, match="holds string, not integers"):
        split_rows(store_of(tmp_path / "b", fold=["0", "1"]), SplitOptions(fold=0), train=True)


def test_a_file_wins_over_the_columns(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", split=["train"] * 4, fold=[0, 0, 1, 1])
    path = tmp_path / "splits.parquet"
    write_table(path, pa.table({"id": ["r003", "r000", "r001"], "split": ["val", "test", "train"]}))
    splits = split_rows(store, SplitOptions(split_file=str(path)), train=False)
    assert splits.names.tolist() == ["test", "train", "", "val"]
    assert "does not name 1 rows" in splits.source
    write_table(path, pa.table({"id": [f"r{i:03d}" for i in range(4)], "fold": [2, 2, 3, 3]}))
    splits = split_rows(store, SplitOptions(split_file=str(path), fold=3), train=False)
    assert splits.names.tolist() == ["train", "train", "test", "test"]
    with pytest.raises(BadInput, match="no column `split`") as caught:
        split_rows(store, SplitOptions(split_file=str(path)), train=False)
    assert "--fold" in caught.value.hint


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", label=[1, 2])
    path = tmp_path / "splits.parquet"
    options = SplitOptions(split_file=str(path))
    with pytest.raises(BadInput, match="does not exist"):
        split_rows(store, options, train=True)
    path.write_bytes(b"no Parquet")
    with pytest.raises(BadInput, match="not a Parquet file"):
        split_rows(store, options, train=True)
    write_table(path, pa.table({"id": ["other"], "split": ["train"]}))
    with pytest.raises(BadInput, match="names no item"):
        split_rows(store, options, train=True)
    write_table(path, pa.table({"id": ["r000", "r000"], "split": ["train", "test"]}))
    with pytest.raises(BadInput, match="twice"):
        split_rows(store, options, train=True)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_file_may_be_any_table(tmp_path: Path, suffix: str) -> None:
    store = store_of(tmp_path / "s", label=[1, 2, 3])
    path = tmp_path / f"splits.{suffix}"
    rows = [{"id": "r002", "split": "val", "fold": 1}, {"id": "r000", "split": "test", "fold": 0}]
    if suffix == "parquet":
        coded = pa.array([r["id"] for r in rows]).dictionary_encode()
        names = pa.array([r["split"] for r in rows], pa.string_view())
        write_table(path, pa.table({"id": coded, "split": names, "fold": [1, 0]}))
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [list(rows[0]), *(list(map(str, row.values())) for row in rows)]
        between = "," if suffix == "csv" else "\t"
        path.write_text("".join(between.join(line) + "\n" for line in lines))
    options = SplitOptions(split_file=str(path))
    assert split_rows(store, options, train=False).names.tolist() == ["test", "", "val"]
    splits = split_rows(store, replace(options, fold=1), train=False)
    assert splits.names.tolist() == ["train", "", "test"]
    assert fold_numbers(store, options) == [0, 1]


def test_val_is_a_share_of_train_in_whole_groups(tmp_path: Path) -> None:
    rows = 300
    captions = [f"caption {i % 60}" for i in range(rows)]
    store = store_of(tmp_path / "s", shard=64, caption=captions,
                     split=["train" if i % 60 < 50 else "test" for i in range(rows)])  # fmt: skip
    options = SplitOptions(group_by="caption", val_fraction=0.2)
    splits = split_rows(store, options, train=True)
    assert splits.counts() == {"test": 50, "train": 200, "val": 50}
    homes: dict[str, set[str]] = {}
    for caption, name in zip(captions, splits.names.tolist(), strict=True):
        homes.setdefault(caption, set()).add(name)
    assert all(len(names) == 1 for names in homes.values())
    again = split_rows(store, options, train=True)
    assert again.names.tolist() == splits.names.tolist()
    other = split_rows(store, SplitOptions("split", None, None, 0.2, "caption", 1), train=True)
    assert other.names.tolist() != splits.names.tolist()
    assert split_rows(store, options, train=False).counts() == {"test": 50, "train": 250}


def test_the_order_of_the_rows_does_not_move_a_group(tmp_path: Path) -> None:
    captions = [f"caption {i % 20}" for i in range(100)]
    found = []
    for name, order in (("a", range(100)), ("b", range(99, -1, -1))):
        mine = [captions[i] for i in order]
        store = store_of(tmp_path / name, caption=mine)
        splits = split_rows(store, SplitOptions(group_by="caption"), train=True)
        found.append(dict(zip(mine, splits.names.tolist(), strict=True)))
    assert found[0] == found[1]


def test_a_row_without_a_group_is_one_by_itself(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", caption=["a"] * 5 + [None] * 5)
    splits = split_rows(store, SplitOptions(group_by="caption", val_fraction=0.3), train=True)
    assert splits.counts() == {"train": 7, "val": 3}
    assert set(splits.names[:5].tolist()) == {"train"}


def test_a_group_in_two_splits_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", caption=["a", "b", "a"], split=["train", "train", "test"])
    with pytest.raises(BadInput, match="`a` of column `caption` is in `train` and in `test`"):
        split_rows(store, SplitOptions(group_by="caption"), train=True)


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    store = store_of(tmp_path / "a", split=["test", "val"])
    with pytest.raises(BadInput, match="is `train`"):
        split_rows(store, SplitOptions(), train=True)
    with pytest.raises(BadInput, match="one row only"):
        split_rows(store_of(tmp_path / "b", label=[1]), SplitOptions(), train=True)
    same = store_of(tmp_path / "c", caption=["a", "a"])
    with pytest.raises(BadInput, match="one group of `caption` only"):
        split_rows(same, SplitOptions(group_by="caption"), train=True)
    with pytest.raises(UsageError, match="--val-fraction"):
        split_rows(same, SplitOptions(val_fraction=1.0), train=True)
