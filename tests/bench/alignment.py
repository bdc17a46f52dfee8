"""Contrastive alignment of a million pairs, beside a plain PyTorch loop, in one run."""

import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.conftest import mmcli_command

Row = dict[str, Any]
ROWS, DIMS = 1_000_000, {"text": 384, "image": 1280}
BATCH, WIDTH = 8192, 256
SHARD = 50_000
#: Batches that the plain loop runs in a round: one before and one after the command.
PLAIN_BATCHES = 6


def alignment(cache: Path) -> list[Row]:
    """Rows a second of one epoch and the most memory that is not the store's own file cache."""
    store = million(cache / "million")
    plain = [_plain_rate(store)]
    words = ("align", "train", store, "-o", cache / "million-aligner", "--between", "text,image",
             "--method", "contrastive", "--tower", "linear", "--dim", WIDTH, "--batch", BATCH,
             "--epochs", 1, "--dropout", 0, "--val-fraction", "0.01", "--force", "-q",
             "--json")  # fmt: skip
    began = time.perf_counter()
    process = subprocess.Popen(mmcli_command(*words), stdout=subprocess.PIPE)
    peak = peak_anonymous(process)
    wall = time.perf_counter() - began
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    plain.append(_plain_rate(store))
    fit_s = report["seeds_scores"][0]["seconds"]
    rows = report["rows"]["train"]
    ours, theirs = rows / fit_s, statistics.median(plain)
    return [
        {"what": "align train, one epoch of the fit", "rows_per_s": ours, "ratio": ours / theirs},
        {"what": "plain fp32 loop with a DataLoader", "rows_per_s": theirs, "ratio": 1.0},
        {"what": "align train, the whole command, seconds", "value": wall},
        {"what": "its anonymous memory, MB", "value": peak / 1e6},
    ]


def peak_anonymous(process: subprocess.Popen[bytes]) -> float:
    """Bytes of anonymous memory of the process tree, at most, until the process ends."""
    most = 0.0
    while process.poll() is None:
        total = 0.0
        try:
            parent = psutil.Process(process.pid)
            pids = [parent.pid, *(child.pid for child in parent.children(recursive=True))]
        except psutil.Error:
            break
        for pid in pids:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            line = next((x for x in status.splitlines() if x.startswith("RssAnon:")), "RssAnon: 0")
            total += float(line.split()[1]) * 1024
        most = max(most, total)
        time.sleep(0.2)
    return most


def million(path: Path) -> Path:
    """A store of random unit vectors whose pairs share a cause; made once."""
    import pyarrow as pa

    from mmcli.store.writer import KeyArrays, StoreWriter

    if (path / "manifest.json").exists():
        return path
    keys = {
        name: {"slug": name, "encoder": name, "dim": dim, "dtype": "F32", "normalized": True,
               "space": f"{name}@0123456789ab", "sequence": False}
        for name, dim in DIMS.items()
    }  # fmt: skip
    maps = {n: np.random.default_rng(len(n)).standard_normal((32, d)) for n, d in DIMS.items()}
    with StoreWriter(path, keys, {"spec": "random"}, {}, "million", force=True) as writer:
        for index in range(ROWS // SHARD):
            random = np.random.default_rng(index)
            cause = random.standard_normal((SHARD, 32)).astype(np.float32)
            arrays = {}
            for name, dim in DIMS.items():
                x = cause @ maps[name].astype(np.float32)
                x += 3 * random.standard_normal((SHARD, dim), dtype=np.float32)
                x /= np.linalg.norm(x, axis=1, keepdims=True)
                arrays[name] = KeyArrays(x)
            start = index * SHARD
            ids = [f"{i:07d}" for i in range(start, start + SHARD)]
            has = pa.array([True] * SHARD)
            items = pa.table({"id": ids, **{f"has_{name}": has for name in DIMS}})
            writer.write_shard(index, start, items, arrays, counts=(SHARD, 0, 0))
        writer.commit({"mmcli": "0"})
    return path


def _plain_rate(store: Path) -> float:
    """The same towers and loss as anyone would write them: fp32, rows one by one, whole matrix."""
    from mmcli.engine.torch_stack import load_torch

    torch = load_torch()
    from mmcli.store.mapped import MappedKey
    from mmcli.store.reader import Store

    opened = Store.open(store, verify="none")
    shards = {name: MappedKey(opened, name).shards for name in DIMS}

    class Pairs(torch.utils.data.Dataset):  # type: ignore[misc,name-defined]
        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, i: int) -> tuple[Any, ...]:
            shard, row = divmod(i, SHARD)
            return tuple(torch.tensor(shards[name][shard][row]) for name in DIMS)

    loader = torch.utils.data.DataLoader(Pairs(), BATCH, shuffle=True, drop_last=True)
    towers = torch.nn.ModuleList(torch.nn.Linear(dim, WIDTH) for dim in DIMS.values())
    scale = torch.nn.Parameter(torch.tensor(2.6593))
    optimizer = torch.optim.AdamW([*towers.parameters(), scale], lr=1e-3)
    target = torch.arange(BATCH)
    normalize, cross_entropy = torch.nn.functional.normalize, torch.nn.functional.cross_entropy
    batches = iter(loader)
    done, began = 0, 0.0
    for number in range(PLAIN_BATCHES + 1):
        if number == 1:  # the first warms up
            began = time.perf_counter()
        given = next(batches)
        x, y = (normalize(t(v), dim=1) for t, v in zip(towers, given, strict=True))
        scores = scale.exp().clamp(max=100) * x @ y.T
        loss = (cross_entropy(scores, target) + cross_entropy(scores.T, target)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(towers.parameters(), 1.0)
        optimizer.step()
        done += BATCH if number else 0
    return done / (time.perf_counter() - began)
