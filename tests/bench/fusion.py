"""Fusion: rows a second beside plain training loops, and what planted data show it to find.

The same models, five seeds of each, are trained for the same epochs three ways in one process: all
in one pass by mmcli, and one after another by a PyTorch loop, with a DataLoader and with batches
that lie ready.
"""

import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.data.labels import LabelOptions
from mmcli.data.planted.model import Planted
from mmcli.store.reader import Store
from mmcli.workflows.data.planted import PlantedConfig, plant
from mmcli.workflows.fuse.data import FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.fit import FitRun, FuseOptions, fit
from mmcli.workflows.fuse.train import FuseConfig, train_fusion
from tests.bench.commands import peak_pss
from tests.conftest import mmcli_command
from tests.fusion.making import splits, write_store

Row = dict[str, Any]
ROWS, DIMS, SEEDS, EPOCHS, CLASSES = 50_000, {"text": 768, "speech": 74, "image": 35}, 5, 2, 3
METHOD = "hybrid:low-rank"
RUNS = 20
HYBRIDS = ("gated", "tensor", "low-rank", "bilinear", "attention", "bottleneck", "cross-modal",
           "multi-level", "misa", "combiner-gating", "combiner-weighted", "combiner-attention",
           "early:tokens", "early+late")  # fmt: skip


def store_of(cache: Path) -> Path:
    """Three modalities that each know a little of one of three classes."""
    path = cache / "fusion-store"
    if (path / "manifest.json").exists():
        return path
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, ROWS)
    vectors = {
        name: (rng.standard_normal((CLASSES, dim))[label] * 0.1 + rng.standard_normal((ROWS, dim)))
        for name, dim in DIMS.items()
    }
    columns = {"label": [f"c{v}" for v in label], "split": splits(ROWS, 0.9, 0.05)}
    return write_store(path, vectors, columns)


def fusion(cache: Path) -> list[Row]:
    """Rows a second of every model, and the memory of the whole command."""
    from mmcli.engine.device import place, probe
    from mmcli.fusion.objective import objective_for
    from mmcli.fusion.registry import METHODS
    from mmcli.metrics.choice import measures_for

    path = store_of(cache)
    data = load_fuse_data(Store.open(path), FuseDataConfig(LabelOptions("label")))
    objective = objective_for("multiclass", data.labels.values[data.train], CLASSES)
    measure = measures_for("classes")["accuracy"]
    options = FuseOptions(epochs=EPOCHS, modality_dropout=0.0)
    placement = place("auto", "auto", probe())
    specs = [METHODS.get(METHOD), METHODS.get("late:mean")]
    seen = len(data.train) * EPOCHS
    ours, plain, ready = [], [], []
    for _ in range(3):
        run = FitRun(tuple(range(SEEDS)), placement.device, placement.dtype)
        began = time.perf_counter()
        contest = fit(data, specs, objective, measure, options, run)
        models = SEEDS * (len(DIMS) + 2)
        ours.append(seen * models / (time.perf_counter() - began))
        builders = builders_of(contest)
        plain.append(loop(data, builders, contest, with_loader=True))
        ready.append(loop(data, builders, contest, with_loader=False))
    mine, theirs, batches = map(statistics.median, (ours, plain, ready))
    scores = contest.probabilities(METHOD, data.test).argmax(-1) == data.labels.values[data.test]
    words = ["fuse", "train", path, "-o", cache / "fusion-model", "--label", "label", "--method",
             METHOD, "--epochs", EPOCHS, "--force", "-q"]  # fmt: skip
    began = time.perf_counter()
    memory = peak_pss(subprocess.Popen(mmcli_command(*words)))
    seconds = time.perf_counter() - began
    return [
        {"what": "fusion: one pass, 5 seeds of 5 models", "rows_per_s": mine, "ratio": 1.0,
         "accuracy": float(scores.mean())},
        {"what": "fusion: one by one, DataLoader", "rows_per_s": theirs, "ratio": mine / theirs},
        {"what": "fusion: one by one, ready batches", "rows_per_s": batches,
         "ratio": mine / batches},
        {"what": "fusion: whole command", "peak PSS GB": memory / 2**30, "wall_s": seconds},
    ]  # fmt: skip


def builders_of(contest: Any) -> list[tuple[str, Any]]:
    """What builds each model by itself: a perceptron a modality, concat, the method."""
    from mmcli.fusion.blueprint import Blueprint
    from mmcli.fusion.early.concat import Concat
    from mmcli.fusion.network import build_network
    from mmcli.fusion.registry import METHODS

    whole = contest.blueprint(METHODS.get("early:concat"))
    sizes = {"width": whole.width, "dropout": whole.dropout}
    found = []
    for name in whole.modalities:
        one = Blueprint({name: whole.key_dims[name]}, CLASSES, **sizes)
        found.append((name, lambda one=one: Concat(one)))
    for name in ("early:concat", METHOD):
        spec = METHODS.get(name)
        found.append(
            (name, lambda spec=spec: build_network(spec, contest.blueprint(spec), "classes"))
        )
    return found


def loop(data: Any, builders: Any, contest: Any, *, with_loader: bool) -> float:
    """Rows a second of a plain fp32 loop: every model and seed one after another, one epoch."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    rows, batch = data.train, contest.sizes.batch
    x, _ = data.inputs.batch(rows, "pooled")
    target = torch.from_numpy(data.labels.values[rows])
    names = list(x)
    loss_of = torch.nn.CrossEntropyLoss()
    done, seconds = 0, 0.0
    for name, build in builders:
        used = [name] if name in x else names
        dataset = TensorDataset(*(x[n] for n in used), target)
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            model = build().train()
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
            if with_loader:
                batches: Any = DataLoader(dataset, batch_size=batch, shuffle=True, drop_last=True)
            else:
                order = torch.randperm(len(rows))[: len(rows) // batch * batch].split(batch)
                batches = [tuple(t[i] for t in dataset.tensors) for i in order]
            began = time.perf_counter()
            for *parts, labels in batches:
                present = torch.ones((len(labels), len(used)), dtype=torch.bool)
                output = model(dict(zip(used, parts, strict=True)), present).output
                loss = loss_of(output, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += len(labels)
            seconds += time.perf_counter() - began
    return done / seconds


def planted(cache: Path) -> list[Row]:
    """Which truths the table tells: gains where they were planted, and none where there is none."""
    rows: list[Row] = []
    xor = _plant(cache / "planted-xor", (0, 0, 0, 1), 0)
    report = _train(cache, xor, HYBRIDS)
    best = report["ceiling"]
    for row in report["table"]:
        share = row["accuracy"] / best
        rows.append(
            {"what": f"planted xor: {row['model']}", "accuracy": row["accuracy"], "of best": share}
        )
    for kind, shares in (("redundant", (1, 0, 0, 0)), ("complementary", (0, 1, 0, 0))):
        shown = 0
        for seed in range(RUNS):
            path = _plant(cache / f"planted-{kind}", shares, seed)
            verdict = _train(cache, path, ("early",))["verdicts"][0]
            shown += verdict["verdict"] == "gain shown"
        rows.append({"what": f"planted {kind}: gain shown", "runs": shown, "of": RUNS})
    return rows


def _plant(path: Path, shares: tuple[float, ...], seed: int) -> Path:
    plant(PlantedConfig(str(path), Planted(n=10_000, shares=shares, seed=seed), force=True))
    return path


def _train(cache: Path, path: Path, methods: tuple[str, ...]) -> Row:
    import json

    config = FuseConfig(
        str(path), str(cache / "planted-model"), FuseDataConfig(LabelOptions("label")),
        methods=methods, force=True,
    )  # fmt: skip
    report = train_fusion(config)
    known = json.loads((path / "manifest.json").read_text())["planted"]["ceilings"]["accuracy"]
    return {**report, "ceiling": max(entry["all"] for entry in known.values())}
