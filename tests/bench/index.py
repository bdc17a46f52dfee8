"""An index that tunes itself: against Flat and against bare FAISS, on made and on real vectors, and
built and searched on disk.

Queries of the comparison are fresh: no row of the index, and none that tuned it.
"""

import gc
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.index.build import empty, inverted_lists, ready
from mmcli.index.library import faiss
from mmcli.index.neighbours import DEPTH, ExactNeighbours
from mmcli.index.on_disk import bounded_search
from mmcli.index.search import read_index
from tests.bench.commands import peak_pss
from tests.conftest import mmcli_command

Row = dict[str, Any]
Vectors = np.ndarray[Any, np.dtype[np.float32]]
DIM, CLUSTERS, NOISE, QUERIES = 384, 2000, 0.6, 2000


def auto_index(cache: Path) -> list[Row]:
    """500,000 clustered vectors, shuffled and sorted by cluster, then 200,000 real texts."""
    rows = []
    for name, ordered in (("clustered", False), ("sorted by cluster", True)):
        vectors = made(500_000, 0, ordered)
        rows += _compared(cache, name, vectors, made(QUERIES, 1, False))
        del vectors
        gc.collect()
    real = real_texts(cache)
    if real is not None:
        chosen = np.random.default_rng(0).permutation(len(real))[: 200_000 + QUERIES]
        rows += _compared(cache, "real texts", real[chosen[QUERIES:]], real[chosen[:QUERIES]])
    return rows


def on_disk(cache: Path) -> list[Row]:
    """5,000,000 vectors: peak PSS of building and searching, beside the same index in memory."""
    n = int(os.environ.get("MMCLI_BENCH_ROWS", "5000000"))
    store, index = cache / f"made-{n}", cache / f"made-{n}-index"
    if not (store / "manifest.json").exists():
        parts = []
        for part in range(0, n, 500_000):
            parts.append(cache / f"part-{part:08d}.npy")
            np.save(parts[-1], made(min(500_000, n - part), 1000 + part, False))
        _import(parts, store)
        for file in parts:
            file.unlink()
    began = time.perf_counter()
    command = mmcli_command("retrieve", "index", store, "-o", index, "--on-disk", "--memory", "2GB",
                            "--force", "-q", "--json")  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    peak = peak_pss(process)
    report = json.loads(process.stdout.read())  # type: ignore[union-attr]
    rows: list[Row] = [
        {
            "what": f"{n} vectors on disk, {report['factory']}, build",
            "seconds": time.perf_counter() - began,
            "peak PSS GB": peak / 1e9,
            "recall": report["measured_recall"]["recall@10"],
            "queries/s": report["measured_recall"]["queries_per_s"],
        }
    ]
    queries = cache / "disk-queries.npy"
    np.save(queries, made(QUERIES, 1, False))
    for mapped in (True, False):
        out = cache / "disk-found.json"
        searching = ["python", "-m", "tests.bench.index", str(index), str(queries), str(out),
                     "map" if mapped else "read"]  # fmt: skip
        process = subprocess.Popen(searching)
        peak = peak_pss(process)
        found = json.loads(out.read_text())
        what = "its lists mapped" if mapped else "read into memory"
        rows.append({"what": f"searched, {what}", "peak PSS GB": peak / 1e9, **found})
    return rows


def search_alone(index: Path, queries: Path, out: Path, mapped: bool) -> None:
    """Queries/s of an index in a process of its own, over blocks of a thousand queries."""
    manifest = json.loads((index / "manifest.json").read_text())
    opened = read_index(index / manifest["index"], manifest["dim"], manifest["rows"],
                        on_disk=mapped, setting=manifest["search"])  # fmt: skip
    given = np.load(queries)
    bounded_search(opened, given[:100], DEPTH)
    began = time.perf_counter()
    bounded_search(opened, given, DEPTH)
    out.write_text(json.dumps({"queries/s": len(given) / (time.perf_counter() - began)}))


def made(n: int, seed: int, ordered: bool) -> Vectors:
    """Unit vectors around 2,000 centres, which are the same for every seed."""
    centres = np.random.default_rng(12345).standard_normal((CLUSTERS, DIM), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    of_row = rng.integers(0, CLUSTERS, n)
    if ordered:
        of_row.sort()
    rows = rng.standard_normal((n, DIM), dtype=np.float32)
    rows *= np.float32(NOISE / np.sqrt(DIM))
    rows += centres[of_row]
    faiss.normalize_L2(rows)
    return rows


def real_texts(cache: Path) -> Vectors | None:
    """MiniLM embeddings of WordNet's definitions and examples and of package descriptions."""
    store = cache / "real-texts"
    if not (store / "manifest.json").exists():
        texts = sorted(set(_glosses(cache) + _descriptions()))
        if len(texts) < 202_000:
            return None
        table = cache / "real-texts.jsonl"
        with table.open("w", encoding="utf-8") as file:
            for text in texts:
                file.write(json.dumps({"text": text}) + "\n")
        subprocess.run(mmcli_command("extract", table, "-o", store, "-q"), check=True)
    from mmcli.store.reader import Store

    return Store.open(store).load("text")


def _glosses(cache: Path) -> list[str]:
    root = cache / "wordnet"
    if not root.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            return []
        subprocess.run(["apt-get", "download", "-q", "wordnet-base"], cwd=cache)
        files = sorted(cache.glob("wordnet-base_*.deb"))
        if not files:
            return []
        subprocess.run(["dpkg-deb", "-x", str(files[0]), str(root)], check=True)
    found = []
    for path in sorted((root / "usr/share/wordnet").glob("data.*")):
        for line in path.read_text("utf-8", "replace").splitlines():
            if not line.startswith("  ") and " | " in line:
                found += [piece.strip(' "') for piece in line.split(" | ", 1)[1].split('; "')]
    return [text for text in found if text]


def _descriptions() -> list[str]:
    done = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True)
    return [
        line.partition(": ")[2]
        for line in done.stdout.splitlines()
        if line.startswith(("Description:", "Description-en:"))
    ]


def _import(files: list[Path], store: Path) -> None:
    command = mmcli_command("store", "import", *files, "-o", store, "--key", "text", "--space",
                            "made@1", "--force", "-q")  # fmt: skip
    subprocess.run(command, check=True)


def _compared(cache: Path, name: str, vectors: Vectors, queries: Vectors) -> list[Row]:
    file, store, index = cache / "made.npy", cache / "made-store", cache / "made-index"
    np.save(file, vectors)
    _import([file], store)
    exact = ExactNeighbours(queries, np.full(len(queries), -1), "cosine")
    exact.add(ready(vectors, "cosine"))
    held = exact.finish()
    flat = empty("Flat", DIM, "cosine")
    flat.add(vectors)
    flat_s = _seconds(flat, queries)
    rows: list[Row] = [{"what": f"{name}: Flat", "queries/s": len(queries) / flat_s, "ratio": 1.0}]
    command = mmcli_command("retrieve", "index", store, "-o", index, "--target-recall", "0.95",
                            "--memory", "2GB", "--force", "-q", "--json")  # fmt: skip
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    manifest = json.loads((index / "manifest.json").read_text())
    opened = read_index(index / manifest["index"], DIM, len(vectors), setting=manifest["search"])
    found_s = _seconds(opened, queries)
    rows.append(
        {
            "what": f"{name}: auto, {report['factory']} {report['search']}",
            "queries/s": len(queries) / found_s,
            "ratio": flat_s / found_s,
            "recall": float(held.recalls(held.found(opened)).mean()),
            "promised": report["measured_recall"]["recall@10"],
            "build s": report["build_s"],
            "tuning s": report["tuning_s"],
        }
    )
    began = time.perf_counter()
    bare = empty(report["factory"], DIM, "cosine")
    bare.train(vectors)
    bare.add(vectors)
    bare_s = time.perf_counter() - began
    lists: Any = inverted_lists(bare)
    lists.nprobe = report["search"]["nprobe"]
    rows.append(
        {
            "what": f"{name}: bare FAISS, the same string and nprobe",
            "queries/s": len(queries) / _seconds(bare, queries),
            "recall": float(held.recalls(held.found(bare)).mean()),
            "build s": bare_s,
            "ratio": report["build_s"] / bare_s,
        }
    )
    return rows


def _seconds(index: Any, queries: Vectors) -> float:
    """The median of five searches of all queries at once."""
    return float(np.median(list(_timed(index, queries))))


def _timed(index: Any, queries: Vectors) -> Iterator[float]:
    index.search(queries[:100], DEPTH)
    for _ in range(5):
        began = time.perf_counter()
        index.search(queries, DEPTH)
        yield time.perf_counter() - began


if __name__ == "__main__":
    import sys

    search_alone(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "map")
