"""`finetune --task vqa` with a closed vocabulary: what it learns, writes, resumes and refuses."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, MmcliError, SpaceMismatch, UsageError
from mmcli.store.manifest import read_manifest
from mmcli.workflows.evaluate.predictions import PredictionsConfig
from mmcli.workflows.finetune.config import TrickOptions
from mmcli.workflows.finetune.run import finetune
from mmcli.workflows.finetune.vqa.evaluate import evaluate_vqa
from mmcli.workflows.finetune.vqa.predict import predict_vqa
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.predict.raw import RawPredict
from mmcli.workflows.predict.run import PredictConfig, predict
from mmcli.workflows.verify import verify
from tests.tasks.vqa_rows import config_of, picture_table, token_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return token_store(tmp_path_factory.mktemp("tokens") / "store")


@pytest.fixture(scope="module")
def trained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("trained") / "model"
    return output, finetune(config_of(store, output))


def items(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path / read_manifest(path)["items"]).to_pylist()
    return found


def test_both_say_what_neither_says_alone(trained: tuple[Path, dict[str, Any]]) -> None:
    """The best possible is 1; alone, half of the colours shown, or a quarter of all colours."""
    _, report = trained
    scores = {row["model"]: row["vqa_accuracy"] for row in report["table"]}
    assert scores["votes"] > 0.9
    assert scores["question only"] < 0.45 and scores["picture only"] < 0.7
    for verdict in report["verdicts"]:
        assert verdict["gain"] == pytest.approx(scores["votes"] - scores[verdict["against"]])
        assert verdict["low"] > 0.2 and verdict["p"] < 0.01
    assert report["rows"] == {"train": 240, "val": 80, "test": 80}
    assert report["vocabulary"] == 4 and report["unanswerable"] == 0
    hidden = {row["model"]: row["vqa_accuracy"] for row in report["hidden"]}
    assert max(hidden.values()) < scores["votes"] - 0.2


def test_what_is_written(trained: tuple[Path, dict[str, Any]]) -> None:
    path, _ = trained
    assert verify(path)["ok"]
    assert not (path / "checkpoint").exists()
    manifest = read_manifest(path)
    assert manifest["kind"] == manifest["task"] == "vqa"
    config = json.loads((path / manifest["config"]).read_text("utf-8"))
    assert sorted(config["answers"]) == ["blue", "green", "pink", "red"]
    page = (path / manifest["report"]).read_text("utf-8")
    assert "Most confident errors" in page and "Calibration" in page
    assert "most frequent answer" in page
    history = (path / manifest["history"]).read_text("utf-8").splitlines()
    models = {json.loads(line)["model"] for line in history}
    assert models == {"votes", "question only", "picture only"}


def test_predictions_are_the_models_own_scores(
    trained: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path
) -> None:
    path, report = trained
    output = tmp_path / "predictions"
    told = predict(PredictConfig(str(path), str(store), str(output), split="test"))
    first = report["table"][0]
    assert told["vqa_accuracy"] == pytest.approx(first["vqa_accuracy"])
    rows = items(output)
    manifest = read_manifest(output)
    assert len(rows) == 80 and manifest["task"] == "vqa"
    columns = list(manifest["classes"].values())
    for row in rows:
        shares = {answer: row[column] for answer, column in manifest["classes"].items()}
        assert row["prediction"] == max(shares, key=lambda answer: shares[answer])
        assert row["confidence"] == max(shares.values())
        assert sum(row[column] for column in columns) == pytest.approx(1, abs=1e-5)
    scored = evaluate_vqa(PredictionsConfig(str(output)))
    for measure in ("vqa_accuracy", "exact"):  # the same where a row has one answer
        assert scored["measures"][measure] == pytest.approx(
            {"value": first["vqa_accuracy"], "low": first["low"], "high": first["high"]}
        )
    assert scored["best_possible"] == 1.0
    (colour,) = scored["per_type"]
    assert (colour["type"], colour["rows"]) == ("colour", 80)


def test_predictions_without_the_picture(
    trained: tuple[Path, dict[str, Any]], store: Path, tmp_path: Path
) -> None:
    path, report = trained
    told = predict_vqa(
        RawPredict(str(path), str(store), str(tmp_path / "p"), split="test", without=("image",))
    )
    (row,) = [row for row in report["hidden"] if row["model"] == "no picture"]
    assert told["vqa_accuracy"] == pytest.approx(row["vqa_accuracy"])
    against = tmp_path / "whole"
    predict_vqa(RawPredict(str(path), str(store), str(against), split="test"))
    asked = PredictionsConfig(
        str(against), against=str(tmp_path / "p"), html=str(tmp_path / "page.html")
    )
    other = evaluate_vqa(asked)["against"]
    found = other["measures"]["vqa_accuracy"]
    gain = report["table"][0]["vqa_accuracy"] - row["vqa_accuracy"]
    assert other["rows"] == 80 and found["difference"] == pytest.approx(gain)
    assert found["low"] < gain < found["high"] and found["p"] < 0.01
    assert "Against" in (tmp_path / "page.html").read_text("utf-8")


def test_another_stores_tokens_are_refused(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    from tests.evaluate.small_stores import write_store

    tokens = [np.ones((9, 8), np.float32)] * 4
    vectors = {"image": np.ones((4, 8), np.float32), "text": np.ones((4, 9), np.float32)}
    other = write_store(
        tmp_path / "other",
        vectors,
        sequences={"image": tokens, "text": [np.ones((2, 9), np.float32)] * 4},
        spaces={"image": "other@111111111111"},
    )
    with pytest.raises(SpaceMismatch, match="image"):
        predict_vqa(RawPredict(str(trained[0]), str(other), str(tmp_path / "p")))


def test_answers_of_ten_annotators_by_another_program(tmp_path: Path) -> None:
    """The soft score, whatever the vocabulary; rows without answer or prediction do not count."""
    folder = tmp_path / "said"
    folder.mkdir()
    table = pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "label": ["red", "two", None, "cat"],
            "prediction": ["Red.", "2", "dog", None],
            "answers": [["red"] * 2 + ["pink"] * 8, None, None, ["cat"] * 10],
            "question_type": ["what", "how many", "what", "what"],
        }
    )
    pq.write_table(table, folder / "items.parquet")
    (folder / "manifest.json").write_text('{"format": "mmcli.predictions/1"}')
    found = evaluate_vqa(PredictionsConfig(str(folder), task="vqa"))
    assert found["measures"]["vqa_accuracy"]["value"] == pytest.approx((0.6 + 1) / 2)
    assert found["measures"]["exact"]["value"] == 1.0 and found["best_possible"] == 1.0
    assert (found["scored"], found["without_label"], found["without_prediction"]) == (2, 1, 1)
    assert [row["type"] for row in found["per_type"]] == ["how many", "what"]


class _Stop(Exception):
    """A run that was cut off."""


def stop_at(step: int) -> Listeners:
    """Listeners that end the run at so many steps, of all its models together."""
    seen = [0]

    def progress(done: int, total: int) -> None:
        seen[0] += 1
        if seen[0] == step:
            raise _Stop

    return Listeners(progress=progress)


def test_three_kills_and_a_resume_give_the_same_weights(store: Path, tmp_path: Path) -> None:
    short = {"epochs": 3, "batch": 64, "modality_dropout": 0.2}
    whole = config_of(store, tmp_path / "whole", tricks=short)
    finetune(whole)
    cut = config_of(store, tmp_path / "cut", tricks=short, checkpoint_s=0.0)
    for number, step in enumerate((2, 7, 9)):
        with pytest.raises(_Stop):
            finetune(replace(cut, resume=number > 0), stop_at(step))
    finetune(replace(cut, resume=True))
    ours, theirs = (tmp_path / name / "model.safetensors" for name in ("cut", "whole"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_of_several_seeds_the_best_on_val_is_kept(store: Path, tmp_path: Path) -> None:
    report = finetune(
        config_of(store, tmp_path / "model", seeds=2, tricks={"epochs": 2, "batch": 64})
    )
    by_seed = report["val_by_seed"]
    assert len(by_seed) == 2 and report["kept_seed"] == int(np.argmax(by_seed))


@pytest.mark.parametrize("method", ["early:concat", "hybrid:cross-modal"])
def test_a_fusion_in_its_place(store: Path, tmp_path: Path, method: str) -> None:
    output = tmp_path / "model"
    report = finetune(config_of(store, output, method=method, tricks={"epochs": 2, "batch": 64}))
    assert report["table"][0]["model"] == method
    told = predict_vqa(RawPredict(str(output), str(store), str(tmp_path / "p"), split="test"))
    assert told["vqa_accuracy"] == pytest.approx(report["table"][0]["vqa_accuracy"])


def test_raw_files_by_the_real_command(run_here: Callable[..., Any], tmp_path: Path) -> None:
    """Every picture and question is encoded once; predictions of the files are those trained on."""
    table = picture_table(tmp_path / "data")
    done = run_here(
        "finetune", "--task", "vqa", table, "-o", "model", "--epochs", 2, "--seeds", 1,
        "--precision", "fp32", "--workers", 0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "24 rows ask 2 different questions of 12 pictures" in done.stderr
    report = json.loads((tmp_path / "model/metrics.json").read_text("utf-8"))
    assert report["keys"] == {
        "image": ["image:efficientnet-lite0@3", "image:efficientnet-lite0@4"],
        "text": ["text"],
    }
    done = run_here(
        "predict", "model", table, "-o", "said", "--split", "test", "--precision", "fp32",
        "--workers", 0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run_here("evaluate", "predictions", "said", "--json")
    assert done.returncode == 0, done.stderr
    scored = json.loads(done.stdout)["measures"]["vqa_accuracy"]
    assert scored["value"] == pytest.approx(report["table"][0]["vqa_accuracy"])
    assert not list(tmp_path.glob(".said*"))


def test_dry_run(tmp_path: Path) -> None:
    table = picture_table(tmp_path / "data")
    told = finetune(config_of(table, tmp_path / "model", dry_run=True))
    assert told["vocabulary"] == 3 and told["rows"] == {"train": 12, "val": 4, "test": 8}
    assert told["tokens"]["image"] == [8, 49, 152] and told["trainable"] > 10_000
    assert told["first_rows"][0]["question"] == "what colour is the left half?"
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        (
            {"r3": {"image": "gone.png"}},
            {},
            r"row 4 \(id p1-right\): picture `.*gone.png` does not",
        ),
        ({"r3": {"image": None}}, {}, r"row 4 \(id p1-right\): no picture"),
        ({"r5": {"text": "  "}}, {}, r"row 6 \(id p2-right\): the question is empty"),
        (
            {"r5": {"text": "<image> what is it?"}},
            {},
            r"row 6 \(id p2-right\): the question holds the placeholder `<image>`",
        ),
        (
            {"r7": {"text": "what is " + "very " * 200 + "red?"}},
            {},
            r"row 8 \(id p3-right\): the question is longer than the 128 tokens",
        ),
        (
            {"r8": {"answer": "violet"}},
            {"unseen": "error"},
            r"row 9 \(id p4-left\): answer `violet` of a test row occurs in no train row",
        ),
        (
            {f"r{i}": {"answer": f"colour {i}"} for i in range(24)},
            {},
            "no answer of column `answer` occurs in two train rows",
        ),
    ],
)
def test_bad_rows_are_named_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, str], words: str
) -> None:
    table = picture_table(tmp_path / "data", **changes)
    with pytest.raises(BadInput, match=words):
        finetune(config_of(table, tmp_path / "model", options=options))
    assert not (tmp_path / "model").exists()


def test_what_cannot_be_asked_or_scored_is_counted(tmp_path: Path) -> None:
    """An answer never seen, one that is not known, a broken picture, a question that is empty."""
    changes = {"r8": {"answer": "violet"}, "r9": {"answer": None}, "r3": {"text": ""}}
    table = picture_table(tmp_path / "data", **changes)
    (tmp_path / "data/0.png").write_bytes(b"no picture")
    told: list[str] = []
    config = config_of(table, tmp_path / "model", on_error="skip", tricks={"epochs": 1})
    report = finetune(config, Listeners(told.append))
    (line,) = [line for line in told if line.startswith("1 test rows have answers")]
    assert "(id p4-left): answer `violet`" in line
    assert "1 rows have no answer in `answer`: left out" in told
    assert "1 rows are left out: the question is empty" in told
    assert any("1 pictures cannot be read, 2 rows are left out" in line for line in told)
    assert report["unanswerable"] == 1 and report["rows"] == {"train": 9, "val": 4, "test": 7}
    assert report["vocabulary_ceiling"] == pytest.approx(6 / 7)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    table = picture_table(tmp_path / "data")
    (tmp_path / "data/0.png").write_bytes(b"no picture")
    with pytest.raises(MmcliError, match="p0-left"):
        finetune(config_of(table, tmp_path / "model"))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"tricks": TrickOptions(mixup=0.2)}, "--mixup"),
        ({"strategy": {"": "lora"}}, "--strategy"),
        ({"curve": (0.5,)}, "--curve"),
        ({"method": "late:mean"}, "late:mean"),
        ({"options": {"noise": "loud"}}, "noise=loud"),
        ({"options": {"unsen": "warn"}}, "unsen"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, told: dict[str, Any], words: str) -> None:
    table = picture_table(tmp_path / "data")
    config = replace(config_of(table, tmp_path / "model"), **told)
    with pytest.raises(UsageError, match=words):
        finetune(config)
