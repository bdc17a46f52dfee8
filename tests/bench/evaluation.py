"""`evaluate retrieval` over 100,000 x 100,000 x 384, beside a bare blocked product, in one run."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.commands import peak_pss
from tests.conftest import mmcli_command
from tests.evaluate.small_stores import write_store

Row = dict[str, Any]
ROWS, DIM = 100_000, 384
#: Queries whose product with every target is timed by itself, before and after.
SAMPLE = 8192


def evaluation(cache: Path) -> list[Row]:
    """Rate and peak memory of the whole command, both directions, intervals included."""
    from mmcli.engine.exact_ranks import count_better
    from mmcli.engine.torch_stack import load_torch
    from mmcli.metrics.relevance import relevance_by_row

    torch = load_torch()
    image, text = _pair()
    store = cache / "hundred-thousand"
    if not (store / "manifest.json").exists():
        write_store(store, {"text": text, "image": image}, shard=50_000)
    bare = [_bare_rate(torch, text, image)]
    began = time.perf_counter()
    part = relevance_by_row(ROWS).take(np.arange(SAMPLE))
    count_better(text[:SAMPLE], image, part)
    ranking = _operations(SAMPLE) / (time.perf_counter() - began)
    words = ("evaluate", "retrieval", store, "--query", "text", "--target", "image", "--json")
    began = time.perf_counter()
    process = subprocess.Popen(mmcli_command(*words, "-q"), stdout=subprocess.PIPE)
    peak = peak_pss(process)
    wall = time.perf_counter() - began
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    bare.append(_bare_rate(torch, text, image))
    rate, best = 2 * _operations(ROWS) / wall, max(bare)
    hit = report["directions"]["text-to-image"]["measures"]["hit@1"]
    return [
        {"what": "bare blocked product, before and after", "GFLOP/s": best / 1e9, "ratio": 1.0},
        {"what": f"ranks of {SAMPLE} queries", "GFLOP/s": ranking / 1e9, "ratio": ranking / best},
        {"what": "whole command, 2 x 100k x 100k", "GFLOP/s": rate / 1e9, "ratio": rate / best},
        {"what": "whole command, wall_s", "value": wall},
        {"what": "whole command, peak PSS in GB", "value": peak / 2**30},
        {"what": "hit@1 text to image", "value": hit["value"]},
    ]


def _pair() -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, and the same with so much noise that about half find themselves first."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((ROWS, DIM), np.float32)
    text = image + 3.5 * rng.standard_normal((ROWS, DIM), np.float32)
    return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))  # type: ignore


def _bare_rate(torch: Any, queries: np.ndarray, targets: np.ndarray, block: int = 4096) -> float:
    """Operations a second of a product in blocks that nothing looks at, on torch's own threads."""
    left, right = torch.from_numpy(queries[:SAMPLE]), torch.from_numpy(targets)
    out = torch.empty(block, block)
    torch.mm(left[:block], right[:block].T, out=out)
    began = time.perf_counter()
    for i in range(0, SAMPLE, block):
        for j in range(0, ROWS - block + 1, block):
            torch.mm(left[i : i + block], right[j : j + block].T, out=out)
    done = SAMPLE * (ROWS // block * block) * DIM * 2
    return done / (time.perf_counter() - began)


def _operations(queries: int) -> float:
    return 2.0 * queries * ROWS * DIM
