"""`evaluate retrieval` over 100,000 x 100,000 x 384, beside a bare blocked product, in one run."""

import json
import resource
import statistics
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
#: Queries of a round; rounds of product and ranks take turns, and one product ends the run.
SAMPLE, ROUNDS = 4096, 3


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
    part = relevance_by_row(ROWS).take(np.arange(SAMPLE))
    bare, ranks = [], []
    for _ in range(ROUNDS):
        bare.append(_bare_rate(torch, text, image))
        clock = _Clock(resource.RUSAGE_SELF)
        count_better(text[:SAMPLE], image, part)
        ranks.append(clock.rates(_operations(SAMPLE)))
    words = ("evaluate", "retrieval", store, "--query", "text", "--target", "image", "--json")
    clock = _Clock(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(mmcli_command(*words, "-q"), stdout=subprocess.PIPE)
    peak = peak_pss(process)
    whole = clock.rates(2 * _operations(ROWS))
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    bare.append(_bare_rate(torch, text, image))
    best = _medians(bare)
    found = {
        f"bare blocked product, {SAMPLE} x 100k": best,
        f"ranks, {SAMPLE} x 100k": _medians(ranks),
        "whole command, 2 x 100k x 100k": whole,
    }
    hit = report["directions"]["text-to-image"]["measures"]["hit@1"]
    rows: list[Row] = [
        {
            "what": name,
            "GFLOP/s": rate / 1e9,
            "ratio": rate / best[0],
            "GFLOP/core_s": busy / 1e9,
            "core ratio": busy / best[1],
        }
        for name, (rate, busy) in found.items()
    ]
    rows[-1]["peak PSS GB"] = peak / 2**30
    rows[-1]["hit@1"] = hit["value"]
    return rows


def _medians(rates: list[tuple[float, float]]) -> tuple[float, float]:
    walls, cores = zip(*rates, strict=True)
    return statistics.median(walls), statistics.median(cores)


class _Clock:
    """Seconds on the wall and on all cores since it was made."""

    def __init__(self, who: int) -> None:
        self.who = who
        self.began = time.perf_counter(), self._busy()

    def _busy(self) -> float:
        used = resource.getrusage(self.who)
        return used.ru_utime + used.ru_stime

    def rates(self, operations: float) -> tuple[float, float]:
        """Operations a second, and a second of one core: the second holds on a shared machine."""
        wall, busy = time.perf_counter() - self.began[0], self._busy() - self.began[1]
        return operations / wall, operations / busy


def _pair() -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, and the same with so much noise that about half find themselves first."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((ROWS, DIM), np.float32)
    text = image + 3.5 * rng.standard_normal((ROWS, DIM), np.float32)
    return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))  # type: ignore


def _bare_rate(
    torch: Any, queries: np.ndarray, targets: np.ndarray, block: int = 4096
) -> tuple[float, float]:
    """The rates of a product in blocks that nothing looks at, on torch's own threads."""
    left, right = torch.from_numpy(queries[:SAMPLE]), torch.from_numpy(targets)
    out = torch.empty(block, block)
    torch.mm(left[:block], right[:block].T, out=out)
    clock = _Clock(resource.RUSAGE_SELF)
    for i in range(0, SAMPLE, block):
        for j in range(0, ROWS - block + 1, block):
            torch.mm(left[i : i + block], right[j : j + block].T, out=out)
    return clock.rates(SAMPLE * (ROWS // block * block) * DIM * 2)


def _operations(queries: int) -> float:
    return 2.0 * queries * ROWS * DIM
