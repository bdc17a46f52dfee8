"""Predictions of other programs as plain tables: scored as the same in a directory."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput
from mmcli.workflows.evaluate.predictions import PredictionsConfig, evaluate_predictions
from tests.conftest import Run
from tests.evaluate.small_predictions import guesses, write_predictions

NAMES = ("ant", "bee", "cow, brown")


def score(path: Path, **options: Any) -> dict[str, Any]:
    report = evaluate_predictions(PredictionsConfig(str(path), bootstrap=50, **options))
    report.pop("predictions")
    return report


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_is_scored_as_a_directory_is(tmp_path: Path, kind: str) -> None:
    columns = {**guesses(120, NAMES), "voice": ["f", "m"] * 60}
    classes = {name: f"probability_{name}" for name in NAMES}
    folder = write_predictions(tmp_path / "folder", columns, classes=classes)
    table = pq.read_table(folder / "items.parquet")
    file = tmp_path / f"told.{kind}"
    if kind == "parquet":
        pq.write_table(table, file)
    elif kind == "jsonl":
        file.write_text(pa.Table.to_pandas(table).to_json(orient="records", lines=True), "utf-8")
    else:
        options = pa_csv.WriteOptions(delimiter="," if kind == "csv" else "\t")
        pa_csv.write_csv(table, file, options)
    asked = {"slices": ("voice",), "group_by": "voice"}
    given, expected = score(file, **asked), score(folder, **asked)
    assert given["probabilities"] and given["classes"] == 3
    for name, entry in expected["measures"].items():
        assert given["measures"][name] == pytest.approx(entry, abs=1e-6, nan_ok=True), name
    assert given["slices"].keys() == expected["slices"].keys() == {"voice"}
    others = {**guesses(120, NAMES, seed=5), "label": columns["label"]}
    other = write_predictions(tmp_path / "other", others, classes=classes)
    for this, that in ((file, other), (folder, file)):
        assert "accuracy" in score(this, against=str(that))["against"]["measures"]


def test_columns_of_probabilities_name_their_classes(tmp_path: Path) -> None:
    file = tmp_path / "told.csv"
    rows = ["id,label,prediction,probability_0,probability_1", "a,0,0,0.9,0.1", "b,0,0,0.8,0.2"]
    file.write_text("\n".join(rows) + "\n", "utf-8")
    report = score(file, task="classification")
    assert (report["classes"], report["positive"]) == (2, "1")
    assert report["measures"]["brier_score"]["value"] == pytest.approx((0.1**2 + 0.2**2) / 2)
    rows[1] = "a,0,2,0.9,0.1"
    file.write_text("\n".join(rows) + "\n", "utf-8")
    with pytest.raises(BadInput, match="no column `probability_2`"):
        score(file, task="classification")


def test_numbers_and_rows_without_a_label(tmp_path: Path) -> None:
    file = tmp_path / "told.csv"
    file.write_text("id,label,prediction\na,1.5,1\nb,,2\nc,3,3.5\nd,0,0\n", "utf-8")
    report = score(file)
    assert (report["task"], report["scored"], report["without_label"]) == ("regression", 3, 1)
    assert report["measures"]["mae"]["value"] == pytest.approx(1 / 3)


def test_gaps_in_numbers_are_gaps(tmp_path: Path) -> None:
    file = tmp_path / "told.csv"
    file.write_text(
        "id,label,prediction,probability_0,probability_1\n"
        "a,1.0,1,0.2,0.8\nb,0.0,0,0.9,0.1\nc,,1,0.3,0.7\nd,1.0,0,0.6,0.4\n",
        "utf-8",
    )
    report = score(file)
    assert (report["task"], report["classes"], report["probabilities"]) == (
        "classification",
        2,
        True,
    )
    assert (report["scored"], report["without_label"]) == (3, 1)
    assert report["measures"]["accuracy"]["value"] == pytest.approx(2 / 3)
    file.write_text("id,label,prediction\na,1,nan\nb,2,2.5\nc,3,2\n", "utf-8")
    report = score(file)
    assert (report["task"], report["scored"], report["without_prediction"]) == ("regression", 2, 1)
    assert report["measures"]["mae"]["value"] == pytest.approx(0.75)
    file.write_text("id,label,prediction\na,nan,nan\nb,pan,pan\n", "utf-8")
    assert score(file)["measures"]["accuracy"]["value"] == 1, "a bread is a class"


def test_what_is_wrong_is_named(tmp_path: Path, run_here: Run) -> None:
    file = tmp_path / "told.csv"
    file.write_text("id,label\na,x\n", "utf-8")
    with pytest.raises(BadInput, match=r"told\.csv` has no column `prediction`"):
        score(file)
    file.write_text("id,label,prediction\na,x,y\na,x,x\n", "utf-8")
    with pytest.raises(BadInput, match=r"told\.csv:row 2: id `a`"):
        score(file)
    file.write_text("id,label,prediction\na,low,high\nb,high,low\n", "utf-8")
    with pytest.raises(BadInput, match="does not say the order of the classes"):
        score(file, task="ordinal")
    done = run_here("evaluate", "predictions", "told.csv", "--task", "vqa")
    assert done.returncode == 2 and "is a table" in done.stderr
    done = run_here("evaluate", "predictions", "told.csv", "--bootstrap", "0", "-q")
    assert done.returncode == 0 and "accuracy" in done.stdout


def test_an_empty_table_is_bad_input(tmp_path: Path) -> None:
    empty = pa.table({n: pa.array([], pa.string()) for n in ("id", "label", "prediction")})
    pq.write_table(empty, tmp_path / "none.parquet")
    with pytest.raises(BadInput, match="no rows"):
        score(tmp_path / "none.parquet")


def test_columns_changed_about_are_told(tmp_path: Path) -> None:
    """Every prediction wrong and every probability right: accuracy 0 beside ROC-AUC 1."""
    columns = guesses(120, NAMES)
    classes = {name: f"probability_{name}" for name in NAMES}
    right = score(write_predictions(tmp_path / "right", columns, classes=classes))
    turned = dict(zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True))
    columns["prediction"] = [turned[name] for name in columns["prediction"]]
    wrong = score(write_predictions(tmp_path / "wrong", columns, classes=classes))
    told = "in 120 of 120 rows the prediction is not the class of the highest probability"
    assert any(line.startswith(told) for line in wrong["warnings"])
    assert not any("highest probability" in line for line in right["warnings"])
