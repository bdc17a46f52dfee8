"""The pipeline end to end: crashes, broken files, batches, failures; by the real command."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from tests.conftest import Run, picture
from tests.contracts import tiny_models
from tests.crashing import extract_with_kills, shard_bytes
from tests.media import break_things, mixed
from tests.warm import WarmServer

PICTURES = ["--image", "efficientnet-lite0"]
FAST = [*PICTURES, "--speech", "mfcc", "--shard-size", "16"]


def vectors(store: Path, slug: str) -> dict[str, np.ndarray]:
    """id -> vector of one key."""
    manifest = json.loads((store / "manifest.json").read_text())
    found = {}
    for shard in manifest["shards"]:
        ids = pq.read_table(store / shard["items"]).column("id").to_pylist()
        rows = load_file(store / shard["keys"][slug])["embeddings"]
        found |= dict(zip(ids, rows, strict=True))
    return found


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(
    tmp_path: Path, run: Run, environment: dict[str, str], warm_server: WarmServer
) -> None:
    source, clip = mixed(tmp_path / "in", 120), tiny_models.clip(tmp_path / "clip")
    told = ["--image", f"local:{clip}", "--speech", "mfcc", "--shard-size", "12"]
    whole = run("extract", source, "-o", "whole", "-q", *told)
    assert whole.returncode == 0, whole.stderr
    hits, orphans = extract_with_kills(
        source, tmp_path / "killed", [*told, "--workers", "1"], 1, environment, seed=7, within=0.1,
        last=warm_server.command,
    )  # fmt: skip
    assert hits == 1
    assert orphans == []
    assert shard_bytes(tmp_path / "killed") == shard_bytes(tmp_path / "whole")
    assert run("verify", "killed").returncode == 0


@pytest.mark.slow
def test_broken_files_are_counted_and_change_nothing(tmp_path: Path, run: Run) -> None:
    good = mixed(tmp_path / "good", 20)
    both = mixed(tmp_path / "both", 20)
    n_bad = break_things(both, 18)
    assert run("extract", good, "-o", "a", "-q", *FAST, "--workers", "0").returncode == 0
    done = run("extract", both, "-o", "b", "--json", *FAST, "--workers", "1")
    assert done.returncode == 6, done.stderr
    report = json.loads(done.stdout)
    assert (report["items"], report["ok"], report["failed"]) == (20 + n_bad, 20, n_bad)
    failures = pq.read_table(tmp_path / "b/failures.parquet").to_pylist()
    assert len(failures) == n_bad
    assert all(row["id"].startswith("bad") and row["message"] for row in failures)
    for slug in ("image", "text", "speech"):
        before, after = vectors(tmp_path / "a", slug), vectors(tmp_path / "b", slug)
        for name, vector in before.items():
            np.testing.assert_array_equal(vector, after[name], err_msg=f"{slug} {name}")


def test_on_error_fail_names_the_file(tmp_path: Path, run: Run) -> None:
    picture(tmp_path / "in/a.png", 1)
    (tmp_path / "in/b.png").write_bytes(b"no picture")
    done = run("extract", "in", "-o", "out", "--on-error", "fail", *PICTURES)
    assert done.returncode == 3
    assert "b.png" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out/manifest.json").exists()


def test_retry_failed_repairs_only_what_failed(tmp_path: Path, run: Run) -> None:
    for i in range(6):
        picture(tmp_path / f"in/{i}.png", i)
    (tmp_path / "in/5.png").write_bytes(b"not yet")
    options = [*PICTURES, "--shard-size", "2"]
    assert run("extract", "in", "-o", "out", "-q", *options).returncode == 6
    untouched = (tmp_path / "out/image-00000.safetensors").read_bytes()
    picture(tmp_path / "in/5.png", 5)
    done = run("extract", "in", "-o", "out", "--retry-failed", "--json", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] == 6
    assert (tmp_path / "out/image-00000.safetensors").read_bytes() == untouched
    assert run("verify", "out").returncode == 0
    assert all(np.abs(v).sum() > 0 for v in vectors(tmp_path / "out", "image").values())


def test_dry_run_says_what_and_writes_nothing(tmp_path: Path, run: Run) -> None:
    mixed(tmp_path / "in", 5)
    done = run("extract", "in", "-o", "out", "-n", "--json", "--speech", "mfcc", *PICTURES)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["items"] == 5 and report["shards"] == 1
    assert set(report["keys"]) == {"image", "text", "speech"}
    assert report["bytes"] > 0 and report["estimated_s"] > 0
    assert not (tmp_path / "out").exists()
