"""Fine-tuning: sentiment of made clips against the best possible, strategies side by side, and what
the cache of frozen features and bf16 are worth.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.data.labels import LabelOptions
from mmcli.engine.torch_stack import load_torch
from mmcli.fusion.objective import objective_for
from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from mmcli.workflows.finetune.run import finetune
from mmcli.workflows.fuse.data import FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.fit import FitRun, FuseOptions, fit
from tests.bench.commands import peak_pss
from tests.bench.real_reviews import reviews_table
from tests.conftest import mmcli_command

torch = load_torch()
Row = dict[str, Any]
CLIPS = 2000
#: Strategies are compared on the words of the clips, which every strategy fits.
STRATEGIES = ("probe", "full", "last-n", "gradual", "bitfit", "lora", "dora", "ia3", "adapters",
              "prompts")  # fmt: skip


def clips_of(cache: Path, n: int = CLIPS) -> Path:
    """Made clips, the same ones every time."""
    path = cache / f"clips-{n}"
    if not (path / "manifest.json").exists():
        command = mmcli_command("data", "synth", "clips", "-o", path, "-n", str(n), "-q")
        subprocess.run(command, check=True)
    return path


def sentiment(cache: Path) -> list[Row]:
    """The whole command on 2,000 clips: seconds, scores beside the best possible, p of gains."""
    data, output = clips_of(cache), cache / "sentiment"
    ceilings = json.loads((data / "manifest.json").read_text())["ceilings"]
    began = time.perf_counter()
    command = mmcli_command("finetune", "--task", "sentiment", data, "-o", output, "--force",
                            "-q")  # fmt: skip
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began
    report = json.loads((output / "metrics.json").read_text())
    kept = next(row for row in report["table"] if row["model"] == report["kept"])
    rows: list[Row] = [{"what": f"sentiment: {report['kept']}, seconds", "value": seconds}]
    for name in ("pearson", "acc2_has0", "acc2_non0", "mae"):
        rows.append({"what": f"sentiment: {name}", "value": kept[name]})
        for row in report["table"]:
            if row["model"].startswith("single:"):
                rows.append({"what": f"sentiment: {name} of {row['model']}", "value": row[name]})
    for verdict in report["verdicts"]:
        rows.append(
            {
                "what": f"sentiment: {verdict['measure']} against {verdict['against']}:"
                f" {verdict['verdict']} [{verdict['low']:.3f}, {verdict['high']:.3f}]",
                "value": verdict["gain"],
                "p": verdict["p"],
            }
        )
    rows.append({"what": "sentiment: ceilings", "value": json.dumps(ceilings)[:2000]})
    return rows


def strategies(cache: Path) -> list[Row]:
    """Each strategy on the text tower of 600 clips: trainable, seconds, memory, score."""
    data = clips_of(cache, 600)
    rows = []
    for name in STRATEGIES:
        output = cache / f"strategy-{name}"
        command = mmcli_command(
            "finetune", "--task", "sentiment", data, "-o", output, "--force", "-q", "--only",
            "text", "--label", "sentiment_text", "--method", "early:concat", "--strategy", name,
            "--epochs", "4" if name != "probe" else "60",
        )  # fmt: skip
        began = time.perf_counter()
        peak = peak_pss(subprocess.Popen(command)) / 1e9
        report = json.loads((output / "metrics.json").read_text())
        kept = next(row for row in report["table"] if row["model"] == report["kept"])
        towers = (report.get("tuning") or {}).get("towers") or {}
        rows.append(
            {
                "strategy": name,
                "tower parameters that learn": sum(t["trainable"] for t in towers.values()),
                "seconds": time.perf_counter() - began,
                "seconds an epoch": (report.get("tuning") or {}).get("seconds_an_epoch"),
                "peak GB": peak,
                "accuracy": kept["accuracy"],
                "low": kept["low"],
                "high": kept["high"],
            }
        )
    return rows


def cached(cache: Path) -> list[Row]:
    """Seconds of an epoch of the same head on cached features, and through the frozen towers."""
    from mmcli.core.registry import load_attribute
    from mmcli.engine.device import place, probe
    from mmcli.fusion.registry import fusion_method
    from mmcli.metrics.choice import measures_for
    from mmcli.store.reader import Store
    from mmcli.tasks.end_to_end import EndToEnd
    from mmcli.tasks.registry import TASKS
    from mmcli.tasks.towers import Source
    from mmcli.workflows.finetune.plan import plan_run, settled

    tune = load_attribute("mmcli.workflows.finetune.tune:_Run")
    data_path, store_path = clips_of(cache, 600), cache / "clips-600-store"
    if not (store_path / "manifest.json").exists():
        command = mmcli_command(
            "extract", data_path, "-o", store_path, "-q", "--image", "efficientnet-lite0",
            "--speech", "whisper-tiny-en", "--speech", "logmel",
        )  # fmt: skip
        subprocess.run(command, check=True)
    store = Store.open(store_path)
    data = load_fuse_data(store, FuseDataConfig(LabelOptions("sentiment")))
    objective = objective_for("regression", data.labels.values[data.train], 0)
    measure = measures_for("number")["mae"]
    placement = place("auto", "auto", probe())
    options = FuseOptions(epochs=1)
    specs = [fusion_method("hybrid:attention"), fusion_method("late:mean")]
    contest = fit(data, specs, objective, measure, options,
                  FitRun((0,), placement.device, placement.dtype))  # fmt: skip
    config = settled(
        FinetuneConfig("sentiment", str(store_path), "", strategy={"": "bitfit"}, quality="fast")
    )
    network = contest.network("hybrid:attention", 0)
    run = tune(config, plan_run(config, TASKS.get("sentiment")), store, data, network, "pooled",
               contest, measure, placement, 0, None)  # fmt: skip
    whole: EndToEnd = run.method
    seconds: dict[str, list[float]] = {"towers": [], "cached": []}
    sources = dict(whole.model.sources)
    for _ in range(3):
        for name in seconds:
            whole.model.sources = (
                sources
                if name == "towers"
                else {
                    m: [Source(s.key, "", s.layer) for s in found] for m, found in sources.items()
                }
            )
            for parameter in whole.model.towers.parameters():
                parameter.requires_grad_(False)
            optimizer = torch.optim.AdamW(whole.model.fusion.parameters(), lr=1e-3)
            began = time.perf_counter()
            for batch in whole.batches(0, 0) if name == "towers" else _without_parts(whole):
                optimizer.zero_grad()
                whole.step(batch, lambda loss: loss.backward())
                optimizer.step()
            seconds[name].append(time.perf_counter() - began)
    run.reader.close()
    # the first epoch through the towers also decodes the files; later ones find them in memory
    slow, fast = (float(np.median(seconds[name])) for name in ("towers", "cached"))
    return [
        {"what": f"epoch of {len(data.train)} rows, towers run each time", "seconds": slow},
        {"what": "the same, features cached", "seconds": fast},
        {"what": "ratio", "seconds": slow / fast},
    ]


def _without_parts(whole: Any) -> Any:
    """The same batches, no part of them decoded."""
    rng = np.random.default_rng((whole.seed, 0))
    order = rng.permutation(whole.train_rows)
    for step in range(whole.steps):
        rows = order[step * whole.rows_a_step : (step + 1) * whole.rows_a_step]
        yield rows, whole.model.inputs.present(rows), 0, {}


#: What precisions are compared on: key and label of the data, epochs, rows a step, seeds.
PAIRS: dict[str, tuple[str, str, int, int | None, int]] = {
    "words of clips": ("text", "sentiment_text", 3, None, 3),
    "faces of clips": ("image", "sentiment_image", 1, None, 2),
    "review sentences": ("text", "score", 2, 64, 1),
}


def tuned_pair(
    cache: Path, data: Path, what: str, precision: str, encoder: str, seed: int = 0
) -> dict[str, Any]:
    """The report of a whole tuning of one tower in one precision."""
    modality, label, epochs, batch, _ = PAIRS[what]
    config = FinetuneConfig(
        "sentiment",
        str(data),
        str(cache / f"tuned-{precision}"),
        only=(modality,),
        label=label,
        method="early:concat",
        strategy={"": "full"},
        quality="fast",
        precision=precision,
        seed=seed,
        force=True,
        tricks=TrickOptions(epochs=epochs, batch=batch),
        encoders={modality: (encoder,)} if encoder else {},
    )
    return finetune(config)


def precisions(cache: Path) -> list[Row]:
    """bf16 against fp32, pairs of a tower: seconds an epoch of tuning, and the score.

    MiniLM on the words of clips and on review sentences, and a ViT-S/16 of random weights on the
    faces of clips, as EfficientNet-Lite0 runs in fp32 whatever is asked.
    """
    rows: list[Row] = []
    for what, (modality, *_, seeds) in PAIRS.items():
        data: Path | None = clips_of(cache, 600)
        if what == "review sentences":
            data = reviews_table(cache, 0)
        if data is None:
            rows.append({"what": what, "note": "the archive is not to be had"})
            continue
        encoder = f"local:{_vit(cache)}" if modality == "image" else ""
        ratios = []
        for seed in range(seeds):
            each = {}
            for precision in ("fp32", "bf16"):
                report = tuned_pair(cache, data, what, precision, encoder, seed)
                each[precision] = report["tuning"]["seconds_an_epoch"]
                kept = report["table"][-1]
                measure = "accuracy" if "accuracy" in kept else "mae"
                rows.append(
                    {
                        "what": f"{what}, {precision}, seed {seed}",
                        "seconds an epoch": each[precision],
                        "measure": measure,
                        "score": kept[measure],
                        "low": kept["low"],
                        "high": kept["high"],
                    }
                )
            ratios.append(each["fp32"] / each["bf16"])
        name = f"{what}: fp32 / bf16, median"
        rows.append({"what": name, "seconds an epoch": float(np.median(ratios))})
    return rows


def _vit(cache: Path) -> Path:
    from tests.contracts.tiny_models import timm_model

    folder = cache / "vit-small"
    return folder if folder.exists() else timm_model(folder, "vit_small_patch16_224")
