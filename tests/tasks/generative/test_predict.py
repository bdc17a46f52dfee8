"""Models on disk: conversations and tables in, answers out; goes on where it was cut off."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.engine.device import Placement
from mmcli.store.predictions import Predictions
from mmcli.tasks.generative.loading import find_base, load_network
from mmcli.tasks.generative.pictures import pictures_of
from mmcli.tasks.generative.tokens import collate, fill
from mmcli.workflows.finetune.generative.files import GenerativeModel
from mmcli.workflows.finetune.generative.merge import merge_generative
from mmcli.workflows.finetune.generative.predict import GenerativePredict, predict_generative
from mmcli.workflows.finetune.generative.rows import load_rows
from mmcli.workflows.finetune.generative.run import run
from mmcli.workflows.predict.one import predict_one
from mmcli.workflows.predict.run import PredictConfig
from mmcli.workflows.predict.source import SourceConfig
from mmcli.workflows.verify import verify
from tests.conftest import Run
from tests.tasks.generative.making import COLOURS, config, lines, paint, rows, table, tiny
from tests.tasks.generative.tiny_parts import torch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("colours"), rows(18))


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on LLaVA."""
    path = tmp_path_factory.mktemp("trained") / "model"
    run(config(data, path, "llava", strategy={"": "lora"}, tricks={"epochs": 8, "lr": 3e-2}))
    return path


def told(model: Path, data: Path, output: Path, **more: Any) -> GenerativePredict:
    given = {"precision": "fp32", "batch": 6, **more}
    return GenerativePredict(str(model), str(data), str(output), **given)


def items(path: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(path / "items.parquet").to_pydict()
    return found


def test_a_model_directory_says_what_it_is(model: Path, data: Path) -> None:
    opened = GenerativeModel.open(model, "full")
    assert opened.config["form"] == "adapter"
    assert opened.config["base"]["reference"] == f"local:{tiny('llava')}"
    assert {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"} <= set(
        opened.manifest["files"]
    )
    assert verify(str(model))["problems"] == []
    metrics = json.loads((model / "metrics.json").read_text())
    assert metrics["rows"] == {"train": 12, "val": 3, "test": 3}
    assert metrics["strategy"] == {"text": "lora", "image": "frozen", "connector": "frozen"}
    assert 0 < metrics["trainable"] < metrics["parameters"]
    assert "from_pretrained" in (model / "README.md").read_text()
    page = (model / "report.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "what colour is it?" in page


def test_predictions_are_read_as_any_others(model: Path, data: Path, tmp_path: Path) -> None:
    report = predict_generative(told(model, data, tmp_path / "said"))
    assert (report["rows"], report["labelled"]) == (18, 18)
    opened = Predictions.open(tmp_path / "said", "full")
    assert len(opened.ids) == 18
    found = items(tmp_path / "said")
    assert found["label"][:3] == list(COLOURS)
    assert found["answers"][0] == ["red"]
    right = [said == label for said, label in zip(found["prediction"], found["label"], strict=True)]
    assert report["scores"]["exact"] == pytest.approx(sum(right) / 18)


def test_rows_without_answers_get_one_too(model: Path, data: Path, tmp_path: Path) -> None:
    made = [{k: v for k, v in row.items() if k != "answer"} for row in rows(18)]
    bare = lines(data.parent / "bare.jsonl", made)
    report = predict_generative(told(model, bare, tmp_path / "said"))
    assert report["labelled"] == 0
    assert "scores" not in report
    assert items(tmp_path / "said")["label"] == [None] * 18


def test_a_run_cut_off_goes_on_and_says_the_same(model: Path, data: Path, tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done >= 6:
            raise Cut

    predict_generative(told(model, data, tmp_path / "whole"))
    with pytest.raises(Cut):
        predict_generative(told(model, data, tmp_path / "cut"), stop)
    with pytest.raises(BadInput, match="unfinished"):
        predict_generative(told(model, data, tmp_path / "cut"))
    seen: list[int] = []
    predict_generative(
        told(model, data, tmp_path / "cut", resume=True), lambda done, total: seen.append(done)
    )
    assert min(seen) > 6  # the first batch was not written again
    assert items(tmp_path / "cut") == items(tmp_path / "whole")


def test_without_pictures_it_cannot_tell_them_apart(
    model: Path, data: Path, tmp_path: Path
) -> None:
    predict_generative(told(model, data, tmp_path / "said", without=("image",)))
    found = items(tmp_path / "said")
    by_question = {q: set() for q in found["question"]}
    for question, answer in zip(found["question"], found["prediction"], strict=True):
        by_question[question].add(answer)
    assert all(len(said) == 1 for said in by_question.values())
    with pytest.raises(UsageError, match="--without text"):
        predict_generative(told(model, data, tmp_path / "other", without=("text",)))


def test_the_command_answers_rows_and_one_question(
    model: Path, data: Path, tmp_path: Path, run_here: Run
) -> None:
    done = run_here(
        "predict", model, data, "-o", "said", "--split", "test", "--precision", "fp32", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 3
    found = items(tmp_path / "said")
    asked = [*("--image", data.parent / "15.png"), *("--text", found["question"][0])]
    done = run_here("predict", model, *asked, "--precision", "fp32", "--json")
    assert json.loads(done.stdout)["prediction"] == found["prediction"][0]
    done = run_here("predict", model, "--image", data.parent / "15.png")
    assert done.returncode == 3
    assert "question" in done.stderr
    done = run_here("predict", model, data, "-o", "other", "--contributions")
    assert done.returncode == 2


def test_an_adapter_is_merged_into_a_folder_of_transformers(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """Logits of the merged model are those of base and adapter, to 1e-5."""
    merge_generative(str(model), str(tmp_path / "whole"))
    opened = GenerativeModel.open(model)
    base = opened.base()
    pair = opened.network(base, Placement("cpu", "float32"))
    whole = load_network(find_base(f"local:{tmp_path / 'whole'}"), "float32", "cpu")
    dialect = opened.dialect(base)
    one = load_rows(str(data), "vqa").examples[0]
    row = fill(dialect.line(one, True), [dialect.picture(p) for p in pictures_of(one)])
    inputs = collate([row], dialect, answered=True).inputs
    with torch.no_grad():
        found, plain = dialect.logits(pair, inputs), dialect.logits(whole, inputs)
        before = dialect.logits(load_network(base, "float32", "cpu"), inputs)
    torch.testing.assert_close(plain, found, atol=1e-5, rtol=1e-5)
    assert float((found - before).abs().max()) > 1e-2
    with pytest.raises(BadInput, match="is not empty"):
        merge_generative(str(model), str(tmp_path / "whole"))
    merge_generative(str(model), str(tmp_path / "whole"), adapter=True, force=True)
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}


def test_a_base_that_was_exchanged_is_found(data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("llava"), tmp_path / "base")
    given = config(data, tmp_path / "model", "llava", strategy={"": "lora"}, tricks={"epochs": 1})
    run(replace(given, model=f"local:{folder}"))
    network = load_network(find_base(f"local:{folder}"), "float32", "cpu")
    with torch.no_grad():
        network.lm_head.weight.add_(1.0)
    network.save_pretrained(folder)
    with pytest.raises(BadInput, match="has other weights than when"):
        predict_generative(told(tmp_path / "model", data, tmp_path / "said"))


def test_replacing_a_model_leaves_nothing_of_it(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    run(config(data, path, "llava", strategy={"": "lora"}, tricks={"epochs": 1}))
    with pytest.raises(BadInput, match="already holds a model"):
        run(config(data, path, "llava", tricks={"epochs": 1}))
    run(config(data, path, "llava", tricks={"epochs": 1}, force=True))
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    assert folders == ["model.g1"]
    assert verify(str(path))["problems"] == []


def test_conversations_are_learned_and_answered_as_they_are(tmp_path: Path) -> None:
    """Two turns, a system's words, ShareGPT's names; splits are read from the rows."""
    made = []
    for number in range(12):
        colour = list(COLOURS)[number % 3]
        paint(tmp_path, number, colour)
        split = "test" if number >= 9 else "train"
        if number % 2:
            turns = [
                {"role": "system", "content": "it is helpful"},
                {"role": "user", "content": "<image>\nwhat colour is it?"},
                {"role": "assistant", "content": colour},
                {"role": "user", "content": "where is it?"},
                {"role": "assistant", "content": "left"},
            ]
            made.append({"messages": turns, "images": [f"{number}.png"], "split": split})
        else:
            said = [
                {"from": "human", "value": "<image>\nwhat colour is it?"},
                {"from": "gpt", "value": colour},
            ]
            made.append({"conversations": said, "image": f"{number}.png", "split": split})
    data = lines(tmp_path / "talk.jsonl", made)
    report = run(config(data, tmp_path / "model", "qwen2-vl", tricks={"epochs": 6}))
    assert report["rows"] == {"train": 8, "val": 1, "test": 3}
    assert report["prompt"] == ""
    predict_generative(told(tmp_path / "model", data, tmp_path / "said"))
    found = items(tmp_path / "said")
    assert found["label"][:3] == ["red", "left", "blue"]
    assert found["question"][:2] == ["what colour is it?", "where is it?"]


def test_captions_are_judged_a_picture_at_a_time(tmp_path: Path) -> None:
    made = []
    for number in range(12):
        colour = list(COLOURS)[number % 3]
        paint(tmp_path, number, colour)
        for words in (f"a {colour} square", f"the picture is {colour}"):
            made.append({"image": f"{number}.png", "caption": words,
                         "split": "test" if number >= 9 else "train"})  # fmt: skip
    data = lines(tmp_path / "captions.jsonl", made)
    report = run(
        config(
            data, tmp_path / "model", "blip-caption", task="caption",
            options={"max_new_tokens": "5"}, tricks={"epochs": 10},
        )
    )  # fmt: skip
    assert report["rows"] == {"train": 16, "val": 2, "test": 6}  # both captions of a picture
    assert report["table"][-1]["n"] == 3
    assert report["label"] == "caption"
    assert report["table"][-1]["bleu_4"] > 0
    predict_generative(told(tmp_path / "model", data, tmp_path / "said", split="test"))
    found = items(tmp_path / "said")
    assert found["prediction"][0] == found["prediction"][1]  # one picture, one caption
    one = PredictConfig(
        str(tmp_path / "model"), "", "", source=SourceConfig(precision="fp32", device="cpu")
    )
    said = predict_one(one, {"image": str(tmp_path / "9.png")})
    assert said["prediction"] == found["prediction"][0]


def test_a_dry_run_says_what_would_learn_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    report = run(config(data, tmp_path / "model", "smolvlm", strategy={"": "lora"}, dry_run=True))
    assert not (tmp_path / "model").exists()
    assert 0 < report["trainable"] < report["parameters"]
    assert report["memory_bytes"] > 4 * report["parameters"]
    assert report["first_rows"][0]["answer"].split() == ["red", "<end_of_utterance>"]
    assert "what colour is it" in report["first_rows"][0]["prompt"]
