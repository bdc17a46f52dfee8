"""Questions about scenes: a model that sees both beside what either alone can say."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest


@pytest.mark.example
def test_vqa(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """With a few scenes it counts and sees shapes already; the guide has the figures of many."""
    done = shell("vqa.sh", "500", "14")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "answers-model/metrics.json").read_text("utf-8"))
    first, *others = report["table"]
    for other, verdict in zip(others, report["verdicts"], strict=True):
        assert first["vqa_accuracy"] > other["vqa_accuracy"] + 0.1
        assert verdict["low"] > 0 and verdict["p"] < 0.01
    (count,) = [row for row in report["by_type"] if row["type"] == "count"]
    assert count["votes"] > 0.9 > count["question only"] + 0.3
    rows = pq.read_table(tmp_path / "answers/items.parquet").to_pylist()
    assert len(rows) == report["rows"]["test"]
    right = sum(row["prediction"] == row["label"] for row in rows) / len(rows)
    assert abs(right - first["vqa_accuracy"]) < 1e-9
