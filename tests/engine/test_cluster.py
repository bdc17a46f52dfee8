"""Extraction on a Ray cluster: the same files as here, whoever dies; who sits where."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mmcli.core.errors import MissingResource, UsageError
from mmcli.engine.cluster import Seat, common_placement, seats
from mmcli.engine.device import Hardware, Placement
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from tests.conftest import ROOT, Run, mmcli_command, picture, recording
from tests.crashing import shard_bytes

ENCODERS = ("--image", "efficientnet-lite0", "--speech", "mfcc", "--only", "image,speech")


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of commands that find a cluster of two nodes."""
    pytest.importorskip("ray")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.ray_cluster"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stdin
        address = next(line.split()[1] for line in process.stdout if line.startswith("address "))
        yield {"RAY_ADDRESS": address}
        process.stdin.close()


def test_a_cluster_makes_the_same_files(run: Run, tmp_path: Path, cluster: dict[str, str]) -> None:
    """Twins within and across shards, a broken file, rows without a part: not a byte differs."""
    shown = [0, 1, 0, 2, 0, 3, 1, 3, 3, 4, 0]
    rows = [{"image": f"{i}.png", "speech": f"{i}.wav", "n": n} for n, i in enumerate(shown)]
    rows[3]["image"] = "broken.png"
    rows[7]["speech"] = ""
    for i in range(5):
        picture(tmp_path / f"{i}.png", i)
        recording(tmp_path / f"{i}.wav", i)
    (tmp_path / "broken.png").write_text("no picture")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    words = ("extract", "t.jsonl", *ENCODERS, "--shard-size", 4, "--json")
    here = run(*words, "-o", "here")
    there = run(*words, "-o", "there", "--engine", "ray", env=cluster)
    assert (here.returncode, there.returncode) == (6, 6), there.stderr
    assert shard_bytes(tmp_path / "here") == shard_bytes(tmp_path / "there")
    manifests = [tmp_path / name / "manifest.json" for name in ("here", "there")]
    assert manifests[0].read_bytes() == manifests[1].read_bytes()
    report = json.loads(there.stdout)
    assert (report["ok"], report["partial"], report["shards"]) == (10, 1, 3)
    assert report["seconds"]["forward"] > 0


@pytest.mark.slow
def test_the_shards_of_a_dead_worker_are_made_by_the_other(
    run: Run, tmp_path: Path, environment: dict[str, str], cluster: dict[str, str]
) -> None:
    for i in range(60):
        picture(tmp_path / f"pictures/{i:03}.png", i)
    words = ("extract", "pictures", "--image", "efficientnet-lite0", "--shard-size", 3, "--json")
    run(*words, "-o", "here")
    with subprocess.Popen(
        mmcli_command(*words, "-o", "there", "--engine", "ray"),
        cwd=tmp_path,
        env={**environment, **cluster},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not list(tmp_path.glob("there/items-*.parquet")):
            assert process.poll() is None
            time.sleep(0.05)
        working = [p for p in psutil.process_iter() if "ray::Worker" in " ".join(_words(p))]
        os.kill(working[0].pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert shard_bytes(tmp_path / "here") == shard_bytes(tmp_path / "there")
    (warning,) = json.loads(stdout)["warnings"]
    assert warning.startswith("1 of 2 workers of the Ray cluster died")


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_bad_part_may_end_the_run(run: Run, tmp_path: Path, cluster: dict[str, str]) -> None:
    picture(tmp_path / "pictures/a.png", 1)
    (tmp_path / "pictures/b.png").write_text("no picture")
    words = ("extract", "pictures", "-o", "store", "--image", "efficientnet-lite0")
    ended = run(*words, "--on-error", "fail", "--engine", "ray", env=cluster)
    assert ended.returncode == 3
    assert "error: pictures:row 2: item `b`: image `b.png`" in ended.stderr


def test_nobody_at_the_address(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "pictures/a.png", 1)
    words = ("extract", "pictures", "-o", "store", "--engine", "ray")
    ended = run(*words, env={"RAY_ADDRESS": "127.0.0.1:1"})
    assert ended.returncode == 4
    assert "error: no Ray cluster answers at `127.0.0.1:1`" in ended.stderr
    assert not (tmp_path / "store").exists()


def test_a_dry_run_needs_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    picture(tmp_path / "a.png", 1)
    encoders = {"image": ("efficientnet-lite0",)}
    config = ExtractConfig(str(tmp_path), "out", encoders=encoders, engine="ray", dry_run=True)
    assert extract(config)["items"] == 1


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": resources}


def test_a_worker_a_node_or_a_gpu() -> None:
    nodes = [node("a", CPU=8.0), node("b", CPU=16.0, GPU=4.0), node("c", alive=False, CPU=4.0)]
    assert seats(nodes, on_gpu=False) == [Seat("a", 8, 0), Seat("b", 16, 0)]
    assert seats(nodes, on_gpu=True) == [Seat("b", 4, 1)] * 4
    with pytest.raises(MissingResource, match="no node of the Ray cluster has a GPU"):
        seats(nodes[:1], on_gpu=True)
    with pytest.raises(MissingResource, match="has a CPU"):
        seats([node("head", CPU=0.0)], on_gpu=False)


def test_machines_that_would_compute_differently_are_refused() -> None:
    old, new = Hardware(), Hardware(cpu_bf16=True)
    assert common_placement("auto", "auto", [new, new]) == Placement("cpu", "bfloat16")
    assert common_placement("auto", "fp32", [old, new]) == Placement("cpu", "float32")
    with pytest.raises(UsageError, match="would compute in bf16 and fp32"):
        common_placement("auto", "auto", [old, new])
