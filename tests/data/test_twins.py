"""Twins: rows of one content, by name, by bytes, by span; how little is read to find them."""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pytest

from mmcli.data.files import open_regular
from mmcli.data.source import SourceOptions, open_source
from mmcli.data.twins import find_twins


def twins(folder: Path, table: dict[str, list[object]], part: str = "image") -> dict[int, int]:
    import pyarrow.parquet as pq

    pq.write_table(pa.table(table), folder / "t.parquet")
    source = open_source(SourceOptions(str(folder / "t.parquet")), folder / "spool")
    try:
        found = find_twins(source, part)
        assert found.between(0, 3) == {r: f for r, f in pairs(found).items() if r < 3}
        return pairs(found)
    finally:
        source.close()


def pairs(found) -> dict[int, int]:
    return dict(zip(found.rows.tolist(), found.first.tolist(), strict=True))


def test_same_bytes_are_found_and_nearly_same_ones_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    big = rng.bytes(50_000)
    early = bytes([big[0] ^ 1]) + big[1:]  # differs where neither middle nor end is
    contents = {"a": big, "b": big, "early": early, "short": big[:-1], "s1": b"x", "s2": b"x"}
    for name, content in {**contents, "s3": b"y", "empty": b"", "empty2": b""}.items():
        (tmp_path / name).write_bytes(content)
    names = ["a", "gone", "b", "early", None, "short", "s1", "s2", "s3", "a", "gone", "empty"]
    found = twins(tmp_path, {"image": [*names, "", "empty2"]})
    assert found == {2: 0, 7: 6, 9: 0, 10: 1}


def test_spans_of_one_recording_are_parts_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    (tmp_path / "b.wav").write_bytes(b"sound")
    table = {
        "speech": ["a.wav", "a.wav", "b.wav", "a.wav"],
        "parent_id": ["p", "p", "q", "r"],
        "start_s": [0.0, 5.0, 0.0, 5.0],
        "end_s": [10.0, 15.0, 10.0, 15.0],
    }
    assert twins(tmp_path, table, "speech") == {2: 0, 3: 1}


def test_cells_of_a_parquet_file_are_compared_by_their_bytes(tmp_path: Path) -> None:
    cells = [{"bytes": c, "path": f"{i}.png"} for i, c in enumerate([b"one", b"two", b"one"] * 40)]
    found = twins(tmp_path, {"image": cells})
    assert found == {row: 1 if row % 3 == 1 else 0 for row in range(2, 120)}


def test_files_of_different_sizes_are_not_read(tmp_path: Path, monkeypatch) -> None:
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(b"x" * (i + 1))
    opened: list[str] = []

    def noted(path: str, most: int) -> BinaryIO:
        opened.append(path)
        return open_regular(path, most)

    monkeypatch.setattr("mmcli.data.twins.open_regular", noted)
    assert twins(tmp_path, {"image": [f"{i}.png" for i in range(20)]}) == {}
    assert opened == []
    (tmp_path / "20.png").write_bytes(b"x" * 20)
    assert twins(tmp_path, {"image": [f"{i}.png" for i in range(21)]}) == {20: 19}
    assert {Path(path).name for path in opened} == {"19.png", "20.png"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.png")
    (tmp_path / "a.png").write_bytes(b"x")
    assert twins(tmp_path, {"image": ["p.png", "a.png", "p.png"]}) == {2: 0}
