"""Whole ladders on stores whose best possible score is known, and what they leave on the disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.store.reader import Store
from mmcli.store.verification import verify_directory
from mmcli.tuning.few_shot.model import FewShotModel
from mmcli.tuning.few_shot.registry import RungSpec
from mmcli.workflows.few_shot.climb import RowRung
from mmcli.workflows.few_shot.data import Draw, Rows
from mmcli.workflows.few_shot.predict import predict_few_shot, split_file_of
from mmcli.workflows.few_shot.report import ladder_rows
from mmcli.workflows.few_shot.run import plan, run, run_on_store
from mmcli.workflows.listeners import Listeners
from mmcli.workflows.runs import compare_runs
from tests.evaluate.small_stores import unit, write_store
from tests.few_shot.making import CLASSES, cloud_store, clouds, told
from tests.index.test_gallery import parse


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cloud_store(tmp_path_factory.mktemp("clouds") / "store", 60)


@pytest.fixture(scope="module")
def climbed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Clouds whose spaces no text encoder shares: the probe alone."""
    model = tmp_path_factory.mktemp("model") / "m"
    heard: list[str] = []
    report = run(told(store, model), Listeners(message=heard.append))
    assert heard == [f"warning: {line}" for line in report["warnings"]]
    return report, model


def cell(report: dict[str, Any], rung: str, shots: int) -> dict[str, Any]:
    (found,) = [c for c in report["ladder"] if (c["rung"], c["shots"]) == (rung, shots)]
    return found


def test_the_probe_rises_towards_what_is_possible(climbed: tuple[dict[str, Any], Path]) -> None:
    """Rows lie round about their centre alike in all directions, so the nearest centre is best."""
    report, _ = climbed
    vectors, labels, centres = clouds(60)
    possible = ((vectors @ centres.T).argmax(axis=1) == labels).mean()
    assert report["rises"] == {"probe": True}
    scores = [cell(report, "probe", shots)["accuracy"]["value"] for shots in (1, 4, 16)]
    assert scores == sorted(scores)
    assert possible - 0.1 < scores[-1] < possible + 0.05
    chance = cell(report, "majority class", 0)
    assert chance["accuracy"]["value"] == 0.25 and chance["macro_f1"]["value"] == 0.1
    assert chance["accuracy"]["high"] < cell(report, "probe", 1)["accuracy"]["value"]
    for shots in (1, 4, 16):
        found = cell(report, "probe", shots)
        assert found["draws"] == 3 and found["rows"] == 4 * shots
        for name in ("accuracy", "macro_f1"):
            assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert [row["shots"] for row in ladder_rows(report)] == [0, 1, 4, 16]


def test_names_are_left_out_where_no_encoder_reads_them(
    store: Path, climbed: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    report, _ = climbed
    assert report["rungs"] == ["probe"] and report["text_key"] is None
    (warning,) = report["warnings"]
    assert "zero-shot, tip-adapter, tip-adapter-f left out" in warning
    for rung in ("zero-shot", "tip-adapter"):
        with pytest.raises(UsageError, match=f"rung `{rung}` reads the classes' names"):
            run(told(store, tmp_path / "m", options={"rungs": (rung, "probe")}))
    assert not (tmp_path / "m").exists()


def test_the_model_says_the_same_elsewhere(
    store: Path, climbed: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    report, path = climbed
    assert verify_directory(path).ok
    model = FewShotModel.open(path)
    assert model.classes == CLASSES and model.spec.name == "probe"
    opened = Store.open(store)
    own = split_rows(opened, SplitOptions(split_file=split_file_of(model)), train=True)
    assert own.counts() == report["rows"]
    rows = own.rows("test")
    shares = predict_few_shot(path, opened, rows)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    _, labels, _ = clouds(60)
    right = (shares.argmax(axis=1) == labels[rows]).mean()
    history = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    assert len(history) == 9 and {h["rung"] for h in history} == {"probe"}
    assert right > 0.75
    # probabilities that say about how often they come true
    assert shares.max(axis=1).mean() == pytest.approx(right, abs=0.1)
    vectors, _, _ = clouds(60)
    has = [n != 2 for n in range(8)]
    given = {"image": vectors[:8], "image:wide": opened.load("image:wide")[:8]}
    spaces = {"image": "made@111111111111", "image:wide": "made@222222222222"}
    part = write_store(tmp_path / "part", given, spaces=spaces, has={"image": has})
    found = predict_few_shot(model, Store.open(part), np.arange(8))
    np.testing.assert_allclose(found[has], predict_few_shot(model, opened, np.arange(8))[has])
    np.testing.assert_allclose(found[2], model.unknown())
    np.testing.assert_allclose(model.unknown(), 0.25, atol=0.01)


def test_a_store_of_other_encoders_is_refused(
    climbed: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    _, path = climbed
    other = write_store(tmp_path / "o", {"image": unit(4, 12), "image:wide": unit(4, 32)})
    with pytest.raises(SpaceMismatch, match="was trained on space"):
        predict_few_shot(path, Store.open(other), np.arange(4))
    fewer = write_store(tmp_path / "f", {"image": unit(4, 12)},
                        spaces={"image": "made@111111111111"})  # fmt: skip
    with pytest.raises(BadInput, match="has no key `image:wide`"):
        predict_few_shot(path, Store.open(fewer), np.arange(4))


def test_the_same_again_and_nothing_overwritten(
    store: Path, climbed: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    report, path = climbed
    again = run(told(store, tmp_path / "m"))
    assert again["ladder"] == report["ladder"]
    assert (tmp_path / "m/model.safetensors").read_bytes() == (
        path / "model.safetensors"
    ).read_bytes()
    with pytest.raises(BadInput, match="already holds a model"):
        run(told(store, tmp_path / "m"))
    run(told(store, tmp_path / "m", shots=(1,), draws=1, force=True))
    assert FewShotModel.open(tmp_path / "m").config["run"]["shots"] == [1]
    (tmp_path / "m/config.g1.json").write_text("{}")
    with pytest.raises(BadInput, match=r"config.g1.json"):
        FewShotModel.open(tmp_path / "m", "full")


def test_the_page_and_the_card(climbed: tuple[dict[str, Any], Path]) -> None:
    report, path = climbed
    page = parse((path / "report.html").read_text("utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert sum(tag == "svg" for tag, _ in page.tags) == 3
    text = (path / "report.html").read_text("utf-8")
    for words in ("probe · 16", "majority class", "probe from 1 to 16 shots: rises", "drum"):
        assert words in text
    card = (path / "README.md").read_text("utf-8")
    value = f"{cell(report, 'probe', 16)['accuracy']['value']:.3f}"
    assert f"| probe | 16 | 64 | {value} [" in card
    metrics = json.loads((path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["kept"]["rung"] == "probe"
    assert pq.read_table(path / "splits.parquet").num_rows == 240


def test_it_stands_beside_other_runs(climbed: tuple[dict[str, Any], Path]) -> None:
    report, model = climbed
    (row,) = compare_runs([str(model)])
    kept = report["kept"]
    assert row["method"] == f"{kept['rung']}, {kept['shots']} shots"
    accuracy = cell(report, kept["rung"], kept["shots"])["accuracy"]
    assert (row["metric"], row["score"], row["low"]) == (
        "accuracy",
        accuracy["value"],
        accuracy["low"],
    )
    assert row["scored_rows"] == "test" and row["seconds"] == report["seconds"]["total"]


def test_plans_write_nothing(store: Path, tmp_path: Path) -> None:
    report = run(told(store, tmp_path / "m", dry_run=True, shots=(50, 2)))
    assert report["dry_run"] and report["rungs"] == ["probe"] and not (tmp_path / "m").exists()
    assert report["shots"] == [2, 50] and report["rows"]["test"] == 96
    assert list(report["short"]) == list(CLASSES)
    assert sum(report["short"].values()) == report["rows"]["train"]
    assert plan(told(store, tmp_path / "m"), Store.open(store))["keys"] == ["image", "image:wide"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shots": ()}, "must be at least 1"),
        ({"shots": (1, 0)}, "`--shots 1,0`: must be at least 1"),
        ({"draws": 0}, "`--draws 0`"),
        ({"options": {"rungs": ("prob",)}}, "no few-shot rung is named `prob`"),
        ({"options": {"prompt": "a picture"}}, "has no {} where the class goes"),
        ({"options": {"tabular": ("size",)}}, "`tabular` means nothing to `--shots`"),
        ({"label": ""}, "has none of the columns label, category, class"),
    ],
)
def test_options_that_do_not_fit(
    options: dict[str, Any], says: str, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        run(told(store, tmp_path / "m", **options))
    assert says in caught.value.message
    assert not (tmp_path / "m").exists()


def test_without_val_rows_the_probe_keeps_its_default(store: Path, tmp_path: Path) -> None:
    options = {"splits": SplitOptions(val_fraction=0.0), "shots": (100,), "draws": 1}
    report = run(told(store, tmp_path / "m", **options))
    assert any("no val rows" in line for line in report["warnings"])
    assert report["kept"]["settings"] == {"C": 100.0} and report["kept"]["judge_rows"] == 0
    assert cell(report, "probe", 100)["val_accuracy"] is None
    assert FewShotModel.open(tmp_path / "m").config["temperature"] == 1.0


def test_a_rung_that_reads_rows_stands_in_the_same_table(store: Path, tmp_path: Path) -> None:
    """One that knows every answer, and is told each draw."""
    from mmcli.store.artifact import ArtifactWriter

    _, labels, _ = clouds(60)
    told_of: list[Draw] = []

    def fit(draw: Draw) -> Any:
        told_of.append(draw)

        def say(rows: Rows) -> Any:
            return np.eye(4)[labels[rows]]

        return say

    oracle = RowRung(RungSpec("oracle", "", "knows", "1", "none"), fit)
    config = told(store, tmp_path / "m", shots=(1, 2), draws=2)
    with ArtifactWriter(tmp_path / "m", "mmcli.model", {}, "f") as writer:
        report = run_on_store(config, Store.open(store), writer, others=[oracle])
    assert cell(report, "oracle", 2)["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert [(d.number, len(d.shots)) for d in told_of] == [(0, 4), (1, 4), (0, 8), (1, 8)]
    assert report["kept"]["rung"] == "probe"  # what is kept reads embeddings
    only = told(store, tmp_path / "n", options={"rungs": ("oracle",)})
    with pytest.raises(UsageError, match="no rung on embeddings"):
        plan(only, Store.open(store), [oracle])
