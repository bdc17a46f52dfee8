"""Rows of the same content are embedded once, and the store is the same as if each had been."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.listeners import Listeners
from tests.conftest import picture, recording
from tests.crashing import shard_bytes

ENCODERS = {"image": ("efficientnet-lite0",), "speech": ("mfcc",)}
#: Which of four pictures each row shows: twins in a shard of four, in the next, and far away.
SHOWN = [0, 0, 1, 2, 1, 3, 3, 0, 2, 2, 0, 1, 1]


def table(folder: Path, names: list[dict[str, Any]]) -> str:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in names), "utf-8")
    return str(path)


def once(folder: Path) -> str:
    """Rows that name four pictures and recordings again and again."""
    for i in range(4):
        picture(folder / f"{i}.png", i)
        recording(folder / f"{i}.wav", i)
    return table(folder, [{"image": f"{i}.png", "speech": f"{i}.wav"} for i in SHOWN])


def copies(folder: Path, trailing: bool) -> str:
    """The same as files of their own; trailing: each ends in bytes that no decoder reads."""
    for row, i in enumerate(SHOWN):
        for kind, make in (("png", picture), ("wav", recording)):
            path = make(folder / f"row{row}.{kind}", i)
            if trailing:
                path.write_bytes(path.read_bytes() + b"%04d" % row)
    rows = range(len(SHOWN))
    return table(folder, [{"image": f"row{r}.png", "speech": f"row{r}.wav"} for r in rows])


def embedded(source: str, store: Path, **options: Any) -> dict[str, Any]:
    config = {"encoders": ENCODERS, "shard_size": 4, "workers": 0, **options}
    return extract(ExtractConfig(source, str(store), **config))


def arrays(store: Path) -> dict[str, bytes]:
    return {n: b for n, b in shard_bytes(store).items() if n.endswith(".safetensors")}


@dataclass(frozen=True)
class Whole:
    """Rows that name four files again and again, embedded in one go."""

    source: str
    store: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("once")
    source, store = once(folder / "in"), folder / "store"
    return Whole(source, store, embedded(source, store))


def test_twins_get_the_bits_of_the_first(whole: Whole, tmp_path: Path) -> None:
    reports = {
        "once": whole.report,
        "equal": embedded(copies(tmp_path / "b", trailing=False), tmp_path / "equal"),
        "alone": embedded(copies(tmp_path / "c", trailing=True), tmp_path / "alone"),
    }
    twins = 2 * (len(SHOWN) - 4)
    copied = {name: report["copied_parts"] for name, report in reports.items()}
    assert copied == {"once": twins, "equal": twins, "alone": 0}
    assert all(report["ok"] == len(SHOWN) for report in reports.values())
    assert arrays(whole.store) == arrays(tmp_path / "alone") == arrays(tmp_path / "equal")


def test_sequences_and_layers_are_copied_too(whole: Whole, tmp_path: Path) -> None:
    options = {"only": ("image",), "sequence": True, "layers": (2,), "shard_size": 8}
    report = embedded(whole.source, tmp_path / "once", **options)
    assert report["copied_parts"] == len(SHOWN) - 4
    embedded(copies(tmp_path / "b", trailing=True), tmp_path / "alone", **options)
    assert arrays(tmp_path / "once") == arrays(tmp_path / "alone")


def test_a_resumed_run_gives_the_same_bytes(whole: Whole, tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def cut(done: int, total: int) -> None:
        if done > 5:
            raise Cut

    config = ExtractConfig(whole.source, str(tmp_path / "cut"), encoders=ENCODERS, shard_size=4)
    with pytest.raises(Cut):
        extract(config, Listeners(progress=cut))
    report = embedded(whole.source, tmp_path / "cut", resume=True, workers=None)
    assert report["resumed_items"] > 0
    assert report["copied_parts"] < 2 * (len(SHOWN) - 4)  # those of earlier runs are made anew
    assert shard_bytes(tmp_path / "cut") == shard_bytes(whole.store)


def test_twins_of_a_broken_file_fail_each_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    picture(folder / "good.png", 1)
    for name in ("bad1.png", "bad2.png"):
        (folder / name).write_bytes(b"\x89PNG no picture at all")
    names = ["bad1.png", "good.png", "bad1.png", "good.png", "bad2.png", "good.png"]
    source = table(folder, [{"image": name} for name in names])
    report = embedded(source, tmp_path / "out", shard_size=3)
    assert (report["ok"], report["failed"]) == (3, 3)
    failures = pq.read_table(tmp_path / "out/failures.parquet").to_pylist()
    assert [(row["id"], row["source"]) for row in failures] == [
        ("00000000", "bad1.png"), ("00000002", "bad1.png"), ("00000004", "bad2.png")
    ]  # fmt: skip
    assert len({row["message"] for row in failures}) == 1
    picture(folder / "bad1.png", 2)
    report = embedded(source, tmp_path / "out", shard_size=3, retry_failed=True)
    assert (report["ok"], report["failed"]) == (5, 1)


def test_a_cut_recording_counts_for_every_row(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    recording(folder / "long.wav", 1, seconds=601, rate=2000)
    source = table(folder, [{"speech": "long.wav"}] * 5)
    report = embedded(source, tmp_path / "out", shard_size=2)
    assert report["copied_parts"] == 4
    assert any(warning.startswith("5 speech parts") for warning in report["warnings"])


def test_fail_fast_names_the_row(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    source = table(tmp_path / "a", [{"id": "x", "image": "gone.png"}])
    with pytest.raises(BadInput, match=r"t.jsonl:row 1: item `x`: image `gone.png`: does") as found:
        embedded(source, tmp_path / "out", on_error="fail")
    assert found.value.hint.startswith(f"paths are relative to `{tmp_path}/a`; ")
