"""Every family, from random weights on disk: it learns, answers, and answers alike when loaded."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmcli.workflows.finetune.generative.predict import GenerativePredict, predict_generative
from mmcli.workflows.finetune.generative.run import run
from tests.tasks.generative.making import COLOURS, config, rows, table
from tests.tasks.generative.tiny_parts import torch
from tests.tasks.generative.tiny_vlms import BUILDERS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("colours"), rows(18))


def said(predictions: Path) -> dict[str, str]:
    found = pq.read_table(predictions / "items.parquet")
    return dict(
        zip(found.column("id").to_pylist(), found.column("prediction").to_pylist(), strict=True)
    )


@pytest.mark.parametrize("name", BUILDERS)
def test_a_family_learns_answers_and_answers_alike_when_loaded(
    name: str, data: Path, tmp_path: Path
) -> None:
    tricks = {"lr": 0.02, "epochs": 14} if name == "paligemma" else {}  # it has 1,200 words
    report = run(config(data, tmp_path / "model", name, tricks=tricks))
    history = [json.loads(line) for line in (tmp_path / "model/history.jsonl").open()]
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["score"] > history[0]["score"] + 0.5  # nats a token, of rows not learned
    predict_generative(
        GenerativePredict(
            str(tmp_path / "model"),
            str(data),
            str(tmp_path / "said"),
            split="test",
            precision="fp32",
            batch=6,
        )
    )
    written = {one["id"]: one["said"] for one in report["examples"]}
    assert said(tmp_path / "said") == written
    assert len(written) == 3
    assert set(written.values()) <= set(COLOURS)  # after twenty steps it says nothing else


@pytest.mark.parametrize("name", ["llava", "blip-2-t5"])
def test_the_same_in_bf16_where_the_model_is_written_in_bf16(
    name: str, data: Path, tmp_path: Path
) -> None:
    report = run(config(data, tmp_path / "model", name, precision="bf16"))
    told = GenerativePredict(
        str(tmp_path / "model"), str(data), str(tmp_path / "said"), split="test", precision="bf16",
        batch=6,
    )  # fmt: skip
    predict_generative(told)
    assert said(tmp_path / "said") == {one["id"]: one["said"] for one in report["examples"]}
    from safetensors.torch import load_file

    kept = load_file(tmp_path / "model/model/model.safetensors")
    assert {value.dtype for value in kept.values() if value.is_floating_point()} <= {
        torch.bfloat16,
        torch.float32,  # what transformers itself keeps so
    }
    assert any(value.dtype == torch.bfloat16 for value in kept.values())


def test_it_answers_by_what_it_sees(data: Path, tmp_path: Path) -> None:
    """One question, three colours: a model that could not see is right for a third."""
    told = config(
        data, tmp_path / "model", "llava", options={"baselines": "yes"},
        tricks={"epochs": 16}, metric="exact",
    )  # fmt: skip
    report = run(told)
    scores = {row["model"]: row["vqa_accuracy"] for row in report["table"]}
    assert scores["tuned"] == 1.0
    assert scores["pictures hidden"] <= 1 / 3
    assert scores["base"] <= 1 / 3
    assert scores["most frequent answer"] == pytest.approx(1 / 3)
    assert report["kinds"] == {"colour": {"score": 1.0, "low": 1.0, "high": 1.0, "n": 3}}
