"""`finetune` of labels from raw files: stages, strategies, resuming, and what other verbs do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, MmcliError, UsageError
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.engine.encode import encode_parts
from mmcli.metrics.choice import measures_for
from mmcli.store.manifest import read_manifest
from mmcli.store.tensors import load_tensors
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.finetune.run import finetune
from mmcli.workflows.finetune.supervised import val_fell
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.merge import MergeConfig, merge
from mmcli.workflows.predict.one import predict_one
from mmcli.workflows.predict.run import PredictConfig, predict
from mmcli.workflows.predict.source import SourceConfig
from mmcli.workflows.runs import compare_runs
from tests.fusion.making import bits, splits, write_store
from tests.tasks.small_posts import config_of, tiny_clip, write_posts

pytestmark = pytest.mark.usefixtures("few_resamples", "short_heads")

EXACT = SourceConfig(precision="fp32", workers=0)
LORA = {"": "lora"}


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_posts(tmp_path_factory.mktemp("posts"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def tuned(
    posts: Path,
    clip: Path,
    few_resamples: None,
    short_heads: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model whose towers were tuned by lora."""
    output = tmp_path_factory.mktemp("tuned") / "model"
    finetune(config_of(posts, output, clip, strategy=LORA))
    return output


def rows_of(path: Path) -> list[dict[str, Any]]:
    manifest = read_manifest(path)
    return pq.read_table(path / manifest["items"]).to_pylist()


def test_predictions_of_files_are_the_models_own_scores(
    tuned: Path, posts: Path, tmp_path: Path
) -> None:
    """Files go through the saved towers to the accuracy that was measured while training."""
    output = tmp_path / "predictions"
    config = PredictConfig(str(tuned), str(posts), str(output), source=EXACT)
    report = predict(config)
    metrics = json.loads((tuned / "metrics.json").read_text())
    names = {json.loads(line)["id"]: json.loads(line) for line in posts.open()}
    test = [row for row in rows_of(output) if names[row["id"]]["split"] == "test"]
    right = np.mean([row["prediction"] == names[row["id"]]["label"] for row in test])
    assert report["rows"] == len(names) and len(test) == 16
    assert right == pytest.approx(metrics["model_scores"]["accuracy"])
    own = -np.mean([np.log(row[f"probability_{row['label']}"]) for row in test])
    assert own == pytest.approx(metrics["model_scores"]["log_loss"], abs=1e-5)
    assert not (tmp_path / ".predictions.features").exists()


def test_one_item_is_predicted_as_among_others(tuned: Path, posts: Path, tmp_path: Path) -> None:
    first = json.loads(posts.read_text().splitlines()[0])
    config = PredictConfig(str(tuned), "", "", source=EXACT)
    found = predict_one(
        config, {"text": first["text"], "image": str(posts.parent / first["image"])}
    )
    predict(replace(config, store=str(posts), output=str(tmp_path / "all")))
    row = rows_of(tmp_path / "all")[0]
    assert found["prediction"] == row["prediction"]
    for name, share in found["probabilities"].items():
        assert share == pytest.approx(row[f"probability_{name}"], abs=1e-6)


def test_a_tuned_tower_is_an_encoder(tuned: Path, posts: Path, clip: Path, tmp_path: Path) -> None:
    base = extract_with(f"local:{clip}", posts, tmp_path / "base")
    found = extract_with(f"model:{tuned}", posts, tmp_path / "tuned")
    assert base["text"]["space"] != found["text"]["space"]
    assert found["text"]["space"].startswith("clip-tuned@")
    old, new = (load_tensors(tmp_path / n / "text-00000.safetensors") for n in ("base", "tuned"))
    assert np.abs(old["embeddings"] - new["embeddings"]).max() > 1e-3


def extract_with(reference: str, posts: Path, output: Path) -> Any:
    config = ExtractConfig(
        str(posts), str(output), encoders={"text": (reference,)}, only=("text",), precision="fp32"
    )
    return extract(config)["keys"] and read_manifest(output)["keys"]


def test_a_merged_tower_is_a_plain_folder(tuned: Path, tmp_path: Path) -> None:
    told = merge(MergeConfig(str(tuned), str(tmp_path / "plain"), tower="text"))
    assert told["form"] == "merged weights"
    texts = ["a cat on the mat", "blue sea", "the dog"]
    placement = Placement("cpu", "float32")
    vectors = [
        encode_parts(load(reference, "text", EncoderOptions(), placement), texts).pooled
        for reference in (f"model:{tuned}", f"local:{tmp_path / 'plain'}")
    ]
    assert (vectors[0] - vectors[1]).abs().max() < 1e-5


def test_nothing_that_is_read_is_replaced(
    tuned: Path, posts: Path, clip: Path, tmp_path: Path
) -> None:
    """`--force` replaces an output, never a model, its base, a store or a table it is made of."""
    link, inner = tmp_path / "link", tuned / "manifest.json"
    link.symlink_to(tuned)
    kept = {place: sorted(place.rglob("*")) for place in (tuned, clip, posts.parent)}
    for output in (tuned, link, tuned.parent, clip, clip.parent):
        with pytest.raises(BadInput, match="is or holds the input"):
            merge(MergeConfig(str(tuned), str(output), tower="text", force=True))
    extract_with(f"local:{clip}", posts, tmp_path / "store")
    with pytest.raises(BadInput, match="holds something else"):
        merge(MergeConfig(str(tuned), str(tmp_path / "store"), tower="text", force=True))
    for told in ({"pretrained": str(tuned)}, {"encoders": {"text": (f"model:{tuned}#text",)}}):
        with pytest.raises(BadInput, match="is the input itself"):
            finetune(config_of(posts, link, clip, force=True, **told))
    with pytest.raises(BadInput, match="lies in `-o"):
        extract(ExtractConfig(str(tmp_path / "store/items-00000.parquet"),
                              str(tmp_path / "store"), force=True))  # fmt: skip
    predict(PredictConfig(str(tuned), str(posts), str(tmp_path / "p"), source=EXACT))
    own = str(tmp_path / "p" / read_manifest(tmp_path / "p")["items"])
    with pytest.raises(BadInput, match="lies in `-o"):
        predict(PredictConfig(str(tuned), own, str(tmp_path / "p"), source=EXACT, force=True))
    assert inner.is_file() and kept == {place: sorted(place.rglob("*")) for place in kept}


def test_an_adapter_is_a_peft_folder(tuned: Path, clip: Path, tmp_path: Path) -> None:
    merge(MergeConfig(str(tuned), str(tmp_path / "adapter"), tower="text", adapter=True))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["r"] == 8


def test_the_model_says_what_was_tuned(tuned: Path, clip: Path) -> None:
    config = json.loads((tuned / "config.json").read_text())
    assert set(config["towers"]) == {"image", "text"}
    text = config["towers"]["text"]
    assert text["strategy"] == "lora" and text["reference"] == f"local:{clip}"
    state = load_tensors(tuned / text["file"])
    assert all("lora_" in name for name in state)
    assert sum(v.size for v in state.values()) == text["trainable"] < text["parameters"]
    stages = [json.loads(line).get("stage") for line in (tuned / "history.jsonl").open()]
    assert stages.count("tune") == 2


def test_a_run_cut_off_three_times_gives_the_same_weights(
    tuned: Path, posts: Path, clip: Path, tmp_path: Path
) -> None:
    """While features are extracted, while heads learn and while towers do; every step is kept."""
    config = config_of(posts, tmp_path / "cut", clip, strategy=LORA, checkpoint_s=0.0)
    ends = []
    for number, last in enumerate((3, 16, 13)):
        left = last

        def stop(done: int, total: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                ends.append((done, total))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            finetune(replace(config, resume=number > 0), Listeners(progress=stop))
    assert ends == [(43, 72), (7, 16), (4, 10)]
    finetune(replace(config, resume=True))
    for name in ("model.safetensors", "tower-image.safetensors", "tower-text.safetensors"):
        assert (tuned / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name


def test_a_store_of_vectors_alone(clip: Path, tmp_path: Path) -> None:
    """It has nothing to embed, which a dry run does not ask for, and no encoder that is known."""
    signs = np.where(np.arange(40) % 2, 1.0, -1.0)
    columns = {"label": ["a", "b"] * 20, "split": splits(40)}
    store = write_store(tmp_path / "store", {"text": bits(40, 4, signs, 0)}, columns)
    asked = config_of(store, tmp_path / "m", clip, encoders={})
    report = finetune(replace(asked, dry_run=True))
    assert (report["items"], report["trainable"], report["towers"]) == (40, 0, {})
    with pytest.raises(BadInput, match="no column `lable`"):
        finetune(replace(asked, dry_run=True, label="lable"))
    trained: list[Any] = []
    listeners = Listeners(progress=lambda done, total: trained.append(done))
    for dry in (True, False):
        with pytest.raises(BadInput, match=r"key `text` of .* `made-text`"):
            finetune(replace(asked, dry_run=dry, strategy=LORA), listeners)
    assert not trained and not (tmp_path / "m").exists()


def test_a_dry_run_on_a_store_shows_its_own_encoders(
    posts: Path, clip: Path, tmp_path: Path
) -> None:
    extract_with(f"local:{clip}", posts, tmp_path / "store")
    asked = config_of(tmp_path / "store", tmp_path / "m", clip, encoders={}, strategy=LORA)
    report = finetune(replace(asked, dry_run=True))
    (name,) = report["towers"]
    assert name == "text:clip" and report["towers"][name]["strategy"] == "lora"
    assert 0 < report["trainable"] < report["parameters"] and report["seconds_tuning"] > 0
    assert "tokens" in report["towers"][name]["first_row"]


def test_frozen_towers_are_not_written(posts: Path, clip: Path, tmp_path: Path) -> None:
    strategy = {"image": "frozen", "text": "bitfit"}
    finetune(config_of(posts, tmp_path / "m", clip, strategy=strategy))
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert set(config["towers"]) == {"text"}
    state = load_tensors(tmp_path / "m" / "tower-text.safetensors")
    assert all(name.endswith("bias") for name in state)


def test_a_second_stage_starts_from_the_first(
    tuned: Path, posts: Path, clip: Path, tmp_path: Path
) -> None:
    config = config_of(posts, tmp_path / "m", clip, pretrained=str(tuned), encoders={})
    report = finetune(config)
    keys = json.loads((tmp_path / "m" / "config.json").read_text())["keys"]
    assert keys["text"]["text"]["space"].startswith("clip-tuned@")
    assert report["method"] == "early:concat"


def test_runs_are_compared(tuned: Path) -> None:
    (row,) = compare_runs([str(tuned.parent)])
    assert row["method"] == "early:concat + lora" and row["metric"] == "accuracy"
    assert row["scored_rows"] == "test"


def test_tricks_together_still_train(posts: Path, clip: Path, tmp_path: Path) -> None:
    tricks = {
        "mixup": 0.4,
        "smoothing": 0.1,
        "ema": 0.9,
        "accumulate": 2,
        "checkpointing": True,
        "layer_decay": 0.8,
        "average": 2,
        "balanced": True,
    }
    report = finetune(config_of(posts, tmp_path / "m", clip, strategy={"": "full"}, tricks=tricks))
    assert report["tuning"]["towers"]["text"]["trainable"] > 10_000
    assert np.isfinite(report["table"][-1]["accuracy"])


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        ({"task": "sentimant"}, UsageError, "sentimant"),
        ({"strategy": {"": "lore"}}, UsageError, "lore"),
        ({"strategy": {"smell": "lora"}}, UsageError, "smell"),
        ({"quality": "good"}, UsageError, "good"),
        ({"options": {"nope": "1"}}, UsageError, "`--task classification` knows no `nope`"),
        ({"options": {"tabular": "x"}}, UsageError, "`--set tabular=x`"),
        ({"label": "mood"}, BadInput, "mood"),
        ({"data": "nowhere.jsonl"}, BadInput, "nowhere.jsonl"),
        ({"shots": (1,), "task": "event"}, UsageError, "--shots"),
        ({"model": "local:x"}, UsageError, "--model"),
        ({"pretrained": "nowhere"}, BadInput, "nowhere"),
    ],
)
def test_words_that_do_not_fit_are_one_line(
    posts: Path, clip: Path, tmp_path: Path, told: Any, error: type[MmcliError], words: str
) -> None:
    with pytest.raises(error, match=words):
        finetune(config_of(posts, tmp_path / "m", clip, **told))
    assert not (tmp_path / "m" / "manifest.json").exists()


def test_errors_name_the_table_and_not_what_was_made_of_it(
    posts: Path, clip: Path, tmp_path: Path
) -> None:
    path = posts.with_name("tests_only.jsonl")
    rows = [json.loads(line) | {"split": "test"} for line in posts.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:8]))
    with pytest.raises(BadInput) as refused:
        finetune(config_of(path, tmp_path / "m", clip))
    assert refused.value.message == f"no row of `{path}` is `train` (column split)"
    with pytest.raises(BadInput, match="no column `labl`"):
        finetune(config_of(posts, tmp_path / "m", clip, label="labl"))
    assert not (tmp_path / "m").exists(), "nothing was embedded for it"
    with pytest.raises(UsageError, match="`--text` is blank"):
        predict_one(PredictConfig(str(tmp_path / "m"), "", ""), {"text": " "})


def test_a_sentiment_outside_its_scale_names_the_row(
    posts: Path, clip: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in posts.open()]
    lines[5]["score"] = 7.5
    path = posts.parent / "wide.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadInput, match=r"p005: `score` is 7\.5"):
        finetune(config_of(path, tmp_path / "m", clip, task="sentiment", label="score"))


@pytest.mark.parametrize(("measure", "told"), [("accuracy", True), ("log_loss", False)])
def test_tuning_that_made_val_worse_is_told(measure: str, told: bool) -> None:
    """Of a measure whose lower values are better, the same numbers are a gain."""
    rows = [
        {"model": "late:mean", f"val {measure}": 0.717},
        {"model": "tuned", f"val {measure}": 0.65},
    ]
    report = {"method": "late:mean", "table": rows}
    found = val_fell(report, "tuned", measures_for("classes")[measure])
    assert bool(found) == told and all("0.650" in line and "0.717" in line for line in found)
    assert val_fell(report, "", measures_for("classes")[measure]) == []
