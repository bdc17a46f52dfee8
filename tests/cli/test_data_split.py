"""`mmcli data split`, as it is typed: what it writes, and what it refuses."""

import hashlib
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, MmcliError, UsageError
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.workflows.data.split import SplitConfig, split
from tests.conftest import Run, recording
from tests.data.test_splits import store_of


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two hundred rows: 50 captions, three labels of 100, 60 and 40 rows."""
    path = tmp_path / "posts.jsonl"
    labels = ["a"] * 100 + ["b"] * 60 + ["c"] * 40
    rows = [
        {"id": f"p{i}", "text": f"caption {i % 50}", "label": label, "weight": i / 7}
        for i, label in enumerate(labels)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def written(path: Path) -> dict[str, object]:
    table = pq.read_table(path)
    name = table.column_names[1]
    return dict(zip(table.column("id").to_pylist(), table.column(name).to_pylist(), strict=True))


def test_shares_by_default(run_here: Run, table: Path, tmp_path: Path) -> None:
    before = table.read_bytes()
    done = run_here("data", "split", table, "-o", "out/s.parquet", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["splits"] == {"test": 40, "val": 20, "train": 140}
    found = written(tmp_path / "out/s.parquet")
    assert list(found) == [f"p{i}" for i in range(200)]
    assert Counter(found.values()) == {"test": 40, "val": 20, "train": 140}
    assert pq.read_schema(tmp_path / "out/s.parquet").names == ["id", "split"]
    assert table.read_bytes() == before


def test_classes_are_reported_and_kept(run_here: Run, table: Path, tmp_path: Path) -> None:
    done = run_here("data", "split", table, "-o", "s.parquet", "--stratify-by", "label", "--json")
    assert json.loads(done.stdout)["classes"] == {
        "a": {"test": 20, "val": 10, "train": 70},
        "b": {"test": 12, "val": 6, "train": 42},
        "c": {"test": 8, "val": 4, "train": 28},
    }
    shown = run_here("data", "split", table, "-o", "s.parquet", "--stratify-by", "label", "--force")
    assert "splits.train  140" in shown.stdout
    assert shown.stdout.splitlines()[-1].split() == ["c", "8", "4", "28"]


def test_the_file_is_what_split_file_takes(run_here: Run, tmp_path: Path) -> None:
    captions = [f"caption {i % 10}" for i in range(60)]
    store = store_of(tmp_path / "store", caption=captions)
    words = ("--group-by", "caption")
    assert run_here("data", "split", "store", "-o", "s.parquet", *words).returncode == 0
    options = SplitOptions(split_file=str(tmp_path / "s.parquet"), group_by="caption")
    assert split_rows(store, options, train=True).counts() == {"test": 12, "train": 42, "val": 6}
    assert (
        run_here("data", "split", "store", "-o", "f.parquet", "--folds", "5", *words).returncode
        == 0
    )
    options = SplitOptions(
        split_file=str(tmp_path / "f.parquet"), fold=2, val_fraction=0, group_by="caption"
    )
    assert split_rows(store, options, train=True).counts() == {"test": 12, "train": 48}
    assert run_here("verify", "store").returncode == 0


def test_folds_by_hash_of_the_caption(run_here: Run, table: Path, tmp_path: Path) -> None:
    words = ("--folds", "5", "--group-by", "text", "--method", "hash")
    done = run_here("data", "split", table, "-o", "f.parquet", *words)
    assert done.returncode == 0, done.stderr
    for name, fold in written(tmp_path / "f.parquet").items():
        caption = f"caption {int(name[1:]) % 50}"
        assert fold == int(hashlib.sha256(caption.encode()).hexdigest(), 16) % 5


def test_the_same_call_writes_the_same_bytes(run_here: Run, table: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        words = ("--group-by", "text", "--stratify-by", "label", "--seed", "3", "-q")
        done = run_here("data", "split", table, "-o", f"{name}.parquet", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_tables_folders_and_stdin(run_here: Run, table: Path, tmp_path: Path) -> None:
    done = run_here("data", "split", "-", "-o", "a.parquet", stdin=table.read_text("utf-8"))
    assert done.returncode == 0, done.stderr
    assert run_here("data", "split", table, "-o", "b.parquet").returncode == 0
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "t.csv").write_text("name,post\n" + "".join(f"{i},x\n" for i in range(20)))
    words = ("--map", "text=post,id=name", "--val", "0")
    assert run_here("data", "split", "t.csv", "-o", "c.parquet", *words).returncode == 0
    assert Counter(written(tmp_path / "c.parquet").values()) == {"test": 4, "train": 16}
    for i in range(5):
        recording(tmp_path / f"in/s{i}.wav", i)
    assert run_here("data", "split", "in", "-o", "d.parquet", "--folds", "5").returncode == 0
    assert sorted(written(tmp_path / "d.parquet")) == [f"s{i}" for i in range(5)]


def test_a_dry_run_reports_and_writes_nothing(run_here: Run, table: Path, tmp_path: Path) -> None:
    done = run_here("data", "split", table, "-o", "s.parquet", "-n", "--json")
    assert json.loads(done.stdout)["splits"]["test"] == 40
    assert not (tmp_path / "s.parquet").exists()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"group_by": "txt"}, BadInput, "did you mean `text`"),
        ({"stratify_by": "lable"}, BadInput, "did you mean `label`"),
        ({"stratify_by": "weight"}, BadInput, "not classes"),
        ({"test": 0.0001}, BadInput, "`test` would have no row"),
        ({"group_by": "label", "folds": 4}, BadInput, "3 groups of `label` do not make 4 folds"),
        ({"folds": 1}, UsageError, "--folds 1"),
        ({"folds": 5, "test": 0.2}, UsageError, "stands alone"),
        ({"test": 1.2}, UsageError, "--test 1.2"),
        ({"test": math.nan}, UsageError, "--test nan"),
        ({"test": 0.6, "val": 0.4}, UsageError, "nothing to train on"),
        ({"test": 0.0, "val": 0.0}, UsageError, "split nothing"),
        ({"method": "hsah"}, UsageError, "did you mean `hash`"),
        ({"method": "hash", "stratify_by": "label"}, UsageError, "--method random"),
    ],
)
def test_what_is_refused(
    table: Path, tmp_path: Path, options: dict[str, Any], error: type[MmcliError], said: str
) -> None:
    with pytest.raises(error) as caught:
        split(SplitConfig(str(table), str(tmp_path / "s.parquet"), **options))
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert not (tmp_path / "s.parquet").exists()


def test_a_table_of_no_rows_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\n", "utf-8")
    with pytest.raises(BadInput, match=r"t\.csv` has no rows"):
        split(SplitConfig(str(tmp_path / "t.csv"), str(tmp_path / "s.parquet")))


def test_files_are_not_grouped_by_their_names(mixed_folder: Path, tmp_path: Path) -> None:
    """The texts of a folder are read when it is extracted; until then the column holds paths."""
    with pytest.raises(BadInput, match="file names") as caught:
        split(SplitConfig(str(mixed_folder), str(tmp_path / "s.parquet"), group_by="text"))
    assert "extract" in caught.value.hint


def test_errors_are_two_lines_and_a_code(run_here: Run, table: Path) -> None:
    missing = run_here("data", "split", table, "-o", "s.parquet", "--group-by", "txt")
    assert missing.returncode == 3 and len(missing.stderr.splitlines()) == 2
    assert run_here("data", "split", table, "-o", "s.parquet", "--folds", "1").returncode == 2
    assert run_here("data", "split", table, "-o", "s.parquet", "--method", "hsah").returncode == 2


def test_nothing_is_overwritten_unasked(run_here: Run, table: Path, tmp_path: Path) -> None:
    store_of(tmp_path / "store", label=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    (tmp_path / "s.parquet").write_bytes(b"mine")
    done = run_here("data", "split", table, "-o", "s.parquet")
    assert done.returncode == 3 and "--force" in done.stderr
    assert (tmp_path / "s.parquet").read_bytes() == b"mine"
    assert run_here("data", "split", table, "-o", "s.parquet", "--force").returncode == 0
    inside = run_here("data", "split", "store", "-o", "store/s.parquet")
    assert inside.returncode == 3 and "lies in `store`" in inside.stderr
    assert run_here("data", "split", table, "-o", "s.csv").returncode == 2
    itself = run_here(
        "data", "split", "s.parquet", "-o", "s.parquet", "--force", "--map", "text=split"
    )
    assert itself.returncode == 3 and "source itself" in itself.stderr
    assert run_here("data", "split", "nothing.jsonl", "-o", "t.parquet").returncode == 3
