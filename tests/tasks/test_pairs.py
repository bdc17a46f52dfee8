"""`finetune --task retrieval` and `pretrain`: losses, stages, files, and what reads them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmcli.align.tower import Tower as Head
from mmcli.core.errors import BadInput, MmcliError, UsageError
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.engine.encode import encode_parts
from mmcli.index.query_text import load_text_tower
from mmcli.store.reader import Store
from mmcli.store.tensors import load_tensors
from mmcli.tasks.pairs import Joint, LiveTower, PairNetwork, signed_root
from mmcli.tasks.pairs_learning import PairLearning
from mmcli.tasks.pairs_losses import Weights, masked, match_logits, pair_losses, wrong_partners
from mmcli.workflows.evaluate_retrieval import evaluate_retrieval
from mmcli.workflows.extract import extract
from mmcli.workflows.extract_plan import ExtractConfig
from mmcli.workflows.finetune import finetune
from mmcli.workflows.finetune_config import FinetuneConfig, Listeners, TrickOptions
from mmcli.workflows.index_build import IndexConfig, build_index
from mmcli.workflows.retrieval_config import RetrievalConfig
from tests.contracts import tiny_models
from tests.fusion.making import splits, write_store

COLOURS = {"red": (220, 30, 30), "blue": (40, 60, 220), "coffee": (110, 70, 40),
           "light": (235, 235, 200), "sea": (20, 150, 150)}  # fmt: skip
PLACES = {"cat": (0, 0), "dog": (0, 1), "cup": (1, 0), "mat": (1, 1)}
FP32 = Placement("cpu", "float32")
NOISE = 0.3


# -- what is learned, on numbers -----------------------------------------------------------------


def unit_rows(rows: int, dim: int, seed: int) -> torch.Tensor:
    values = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=1)


def network_of(dim: int, joint: Joint | None = None) -> PairNetwork:
    heads = {name: Head((), dim) for name in ("text", "image")}
    return PairNetwork(heads, {n: frozenset() for n in heads}, temperature=0.1, joint=joint)


def test_contrast_is_cross_entropy_of_rows_and_columns() -> None:
    a, b = unit_rows(6, 4, 0), unit_rows(6, 4, 1)
    found = pair_losses(network_of(4), a, b, None, {}, Weights())
    logits, own = 10 * a @ b.T, torch.arange(6)
    both = [torch.nn.functional.cross_entropy(x, own) for x in (logits, logits.T)]
    assert set(found) == {"loss"}
    assert found["loss"].item() == pytest.approx(float(sum(both)) / 2, abs=1e-5)


def test_wrong_partners_are_drawn_by_a_softmax_of_those_that_are_wrong() -> None:
    scores = torch.tensor([[9.0, 3.0, 1.0], [2.0, 8.0, 5.0], [4.0, 0.0, 7.0]])
    torch.manual_seed(0)
    drawn = torch.stack([wrong_partners(scores, None).number for _ in range(400)])
    assert not (drawn == torch.arange(3)).any()
    share = float((drawn[:, 0] == 1).float().mean())
    assert share == pytest.approx(np.exp(3) / (np.exp(3) + np.exp(1)), abs=0.07)
    groups = torch.tensor([0, 0, 1])
    found = wrong_partners(scores, groups)
    assert found.number[:2].tolist() == [2, 2] and found.there.all()
    assert not wrong_partners(scores, torch.zeros(3)).there.any()


def test_the_joint_head_by_its_definition() -> None:
    torch.manual_seed(0)
    joint = Joint(4, {"text": 3, "image": 2}, hidden=8).eval()
    a, b = unit_rows(5, 4, 2), unit_rows(5, 4, 3)
    x, y = 2 * a, 2 * b  # sqrt(4)
    cosine = 2 * (a * b).sum(1, keepdim=True)
    state = joint.mix(torch.cat([x, y, x * y, (x - y).abs(), cosine], dim=1))
    assert torch.allclose(joint.matches(a, b), joint.match(state).squeeze(1))
    own, wrong = match_logits(joint, a, b, torch.tensor(5.0), None)
    assert own.shape == (5,) and wrong.shape == (10,)
    targets = {"text": torch.randn(5, 3), "image": torch.randn(5, 2)}
    blank = torch.zeros(5, 4)
    errors = [
        (joint.restore[n](joint.state(*pair)) - targets[n]).square().mean()
        for n, pair in (("text", (blank, b)), ("image", (a, blank)))
    ]
    assert torch.allclose(masked(joint, a, b, ("text", "image"), targets), sum(errors) / 2)


def test_the_losses_are_weighed_and_those_of_no_weight_left_out() -> None:
    torch.manual_seed(0)
    joint = Joint(4, {"text": 3, "image": 2})
    a, b = unit_rows(5, 4, 2), unit_rows(5, 4, 3)
    targets = {"text": torch.randn(5, 3), "image": torch.randn(5, 2)}
    network = network_of(4, joint).eval()
    found = pair_losses(network, a, b, None, targets, Weights(matching=0.5, masked=2.0))
    total = found["contrastive"] + 0.5 * found["matching"] + 2 * found["masked"]
    assert torch.allclose(found["loss"], total)
    assert "masked" not in pair_losses(network, a, b, None, targets, Weights(1.0, 0.0))


def test_a_signed_root_has_a_gradient_everywhere() -> None:
    x = torch.tensor([-4.0, 0.0, 1e-9, 9.0], requires_grad=True)
    y = signed_root(x)
    assert torch.equal(y.detach(), x.detach().sign() * x.detach().abs().sqrt())
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0.25, 0.0, 0.0, 1 / 6], abs=1e-6)


# -- a store of vectors whose truth is known -----------------------------------------------------


def planted(path: Path, rows: int = 400) -> tuple[Path, float]:
    """Six numbers that both parts show, each turned its own way among as many of its own.

    The second value is the hit@1 of who knows the turns, over test rows and both directions.
    """
    rng = np.random.default_rng(0)
    shared, vectors, seen = rng.standard_normal((rows, 6)), {}, {}
    for name, dim in (("text", 12), ("image", 16)):
        turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        seen[name] = shared + NOISE * rng.standard_normal(shared.shape)
        own = rng.standard_normal((rows, dim - 6))
        vectors[name] = np.concatenate([seen[name], own], axis=1) @ turn
    split = splits(rows, 0.6, 0.2)
    store = write_store(path, vectors, {"split": split})
    test = [i for i, name in enumerate(split) if name == "test"]
    hits = []
    for a, b in (("text", "image"), ("image", "text")):
        expected = seen[a][test] / (1 + NOISE**2)  # of the other part, given this one
        far = ((expected[:, None] - seen[b][test][None]) ** 2).sum(-1)
        hits.append((far.argmin(1) == np.arange(len(test))).mean())
    return store, float(np.mean(hits))


def on_store(path: Path, output: Path, task: str, **told: Any) -> FinetuneConfig:
    tricks = TrickOptions(**{"epochs": 60, "batch": 60, "head_lr": 0.02, **told.pop("tricks", {})})
    return FinetuneConfig(
        **{"task": task, "data": str(path), "output": str(output), "quality": "fast",
           "precision": "fp32", "tricks": tricks, **told}
    )  # fmt: skip


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    return planted(tmp_path_factory.mktemp("planted") / "store")


@pytest.fixture(scope="module")
def store(known: tuple[Path, float]) -> Path:
    return known[0]


def test_retrieval_finds_what_both_parts_show(known: tuple[Path, float], tmp_path: Path) -> None:
    store, best_possible = known
    report = finetune(on_store(store, tmp_path / "m", "retrieval", seeds=2))
    rows = {row["model"]: row for row in report["table"]}
    assert set(rows) == {"linear:ridge", "retrieval"}  # nothing is shared before
    assert 0.8 < best_possible < 1  # chance is 1 / 80
    assert rows["retrieval"]["hit@1"] > 0.65 * best_possible
    assert rows["retrieval"]["mrr"] > rows["linear:ridge"]["mrr"] - 0.02
    assert report["rows"] == {"train": 240, "val": 80, "test": 80, "scored": 80}
    assert rows["retrieval"]["low"] < rows["retrieval"]["hit@1"] < rows["retrieval"]["high"]
    assert [set(r) >= {"seed", "hit@1", "val score"} for r in report["seeds_scores"]] == [True] * 2
    best = max(report["seeds_scores"], key=lambda row: row["val score"])
    assert report["kept_seed"] == best["seed"]
    assert {v["against"] for v in report["verdicts"]} == {"linear:ridge"}
    assert (tmp_path / "m" / "report.html").read_text().count("<svg") >= 2


def test_pretraining_learns_all_three(store: Path, tmp_path: Path) -> None:
    """Six of twelve (of sixteen) coordinates can be given back, less what noise took."""
    report = finetune(on_store(store, tmp_path / "m", "pretrain"))
    worth = report["worth"]
    assert worth["own above any"] > max(0.7, worth["own above hard"]) > 0.55
    most = {n: 6 / 1.09 / (6 * 1.09 + own) for n, own in (("text", 6), ("image", 10))}
    assert 0.4 * most["text"] < worth["restored text"] < most["text"] + 0.05
    assert 0.4 * most["image"] < worth["restored image"] < most["image"] + 0.05
    assert worth["loss"] == pytest.approx(
        worth["contrastive"] + worth["matching"] + worth["masked"], abs=1e-4
    )
    records = [json.loads(line) for line in (tmp_path / "m" / "history.jsonl").open()]
    assert records[-1]["loss"] < records[0]["loss"]
    assert {"contrastive", "matching", "masked", "score"} <= set(records[0])


def test_rows_that_say_nothing_and_rows_of_one_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors = {n: rng.standard_normal((40, 5)) for n in ("text", "image")}
    vectors["text"][3] = 0.0
    columns = {"text": [f"words {i // 2}" for i in range(40)], "split": splits(40)}
    path = write_store(tmp_path / "s", vectors, columns)
    report = finetune(on_store(path, tmp_path / "m", "retrieval", dry_run=True))
    assert report["rows"] == {"train": 19, "val": 8, "test": 12}
    vectors["text"][20:] = np.repeat(vectors["text"][20::2], 2, axis=0)
    vectors["image"] = vectors["text"]
    path = write_store(tmp_path / "twins", vectors, columns)
    told = on_store(path, tmp_path / "m", "retrieval", tricks={"epochs": 1, "head_lr": 1e-9})
    told = replace(told, options={"width": 0})
    report = finetune(told)
    assert report["positives"] == "rows of one text"
    row = next(r for r in report["table"] if r["model"] == "linear:ridge")
    assert row["hit@1"] >= 0.9  # either of the twins is right


# -- raw files and towers ------------------------------------------------------------------------


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
    from mmcli.data.decode import PartTask, decode_parts

    encoder: Any = load(models["clip"], "image", EncoderOptions(), FP32)
    paths = [str(pairs.parent / f"{i:03d}.png") for i in range(8)]
    tasks = [PartTask(i, "image", path, True) for i, path in enumerate(paths)]
    decoded, _, _ = decode_parts(tasks, {"image": (encoder.recipe,)})
    prepared = encoder.prepare([one.values[0] for one in decoded])
    store, _ = planted(tmp_path / "s", rows=60)
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
    from mmcli.align.tower import Branch
    from mmcli.workflows.align_data import DataConfig, load_data

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
                     pretrained=str(tmp_path / "first"), encoders={}, only=("image",))  # fmt: skip
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


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        ({"label": "place"}, UsageError, "--label"),
        ({"tricks": {"mixup": 0.5}}, UsageError, "--mixup"),
        ({"options": {"temprature": "1"}}, UsageError, "temprature"),
        ({"options": {"match": "much"}}, UsageError, "match=much"),
        ({"options": {"temperature": "0"}}, UsageError, "temperature=0"),
        ({"options": {"between": "text+smell"}}, UsageError, "smell"),
        ({"options": {"between": "text"}}, UsageError, "between=text"),
        ({"options": {"between": ("text", "speech")}}, BadInput, "speech"),
        ({"options": {"positive_by": "mood"}}, BadInput, "mood"),
        ({"only": ("text",)}, BadInput, "two parts"),
        ({"strategy": {"": "lore"}}, UsageError, "lore"),
    ],
)
def test_words_that_do_not_fit_are_one_line(
    store: Path, tmp_path: Path, told: Any, error: type[MmcliError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        finetune(on_store(store, tmp_path / "m", "retrieval", **told))
    assert "\n" not in caught.value.message
    assert not (tmp_path / "m").exists()
