"""Conditions on item columns: what they find, and what they may not do."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.where import matching_rows


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two shards, in a folder whose name a glob would misread; the second lacks a column."""
    folder = tmp_path / "it's [a] *store?"
    folder.mkdir()
    first = {
        "id": ["a", "b", "c"],
        "label": ["cat", "dog", None],
        "filename": ["x", "y", "z"],
        "n": pa.array([None] * 3, pa.null()),
        "only_first": [1.5, 2.5, 3.5],
        "tags": [["x"], [], None],
    }
    second = {"id": ["d", "e"], "label": ["cat", "3"], "filename": ["x", "y"], "n": [7, 8]}
    paths = [folder / "items-00000.parquet", folder / "items-00001.parquet"]
    for path, columns in zip(paths, (first, second), strict=True):
        pq.write_table(pa.table(columns), path)
    return paths


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("label = 'cat'", [0, 3]),
        ("label <> 'cat'", [1, 4]),
        ("label IS NULL OR n = 8", [2, 4]),
        ("only_first > 2", [1, 2]),
        ("only_first IS NULL", [3, 4]),
        ("filename IN ('y', 'z') AND id < 'd'", [1, 2]),
        ("list_contains(tags, 'x')", [0]),
        ("false", []),
        ("true -- everything", [0, 1, 2, 3, 4]),
        ("id = (SELECT 'e')", [4]),
    ],
)
def test_rows_are_counted_through_the_files(
    files: list[Path], expression: str, rows: list[int]
) -> None:
    found = matching_rows(files, expression)
    assert found.dtype == np.int64
    assert found.tolist() == rows


def test_every_row_of_many_row_groups_comes_in_order(tmp_path: Path) -> None:
    table = pa.table({"n": np.arange(300_000)})
    for name in ("a", "b"):
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=1000)
    found = matching_rows([tmp_path / "b.parquet", tmp_path / "a.parquet"], "n % 3 = 0")
    expected = np.nonzero(np.tile(np.arange(300_000) % 3 == 0, 2))[0]
    assert np.array_equal(found, expected)


def test_no_files_have_no_rows() -> None:
    assert matching_rows([], "label = 'cat'").tolist() == []


@pytest.mark.parametrize(
    ("expression", "kind", "part", "hint"),
    [
        ("labl = 'cat'", BadInput, "no column `labl`", "`label`"),
        ('label = "cat"', BadInput, "no column `cat`", "single quotes: 'cat'"),
        ("label = ", UsageError, "syntax error", "SQL condition"),
        ("", UsageError, "is empty", "SQL condition"),
        ("label, id", UsageError, "expression", "SQL condition"),
        ("label = 'cat') OR (1 = 1", UsageError, "syntax error", "SQL condition"),
        ("1 = 1; DROP TABLE x", UsageError, "`--where 1 = 1; DROP TABLE x`", "SQL condition"),
        ("n", UsageError, "not true or false", "SQL condition"),
        ("label > 3", UsageError, "cast", "SQL condition"),
        ("label::INT = 3", BadInput, "'cat'", "TRY_CAST"),
        ("count(*) > 1", UsageError, "WHERE clause cannot contain aggregates", "SQL condition"),
        ("EXISTS (FROM read_text('/etc/passwd'))", UsageError, "may not open files", ""),
        ("EXISTS (FROM 'items.csv')", UsageError, "items.csv", ""),
        ("EXISTS (FROM files)", UsageError, "files", ""),
        ("__mmcli_row > 1 AND nowhere", BadInput, "no column `nowhere`", "known: id"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    files: list[Path], expression: str, kind: type[Exception], part: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        matching_rows(files, expression)
    error = caught.value
    assert part.lower() in error.message.lower()  # type: ignore[attr-defined]
    assert hint in error.hint  # type: ignore[attr-defined]
    assert "\n" not in error.message + error.hint  # type: ignore[attr-defined]


def test_a_condition_neither_writes_nor_changes_settings(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    for expression in ("EXISTS (COPY (SELECT 1) TO 'x.csv')", "EXISTS (SET threads = 1)"):
        with pytest.raises(UsageError):
            matching_rows(files, expression)
    matching_rows(files, "label = 'cat'")
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_a_column_with_a_name_of_duckdb_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"File_Index": [1]}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="File_Index"):
        matching_rows([tmp_path / "a.parquet"], "true")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"a\.parquet"):
        matching_rows([tmp_path / "a.parquet"], "true")
