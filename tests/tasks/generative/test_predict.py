"""Models on disk: conversations and tables in, answers out; goes on where it was cut off."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.store.predictions import Predictions
from mmcli.workflows.finetune_generative import run
from mmcli.workflows.finetune_generative_files import GenerativeModel, is_generative
from mmcli.workflows.finetune_generative_predict import (
    GenerativePredict,
    ask,
    predict_generative,
)
from mmcli.workflows.verify import verify
from tests.tasks.generative.making import COLOURS, config, lines, paint, rows, table, tiny


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
    assert is_generative(model)
    assert not is_generative(data.parent)
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


def test_one_picture_and_one_question(model: Path, data: Path, tmp_path: Path) -> None:
    predict_generative(told(model, data, tmp_path / "said"))
    found = items(tmp_path / "said")
    said = ask(str(model), str(data.parent / "0.png"), found["question"][0], precision="fp32")
    assert said == found["prediction"][0]
    with pytest.raises(UsageError, match="there is no question"):
        ask(str(model), str(data.parent / "0.png"))
    with pytest.raises(BadInput, match="does not exist"):
        ask(str(model), str(data.parent / "none.png"), "what colour is it?")


def test_a_base_that_was_exchanged_is_found(data: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from mmcli.engine.torch_stack import load_torch
    from mmcli.tasks.generative.loading import find_base, load_network

    folder = shutil.copytree(tiny("llava"), tmp_path / "base")
    given = config(data, tmp_path / "model", "llava", strategy={"": "lora"}, tricks={"epochs": 1})
    run(replace(given, model=f"local:{folder}"))
    network = load_network(find_base(f"local:{folder}"), "float32", "cpu")
    with load_torch().no_grad():
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
    assert (
        ask(str(tmp_path / "model"), str(tmp_path / "9.png"), precision="fp32")
        == (found["prediction"][0])
    )


def test_a_dry_run_says_what_would_learn_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    report = run(config(data, tmp_path / "model", "smolvlm", strategy={"": "lora"}, dry_run=True))
    assert not (tmp_path / "model").exists()
    assert 0 < report["trainable"] < report["parameters"]
    assert report["memory_bytes"] > 4 * report["parameters"]
    assert report["first_rows"][0]["answer"].split() == ["red", "<end_of_utterance>"]
    assert "what colour is it" in report["first_rows"][0]["prompt"]
