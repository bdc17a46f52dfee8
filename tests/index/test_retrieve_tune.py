"""`retrieve index` by recall, on disk, and `retrieve tune`, as commands over an imported store."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.store.manifest import MANIFEST
from tests.conftest import mmcli_command

Run = Callable[..., "subprocess.CompletedProcess[str]"]
N, DIM = 52_000, 24


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60,000 vectors around a hundred centres, imported as key `text`."""
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((100, DIM))
    rows = centres[rng.integers(0, 100, N)] + 0.6 * rng.standard_normal((N, DIM))
    np.save(folder / "rows.npy", (rows / np.linalg.norm(rows, axis=1)[:, None]).astype("f4"))
    command = mmcli_command("store", "import", folder / "rows.npy", "-o", folder / "store",
                            "--key", "text", "--space", "made@1", "-q")  # fmt: skip
    subprocess.run(command, check=True)
    return folder / "store"


def report_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_index_by_recall_then_tuned_up_and_down(run_here: Run, store: Path, tmp_path: Path) -> None:
    report = report_of(
        run_here("retrieve", "index", store, "-o", "index", "--target-recall", 0.9, "--json")
    )
    assert report["measured_recall"]["recall@10"] >= 0.9
    assert report["measured_recall"]["held_out_queries"] == 1000
    assert report["factory"] in [row["factory"] for row in report["tried"]]
    assert report["build_s"] > 0
    info = report_of(run_here("retrieve", "info", "index", "--json"))
    assert info["search"] == report["search"]
    assert info["measured_recall"] == report["measured_recall"]

    before = Path(tmp_path, "index", MANIFEST).read_bytes()
    dry = report_of(run_here("retrieve", "tune", "index", "--target-recall", 0.6, "-n", "--json"))
    assert Path(tmp_path, "index", MANIFEST).read_bytes() == before
    low = report_of(run_here("retrieve", "tune", "index", "--target-recall", 0.6, "--json"))
    assert low["search"] == dry["search"]
    high = report_of(run_here("retrieve", "tune", "index", "--target-recall", 0.95, "--json"))
    assert low["search"]["nprobe"] < high["search"]["nprobe"]
    assert high["before"] == low["search"]
    assert high["measured_recall"]["recall@10"] >= 0.95
    assert run_here("verify", "index").returncode == 0
    found = run_here("retrieve", "search", "index", "--like", "00000007", "--format", "jsonl", "-q")
    assert len(found.stdout.splitlines()) == 10


def test_lists_on_disk_find_the_same(run_here: Run, store: Path, tmp_path: Path) -> None:
    words = ("--factory", "IVF64,SQ8", "--target-recall", 0.9, "--json")
    report = report_of(run_here("retrieve", "index", store, "-o", "disk", "--on-disk", *words))
    report_of(run_here("retrieve", "index", store, "-o", "memory", *words))
    assert report["factory"] == "IVF64,SQ8"
    assert json.loads(Path(tmp_path, "disk", MANIFEST).read_text())["on_disk"] is True
    found = [
        run_here("retrieve", "search", name, "--like", "00000007", "--format", "jsonl", "-q").stdout
        for name in ("disk", "memory")
    ]
    assert found[0] == found[1]
    assert len(found[0].splitlines()) == 10, found
    with open(tmp_path / "disk/index.faiss", "r+b") as file:
        file.seek(-9, 2)
        byte = file.read(1)
        file.seek(-9, 2)
        file.write(bytes([byte[0] ^ 1]))
    done = run_here("retrieve", "search", "disk", "--like", "00000007")
    assert done.returncode == 3
    assert "index.faiss" in done.stderr


def test_dry_run_says_what_would_be_tried(run_here: Run, store: Path, tmp_path: Path) -> None:
    report = report_of(run_here("retrieve", "index", store, "-o", "no", "-n", "--json"))
    assert report["factory"].startswith("auto (IVF1024,SQ8 or IVF1024,Flat")
    assert not Path(tmp_path, "no").exists()


def test_errors_of_recall_memory_and_disk(run_here: Run, store: Path, tmp_path: Path) -> None:
    for words, message in (
        (("--target-recall", 0), "--target-recall 0"),
        (("--target-recall", 1.5), "--target-recall 1.5"),
        (("--memory", "much"), "--memory much"),
        (("--on-disk", "--factory", "HNSW16"), "--on-disk"),
        (("--on-disk", "--factory", "Flat"), "--on-disk"),
    ):
        done = run_here("retrieve", "index", store, "-o", "no", *words)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert not Path(tmp_path, "no").exists()


def test_tune_wants_the_store_it_was_made_of(run_here: Run, store: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(store, tmp_path / "copy")
    report_of(run_here("retrieve", "index", copy, "-o", "index", "--factory", "IVF32,Flat",
                       "--json"))  # fmt: skip
    Path(tmp_path, "copy").rename(tmp_path / "moved")
    done = run_here("retrieve", "tune", "index")
    assert done.returncode == 3
    assert "--store" in done.stderr
    assert report_of(run_here("retrieve", "tune", "index", "--store", "moved", "--json"))["search"]
    manifest = Path(tmp_path, "moved", MANIFEST)
    manifest.write_text(manifest.read_text() + " ")
    done = run_here("retrieve", "tune", "index", "--store", "moved")
    assert done.returncode == 3
