"""An index that grows, shrinks, is killed and is filtered: time beside a rebuild, recall, state.

Clustered unit vectors made by a seed, in a store without an encoder, and the commands as a user
types them; recall is against exact search over what the index should then hold.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.index.layout import open_index
from mmcli.index.living import (
    item_files,
    living_files,
    n_removed,
    narrow,
    open_items,
    open_vectors,
    total_rows,
)
from mmcli.index.search import search
from mmcli.store.verification import verify_directory
from tests.conftest import mmcli_command
from tests.index.living_stores import write_store

ROWS, DIM, CLUSTERS, QUERIES = 500_000, 384, 5000, 500
#: A graph is built by one insertion after the other: fewer rows, so that it takes seconds.
GRAPH_ROWS = 100_000
KILLS = 10


def living(cache: Path) -> list[dict[str, Any]]:
    """1 % added and 1 % removed, beside a rebuild of the result; by factory string."""
    base, more, ids = _stores(cache)
    rng = np.random.default_rng(5)
    gone = np.sort(rng.choice(ROWS, ROWS // 100, replace=False))
    left = np.delete(np.arange(ROWS), gone)
    vectors = np.load(cache / "living.npy", mmap_mode="r")
    queries = _made(QUERIES, 3)
    after_rows = np.concatenate([vectors[left], np.load(cache / "living-more.npy")])
    after_ids = [ids[i] for i in left] + _ids(ROWS // 100, "b")
    truth_before = _exact(vectors, ids, queries)
    truth_after = _exact(after_rows, after_ids, queries)
    write = cache / "living-after"
    if not write.exists():
        write_store(write, np.ascontiguousarray(after_rows), after_ids, shard_rows=65_536)
    (cache / "living-gone.txt").write_text("\n".join(ids[i] for i in gone) + "\n", "utf-8")
    rows = []
    for factory in ("auto", "IVF2048,Flat"):
        path = cache / "living-index"
        options = ["--factory", factory, "--force", "-q"]
        _timed("retrieve", "index", base, "-o", path, *options)
        before = _found(path, queries)
        add_s = _timed("retrieve", "add", path, more, "-q")
        remove_s = _timed("retrieve", "remove", path, "--ids", cache / "living-gone.txt", "-q")
        after = _found(path, queries)
        used = str(open_index(path)["factory"])
        fold_s = _timed("retrieve", "remove", path, "--compact", "-q")
        folded = _found(path, queries)
        rebuild_s = _timed("retrieve", "index", write, "-o", cache / "living-anew", *options)
        anew = _found(cache / "living-anew", queries)
        rows.append(
            {
                "factory": used,
                "rebuild_s": rebuild_s,
                "add_s": add_s,
                "remove_s": remove_s,
                "share": (add_s + remove_s) / rebuild_s,
                "fold_s": fold_s,
                "recall": _recall(before[0], truth_before),
                "changed": _recall(after[0], truth_after),
                "folded": _recall(folded[0], truth_after),
                "rebuilt": _recall(anew[0], truth_after),
                "queries_per_s": before[1],
                "changed_per_s": after[1],
            }
        )
        for name in ("living-index", "living-anew"):
            shutil.rmtree(cache / name)
    return rows


def kills(cache: Path) -> list[dict[str, Any]]:
    """`kill -9` during `add` and `remove`, ten of each: the old or the new state, and it opens."""
    base, more, ids = _stores(cache)
    path, keep = cache / "killed-index", cache / "killed-before"
    shutil.rmtree(keep, ignore_errors=True)
    _timed("retrieve", "index", base, "-o", keep, "--factory", "IVF1024,SQ8", "-q")
    (cache / "living-gone.txt").write_text("\n".join(ids[: ROWS // 100]) + "\n", "utf-8")
    verbs: dict[str, Callable[[], list[object]]] = {
        "add": lambda: ["retrieve", "add", path, more, "-q"],
        "add --compact": lambda: ["retrieve", "add", path, more, "--compact", "-q"],
        "remove": lambda: ["retrieve", "remove", path, "--ids", cache / "living-gone.txt", "-q"],
    }
    rng, rows = random.Random(0), []
    for verb, words in verbs.items():
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(keep, path)
        duration = _timed(*words())
        states = {"old": 0, "new": 0, "broken": 0}
        for _ in range(KILLS):
            shutil.rmtree(path)
            shutil.copytree(keep, path)
            process = subprocess.Popen(mmcli_command(*words()))
            time.sleep(rng.uniform(0.4, 1.2) * duration)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            states[_state(path, keep)] += 1
        rows.append({"verb": verb, "seconds": duration, "kills": KILLS, **states})
    shutil.rmtree(path)
    shutil.rmtree(keep)
    return rows


def filters(cache: Path) -> list[dict[str, Any]]:
    """`--where` that keeps 1 %: results of k, recall against exact search over those."""
    base, _, ids = _stores(cache)
    vectors = np.load(cache / "living.npy", mmap_mode="r")
    small = cache / "living-small"
    if not small.exists():
        write_store(small, np.array(vectors[:GRAPH_ROWS]), ids[:GRAPH_ROWS], shard_rows=65_536)
    queries, rows = _made(QUERIES, 3), []
    for factory, store, n in (
        ("Flat", base, ROWS),
        ("IVF2048,Flat", base, ROWS),
        ("IVF2048,SQ8", base, ROWS),
        ("IVF2048,PQ96x4fs,RFlat", base, ROWS),
        ("HNSW16", small, GRAPH_ROWS),
    ):
        path = cache / "filter-index"
        _timed("retrieve", "index", store, "-o", path, "--factory", factory, "--force", "-q")
        manifest = open_index(path)
        from mmcli.data.where import matching_rows

        began = time.perf_counter()
        matching = matching_rows(item_files(path, manifest), "label = 'cat'")
        where_s = time.perf_counter() - began
        index = narrow(open_vectors(path, manifest), matching)
        search(index, queries[:2], 10, "cosine")
        began = time.perf_counter()
        hits = search(index, queries, 10, "cosine")
        seconds = time.perf_counter() - began
        exact = matching[_nearest(np.asarray(vectors[:n])[matching], queries)]
        shared = [len(set(h.rows) & set(e)) / 10 for h, e in zip(hits, exact.tolist(), strict=True)]
        rows.append(
            {
                "factory": factory,
                "rows": n,
                "kept": len(matching),
                "fewest_results": min(len(hit.rows) for hit in hits),
                "recall": float(np.mean(shared)),
                "queries_per_s": QUERIES / seconds,
                "where_ms": 1000 * where_s,
            }
        )
        shutil.rmtree(path)
    return rows


def _stores(cache: Path) -> tuple[Path, Path, list[str]]:
    """A store of all rows, one of 1 % more, and the ids of the first."""
    base, more, ids = cache / "living-store", cache / "living-more-store", _ids(ROWS, "a")
    if not base.exists():
        rows, extra = _made(ROWS, 1), _made(ROWS // 100, 2)
        np.save(cache / "living.npy", rows)
        np.save(cache / "living-more.npy", extra)
        write_store(more, extra, _ids(ROWS // 100, "b"), shard_rows=65_536)
        write_store(base, rows, ids, shard_rows=65_536)
    return base, more, ids


def _ids(n: int, prefix: str) -> list[str]:
    return [f"{prefix}{i:07d}" for i in range(n)]


def _made(n: int, seed: int) -> Any:
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, DIM), dtype=np.float32)
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, CLUSTERS, n)]
    rows += 0.9 * rng.standard_normal((n, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _nearest(rows: Any, queries: Any, k: int = 10) -> Any:
    scores = queries @ np.asarray(rows).T
    best = np.argpartition(-scores, k, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
    return np.take_along_axis(best, order, 1)


def _exact(rows: Any, ids: list[str], queries: Any) -> list[list[str]]:
    return [[ids[row] for row in found] for found in _nearest(rows, queries)]


def _found(path: Path, queries: Any) -> tuple[list[list[str]], float]:
    """The ids that each query finds, and queries/s."""
    manifest = open_index(path)
    index, items = open_vectors(path, manifest), open_items(path, manifest)
    search(index, queries, 10, "cosine")
    began = time.perf_counter()
    hits = search(index, queries, 10, "cosine")
    rate = len(queries) / (time.perf_counter() - began)
    rows = items.take([row for hit in hits for row in hit.rows], ["id"])
    found = iter(item["id"] for item in rows)
    return [[next(found) for _ in hit.rows] for hit in hits], rate


def _recall(found: list[list[str]], truth: list[list[str]]) -> float:
    shares = [len(set(f) & set(t)) / len(t) for f, t in zip(found, truth, strict=True)]
    return float(np.mean(shares))


def _timed(*words: object) -> float:
    began = time.perf_counter()
    subprocess.run(mmcli_command(*words), check=True)
    return time.perf_counter() - began


def _state(path: Path, before: Path) -> str:
    """`old`, `new` or `broken`: what a killed change left, by manifest, hashes and a search."""
    manifest = open_index(path)
    if verify_directory(path).problems:
        return "broken"
    index = open_vectors(path, manifest)
    hits = search(index, _made(3, 9), 10, "cosine")
    if any(len(hit.rows) != 10 for hit in hits):
        return "broken"
    open_items(path, manifest)
    if (path / "manifest.json").read_bytes() == (before / "manifest.json").read_bytes():
        return "old"
    alive = total_rows(manifest) - n_removed(manifest)
    known = set(living_files(manifest)) <= set(manifest["files"])
    return "new" if known and alive in (ROWS + ROWS // 100, ROWS - ROWS // 100) else "broken"
