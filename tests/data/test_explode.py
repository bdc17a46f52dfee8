"""`--explode`: a row an element, with the parent's id."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.folders import BATCH_ROWS
from mmcli.data.source import Source, SourceOptions, open_source

ROWS: list[dict[str, Any]] = [
    {"id": "a", "image": "a.jpg", "text": ["one", "two"], "n": 1},
    {"id": "b", "image": "b.jpg", "text": [], "n": 2},
    {"id": "c", "image": "c.jpg", "text": None, "n": 3},
    {"id": "d", "image": "d.jpg", "text": ["three", ""], "n": 4},
]
EXPLODED = [
    ("a#0", "a", "a.jpg", "one", 1),
    ("a#1", "a", "a.jpg", "two", 1),
    ("b#0", "b", "b.jpg", None, 2),
    ("c#0", "c", "c.jpg", None, 3),
    ("d#0", "d", "d.jpg", "three", 4),
    ("d#1", "d", "d.jpg", None, 4),
]


def opened(path: Path, column: str | None = "text", **options: Any) -> Source:
    return open_source(SourceOptions(str(path), explode=column, **options), path.parent / "spool")


def values(source: Source) -> list[tuple[Any, ...]]:
    names = ("id", "parent_id", "image", "text", "n")
    return [tuple(row[n] for n in names) for row in source.rows(0, source.n_items).to_pylist()]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_a_row_an_element(tmp_path: Path) -> None:
    assert values(opened(jsonl(tmp_path / "t.jsonl", ROWS))) == EXPLODED
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    source = opened(tmp_path / "t.parquet")
    assert values(source) == EXPLODED
    assert source.describe()["explode"] == "text"


def test_a_single_value_is_a_list_of_one(tmp_path: Path) -> None:
    rows = [{"text": "alone"}, {"text": ["x", "y"]}]
    source = opened(jsonl(tmp_path / "t.jsonl", rows))
    found = source.rows(0, 9).to_pylist()
    assert [(r["id"], r["text"]) for r in found] == [
        ("00000000#0", "alone"), ("00000001#0", "x"), ("00000001#1", "y")
    ]  # fmt: skip


def test_other_columns_and_their_types(tmp_path: Path) -> None:
    rows = [{"text": "t", "tags": [1, 2]}, {"text": "u", "tags": [0.5]}]
    source = opened(jsonl(tmp_path / "t.jsonl", rows), "tags")
    assert source.rows(0, 9)["tags"].to_pylist() == [1.0, 2.0, 0.5]
    assert source.rows(0, 9)["text"].to_pylist() == ["t", "t", "u"]


def test_many_rows_in_batches(tmp_path: Path) -> None:
    rows = [{"text": [f"{i} {k}" for k in range(3)]} for i in range(BATCH_ROWS + 10)]
    source = opened(jsonl(tmp_path / "t.jsonl", rows))
    assert source.n_items == 3 * len(rows)
    last = source.rows(source.n_items - 1, source.n_items).to_pylist()[0]
    assert (last["id"], last["text"]) == (f"{len(rows) - 1:08d}#2", f"{len(rows) - 1} 2")


def test_what_cannot_be_exploded(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "t.jsonl", ROWS)
    with pytest.raises(BadInput, match="must be a string or null") as caught:
        opened(path, None)
    assert caught.value.hint == "`--explode text` makes each element a row"
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    with pytest.raises(BadInput, match="not strings") as caught:
        opened(tmp_path / "t.parquet", None)
    assert caught.value.hint == "`--explode text` makes each element a row"
    with pytest.raises(UsageError, match=r"`--explode txt`: `.*` has no such column") as usage:
        opened(jsonl(tmp_path / "u.jsonl", [{"text": "a"}]), "txt")
    assert "`text`" in usage.value.hint
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "n.parquet")
    with pytest.raises(UsageError, match="holds int64, no lists"):
        opened(tmp_path / "n.parquet", "n")
    with pytest.raises(BadInput, match="has a column `parent_id` already"):
        opened(jsonl(tmp_path / "p.jsonl", [{"text": ["a"], "parent_id": "x"}]))
    with pytest.raises(BadInput, match="hold int64, not strings"):
        opened(jsonl(tmp_path / "i.jsonl", [{"text": [1]}]))
