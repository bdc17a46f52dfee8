"""Whole commands: start-up, a cold search, memory of the process tree, crashes, broken files."""

import json
import os
import re
import shlex
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.bench.material import stamps, text_table
from tests.conftest import ROOT, mmcli_command
from tests.crashing import extract_with_kills, shard_bytes
from tests.media import break_things, mixed

Row = dict[str, Any]


def _timed(command: list[str], runs: int) -> float:
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def stamp_search(cache: Path) -> list[Row]:
    """Hit rates of `examples/tuxpaint_search.sh` on all stamps, which it downloads."""
    programs = cache / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "mmcli").write_text(f'#!/bin/sh\nexec {shlex.join(mmcli_command())} "$@"\n')
    (programs / "mmcli").chmod(0o755)
    script = str(ROOT / "examples" / "tuxpaint_search.sh")
    search = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", script, str(cache / "tuxpaint")],
        env={**os.environ, "PATH": search, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    found = re.findall(r"^(\d+ \w+): (hit@1) (\S+), (hit@10) (\S+)$", done.stdout, re.MULTILINE)
    return [
        {"what": f"stamps: {asked}, {name}", "value": float(value)}
        for asked, *pairs in found
        for name, value in zip(pairs[::2], pairs[1::2])
    ]


def startup(cache: Path) -> list[Row]:
    """Median wall seconds of every help page."""
    pages = [
        [],
        ["extract"],
        ["retrieve"],
        ["retrieve", "index"],
        ["retrieve", "search"],
        ["models"],
        ["verify"],
        ["doctor"],
        ["demo"],
    ]
    return [
        {
            "what": f"mmcli {' '.join([*page, '--help'])}",
            "wall_s": _timed(mmcli_command(*page, "--help"), 15),
        }
        for page in pages
    ]


def search(cache: Path) -> list[Row]:
    """A cold search by words over 785 pictures."""
    source = stamps(cache)
    if source is None:
        return [{"what": "search", "note": "no Tux Paint stamps here"}]
    store, index = cache / "stamp-store", cache / "stamp-index"
    if not store.exists():
        pattern = str(source / "**/*.png")
        subprocess.run(mmcli_command("extract", pattern, "-o", store, "-q"), check=True)
    if not index.exists():
        subprocess.run(mmcli_command("retrieve", "index", store, "-o", index, "-q"), check=True)
    command = mmcli_command("retrieve", "search", index, "a tiger")
    return [{"what": "mmcli retrieve search INDEX 'a tiger'", "wall_s": _timed(command, 9)}]


def memory(cache: Path) -> list[Row]:
    """Peak proportional set size of the whole process tree over 200,000 and 400,000 texts."""
    rows = []
    for n in (200_000, 400_000):
        table = text_table(cache / f"texts-{n}.jsonl", n)
        with tempfile.TemporaryDirectory() as out:
            process = subprocess.Popen(mmcli_command("extract", table, "-o", f"{out}/store", "-q"))
            peak = peak_pss(process)
        rows.append({"what": f"{n} texts, peak PSS", "GB": peak / 2**30})
    return rows


def peak_pss(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process; the most that it and its children held at once, in bytes."""
    peak = 0
    while process.poll() is None:
        total = 0
        try:
            parent = psutil.Process(process.pid)
            for member in [parent, *parent.children(recursive=True)]:
                total += member.memory_full_info().pss
        except psutil.Error:
            pass
        peak = max(peak, total)
        time.sleep(0.25)
    return peak


def crashes(cache: Path) -> list[Row]:
    """Ten SIGKILLs, each followed by --resume; shards beside those of an unbroken run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = mixed(root / "in", 1800)
        options = ["--shard-size", "16", "--workers", "2"]
        subprocess.run(
            mmcli_command("extract", source, "-o", root / "whole", "-q", *options), check=True
        )
        hits, orphans = extract_with_kills(
            source, root / "killed", options, 10, dict(os.environ), seed=int(time.time())
        )
        same = shard_bytes(root / "killed") == shard_bytes(root / "whole")
    return [{"what": "kill -9", "hits": hits, "identical": same, "orphans": len(orphans)}]


def broken(cache: Path) -> list[Row]:
    """1,000 broken files among 1,000 good ones."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        mixed(root / "good", 1000)
        mixed(root / "both", 1000)
        break_things(root / "both", 1000)
        reports = {}
        for name in ("good", "both"):
            done = subprocess.run(
                mmcli_command(
                    "extract",
                    root / name,
                    "-o",
                    root / f"s-{name}",
                    "--json",
                    "-q",
                    "--speech",
                    "logmel",
                ),
                capture_output=True,
                text=True,
            )
            reports[name] = json.loads(done.stdout)
        from tests.engine.test_extraction import vectors

        same = all(
            (vectors(root / "s-both", slug)[name] == vector).all()
            for slug in ("image", "text", "speech")
            for name, vector in vectors(root / "s-good", slug).items()
        )
    counts = {k: reports["both"][k] for k in ("items", "ok", "partial", "failed")}
    return [{"what": "1000 good + 1000 broken", **counts, "good vectors equal": same}]
