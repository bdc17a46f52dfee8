"""Towers of pairs from raw files: tuned, written, resumed, and read by every other verb."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmcli.align.tower import Branch
from mmcli.align.tower import Tower as Head
from mmcli.data.decode import PartTask, decode_parts
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.engine.encode import encode_parts
from mmcli.index.query_text import load_text_tower
from mmcli.store.reader import Store
from mmcli.store.tensors import load_tensors
from mmcli.tasks.pairs import LiveTower, PairNetwork
from mmcli.tasks.pairs_learning import PairLearning
from mmcli.tasks.pairs_losses import Weights
from mmcli.workflows.align.data import DataConfig, load_data
from mmcli.workflows.evaluate.retrieval import evaluate_retrieval
from mmcli.workflows.evaluate.retrieval_config import RetrievalConfig
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from mmcli.workflows.finetune.run import finetune
from mmcli.workflows.index.build import build_index
from mmcli.workflows.index.config import IndexConfig
from mmcli.workflows.listeners import Listeners
from tests.contracts import tiny_models
from tests.fusion.making import write_store

pytestmark = pytest.mark.usefixtures("few_resamples")

COLOURS = {"red": (220, 30, 30), "blue": (40, 60, 220), "coffee": (110, 70, 40),
           "light": (235, 235, 200), "sea": (20, 150, 150)}  # fmt: skip
PLACES = {"cat": (0, 0), "dog": (0, 1), "cup": (1, 0), "mat": (1, 1)}
FP32 = Placement("cpu", "float32")


def write_pairs(folder: Path, rows: int = 60) -> Path:
    """Pictures whose colour and bright corner their text names."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    lines = []
    for row in range(rows):
        colour, place = list(COLOURS)[row % 5], list(PLACES)[(row // 5) % 4]
        pixels = np.full((36, 36, 3), COLOURS[colour], np.float64) + rng.normal(0, 6, (36, 36, 3))
        y, x = PLACES[place]
        pixels[18 * y : 18 * y + 18, 18 * x : 18 * x + 18] *= 0.4
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{row:03d}.png")
        words = ["a", "photo", "the"][: 1 + row % 3]
        split = ("train", "train", "train", "val", "test")[(row // 4) % 5]
        text = f"{' '.join(words)} {colour} {place} {row}"
        lines.append({"id": f"p{row:03d}", "image": f"{row:03d}.png", "text": text,
                      "place": place, "split": split})  # fmt: skip
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    made = {"clip": tiny_models.clip(root / "clip"), "bert": tiny_models.bert(root / "bert")}
    return {name: f"local:{folder}" for name, folder in made.items()}


def on_files(pairs: Path, output: Path, models: dict[str, str], **told: Any) -> FinetuneConfig:
    tricks = {"epochs": 2, "batch": 16, "lr": 1e-3, **told.pop("tricks", {})}
    return FinetuneConfig(
        **{"task": "retrieval", "data": str(pairs), "output": str(output), "quality": "fast",
           "precision": "fp32", "workers": 0, "tricks": TrickOptions(**tricks),
           "encoders": {"image": (models["clip"],), "text": (models["clip"],)},
           "options": {"head_epochs": "4"}, **told}
    )  # fmt: skip


@pytest.fixture(scope="module")
def tuned(pairs: Path, models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retrieval model whose towers were tuned by lora."""
    output = tmp_path_factory.mktemp("tuned") / "model"
    finetune(on_files(pairs, output, models, strategy={"": "lora"}))
    return output


def extracted(pairs: Path, output: Path, **encoders: tuple[str, ...]) -> Store:
    told = {"precision": "fp32", "workers": 0, "only": tuple(encoders)}
    extract(ExtractConfig(str(pairs), str(output), encoders=encoders, **told))
    return Store.open(output)


def test_the_towers_of_a_model_share_a_space_in_which_it_scores_as_it_says(
    tuned: Path, pairs: Path, tmp_path: Path
) -> None:
    """Files through the saved towers to the very scores that were measured while training."""
    reference = (f"model:{tuned}",)
    store = extracted(pairs, tmp_path / "s", text=reference, image=reference)
    spaces = {entry["space"] for entry in store.keys.values()}
    metrics = json.loads((tuned / "metrics.json").read_text())
    assert spaces == {metrics["space"]} and metrics["space"].startswith("retrieval-text-image@")
    assert all(entry["normalized"] for entry in store.keys.values())
    found = evaluate_retrieval(RetrievalConfig(str(tmp_path / "s"), "text", "image", split="test"))
    for direction, rows in list(metrics["tables"].items())[1:]:
        kept = next(row for row in rows if row["model"] == "retrieval + lora")
        measured = found["directions"][direction]["measures"]
        for name in ("hit@1", "hit@5", "mrr"):
            assert kept[name] == pytest.approx(measured[name]["value"], abs=1e-9)


def test_an_index_of_the_towers_is_asked_in_words_without_torch(
    tuned: Path, pairs: Path, tmp_path: Path
) -> None:
    reference = (f"model:{tuned}",)
    store = extracted(pairs, tmp_path / "s", text=reference, image=reference)
    report = build_index(IndexConfig(str(tmp_path / "s"), str(tmp_path / "i"), ("image",)))
    assert report["without_torch"] == ["text"]
    table = store.items(["text"]).column("text").to_pylist()
    tower = load_text_tower(tmp_path / "i" / "query" / "text")
    stored = load_tensors(tmp_path / "s" / "text-00000.safetensors")["embeddings"]
    assert np.abs(tower.encode(table[:5]) - stored[:5]).max() < 1e-4


def test_what_learned_is_what_was_to_learn(tuned: Path) -> None:
    config = json.loads((tuned / "config.json").read_text())
    assert config["kind"] == "towers" and config["between"] == ["text", "image"]
    assert set(config["towers"]) == {"text", "image", "text:clip", "image:clip"}
    for name in ("text", "image"):
        tower = config["towers"][name]
        state = load_tensors(tuned / tower["file"])
        assert state and all("lora_" in key for key in state)
        assert sum(v.size for v in state.values()) == tower["trainable"]
        assert config["towers"][f"{name}:clip"]["file"] == tower["file"]
    stages = [json.loads(line)["stage"] for line in (tuned / "history.jsonl").open()]
    assert stages.count("tune") == 2 and "heads" in stages


@pytest.mark.parametrize("task", ["retrieval", "pretrain"])
def test_a_run_cut_off_three_times_gives_the_same_weights(
    pairs: Path, models: dict[str, str], tmp_path: Path, task: str
) -> None:
    """Cut off among the heads, at their end, and while the tower is tuned."""
    whole = on_files(pairs, tmp_path / "whole", models, task=task, strategy={"image": "lora"},
                     checkpoint_s=0.0, tricks={"accumulate": 2, "batch": 8})  # fmt: skip
    finetune(whole)
    config = replace(whole, output=str(tmp_path / "cut"))
    for number, last in enumerate((2, 2, 2)):
        steps = []

        def stop(done: int, total: int, steps: list[int] = steps, last: int = last) -> None:
            if total == 4:  # steps of the heads, then of the tower; other totals are rows decoded
                steps.append(done)
                if len(steps) > last:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            finetune(replace(config, resume=number > 0), Listeners(progress=stop))
    finetune(replace(config, resume=True))
    names = ["model", "projection-image", "projection-text", "tower-image"]
    for name in names:
        a, b = ((tmp_path / n / f"{name}.safetensors").read_bytes() for n in ("whole", "cut"))
        assert a == b, name


def test_passes_have_the_gradient_of_the_whole_batch(
    pairs: Path, models: dict[str, str], tmp_path: Path
) -> None:
    encoder: Any = load(models["clip"], "image", EncoderOptions(), FP32)
    paths = [str(pairs.parent / f"{i:03d}.png") for i in range(8)]
    tasks = [PartTask(i, "image", path, True) for i, path in enumerate(paths)]
    decoded, _, _ = decode_parts(tasks, {"image": (encoder.recipe,)})
    prepared = encoder.prepare([one.values[0] for one in decoded])
    rng = np.random.default_rng(0)
    store = write_store(tmp_path / "s", {"text": rng.standard_normal((20, 12)),
                                         "image": rng.standard_normal((20, 24))}, {})  # fmt: skip
    found = []
    for batch in (8, 3):
        torch.manual_seed(0)
        encoder.network.requires_grad_(True)
        encoder.network.zero_grad()
        learning = _learning_with(encoder, store, batch)
        given = learning._read(np.arange(8))
        given = replace(given, parts={"image": prepared}, stored={**given.stored, "image": {}})
        losses = learning.step(given, lambda loss: loss.backward())
        grads = [p.grad.clone() for p in encoder.network.parameters() if p.grad is not None]
        found.append((losses["loss"], grads))
    (one, whole), (other, passes) = found
    assert one == pytest.approx(other, abs=1e-5) and len(whole) == len(passes) > 10
    assert max(float((a - b).abs().max()) for a, b in zip(whole, passes, strict=True)) < 1e-5
    assert max(float(g.abs().max()) for g in whole) > 1e-4


def _learning_with(encoder: Any, store: Path, batch: int) -> PairLearning:
    """A network whose image tower is live and whose head is what begins on its 24 numbers."""
    features = load_data(Store.open(store), DataConfig(("text", "image"))).features
    rng = np.random.default_rng(0)
    heads = {}
    for name, dim in (("text", 12), ("image", 24)):
        weight = rng.standard_normal((dim, 10)).astype(np.float32)
        arrays = {"0.weight0": weight, "0.bias0": np.zeros(10, np.float32)}
        heads[name] = Head((Branch((name,), "linear", layers=1),), 10, arrays=arrays)
    network = PairNetwork(heads, {n: frozenset({0}) for n in heads},
                          live={"image": LiveTower(encoder, {"image": encoder})})  # fmt: skip
    return PairLearning(network, features, {}, by_hits=True, weights=Weights(), batch=batch,
                        accumulate=3)  # fmt: skip


def test_a_later_task_reads_towers_and_what_they_stand_on(
    pairs: Path, models: dict[str, str], tmp_path: Path
) -> None:
    finetune(on_files(pairs, tmp_path / "first", models, task="pretrain"))
    later = on_files(pairs, tmp_path / "second", models, task="classification", label="place",
                     pretrained=str(tmp_path / "first"), encoders={}, only=("image",),
                     options={})  # fmt: skip
    finetune(later)
    keys = json.loads((tmp_path / "second" / "config.json").read_text())["keys"]["image"]
    assert [(k["encoder"], k["dim"]) for k in keys.values()] == [
        ("clip-pretrain", 24),
        ("clip", 24),
    ]
    again = on_files(pairs, tmp_path / "third", models, pretrained=str(tmp_path / "first"),
                     encoders={})  # fmt: skip
    report = finetune(again)
    assert report["table"][0]["model"] == "untrained"  # the pre-trained space, as it begins
    store = extracted(pairs, tmp_path / "s", text=(f"model:{tmp_path / 'third'}",))
    assert store.keys["text"]["space"] == report["space"]


def test_a_tower_on_two_encoders_says_what_its_head_makes_of_them(
    pairs: Path, models: dict[str, str], tmp_path: Path
) -> None:
    both = (models["bert"], models["clip"])
    told = {"encoders": {"text": both, "image": (models["clip"],)}}
    finetune(on_files(pairs, tmp_path / "m", models, **told))
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    tower = config["towers"]["text"]
    assert [one["key"] for one in tower["reads"]] == ["text", "text:clip"]
    head = Head.from_json(tower["head"], load_tensors(tmp_path / "m" / tower["projection"]))
    texts = ["a red cat", "the", "a photo of a dog on the mat, the sea and the light " * 2, "blue"]
    encoder = load(f"model:{tmp_path / 'm'}", "text", EncoderOptions(), FP32)
    said = encode_parts(encoder, texts, sequence=True)
    bases = {one["key"]: load(one["reference"], "text", EncoderOptions(), FP32)
             for one in tower["reads"]}  # fmt: skip
    outputs = {key: encode_parts(base, texts, sequence=True) for key, base in bases.items()}
    expected = head.apply({key: o.pooled.numpy() for key, o in outputs.items()})
    assert np.abs(said.pooled.numpy() - expected).max() < 1e-5
    for mine, own in zip(said.sequence, outputs["text"].sequence, strict=True):
        assert torch.equal(mine, own)
    alone = encode_parts(encoder, texts[2:3]).pooled
    assert torch.equal(alone[0], said.pooled[2])  # whoever shares the batch
