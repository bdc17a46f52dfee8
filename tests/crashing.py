"""Kills a running extraction at random moments and resumes it until it is done."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.conftest import mmcli_command


def extract_with_kills(
    source: Path,
    output: Path,
    options: list[str],
    kills: int,
    env: dict[str, str],
    seed: int,
    within: float = 2.0,
    last: Callable[..., list[str]] = mmcli_command,
) -> tuple[int, list[str]]:
    """Extract `source`, sending SIGKILL up to `kills` times; resume after each.

    A kill comes at a random moment of `within` seconds from a shard that the process wrote; `last`
    starts the run that comes through.
    Returns how many kills hit a running process, and the command lines of workers that outlived
    their parent by more than two seconds.
    """
    rng = random.Random(seed)
    hits, orphans = 0, []
    words = ["extract", source, "-o", output, "-q", *options]
    for attempt in range(kills + 1):
        resume = ["--resume"] if output.exists() else []
        before = _shards(output)
        start = mmcli_command if attempt < kills else last
        process = subprocess.Popen(start(*words, *resume), env=env)
        if attempt < kills:
            if _wait_for_shard(process, output, before):
                time.sleep(rng.uniform(0.0, within))
            children = (
                psutil.Process(process.pid).children(recursive=True) if _runs(process) else []
            )
            if _runs(process):
                os.kill(process.pid, signal.SIGKILL)
                hits += 1
            process.wait()
            _, alive = psutil.wait_procs(children, timeout=2)
            orphans += [" ".join(p.cmdline()) for p in alive]
        elif process.wait() != 0:
            raise AssertionError(f"the last run ended with {process.returncode}")
    return hits, orphans


def shard_bytes(store: Path) -> dict[str, bytes]:
    """The store's shards by name, manifest and generation-free files only."""
    kept = {}
    for path in sorted(store.iterdir()):
        if path.suffix in (".safetensors", ".parquet"):
            kept[path.name] = path.read_bytes()
    return kept


def _runs(process: "subprocess.Popen[bytes]") -> bool:
    return process.poll() is None


def _shards(output: Path) -> int:
    return len(list(output.glob("items-*.parquet")))


def _wait_for_shard(process: "subprocess.Popen[bytes]", output: Path, before: int) -> bool:
    """Until there are more shards than before, so that the kill hits the work, not the start."""
    while _runs(process):
        if _shards(output) > before:
            return True
        time.sleep(0.02)
    return False
