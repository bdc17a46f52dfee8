"""`evaluate predictions` as a command: its output, its errors, its page."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import Run
from tests.evaluate.small_predictions import (
    NAMES,
    classes_of,
    guesses,
    score,
    three_classes,
    values,
    write_predictions,
)
from tests.index.test_gallery import parse

EVIL = "<script>alert('x')</script>\" onload=\"x"


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return three_classes(tmp_path / "three")


def test_the_command(three: Path, run_here: Run) -> None:
    words = ("evaluate", "predictions", three, "--bootstrap", 20)
    done = run_here(*words)
    assert done.returncode == 0, done.stderr
    for word in ("weighted_f1", "roc_auc", "majority_accuracy", "precision", "low", "20 resamples"):
        assert word in done.stdout
    report = json.loads(run_here(*words, "--json").stdout, parse_constant=pytest.fail)
    rows = json.loads(run_here(*words, "--format", "json").stdout)
    assert [row["measure"] for row in rows] == list(report["measures"])
    assert rows[0] == {"measure": "accuracy", **report["measures"]["accuracy"]}
    tsv = run_here(*words, "--format", "tsv").stdout.splitlines()
    assert tsv[0] == "measure\tvalue\tlow\thigh" and len(tsv) == len(rows) + 1
    bare = run_here("evaluate", "predictions", three, "--bootstrap", 0, "--json")
    entry = json.loads(bare.stdout)["measures"]["accuracy"]
    assert entry["low"] is None and entry["value"] == report["measures"]["accuracy"]["value"]
    again = json.loads(run_here(*words, "--json").stdout)
    assert again == report  # the same seed


def test_json_is_strict_where_nothing_is_defined(tmp_path: Path, run_here: Run) -> None:
    one = {"label": ["a", "a"], "prediction": ["a", "a"]}
    write_predictions(tmp_path / "one", one, classes=["a", "b"])
    write_predictions(tmp_path / "flat", {"label": [1.0, 1.0], "prediction": [1.0, 1.0]})
    for name, undefined in (("one", None), ("flat", "pearson")):
        done = run_here("evaluate", "predictions", name, "--json", "--against", name)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout, parse_constant=pytest.fail)
        if undefined:
            assert report["measures"][undefined]["value"] is None
        assert run_here("evaluate", "predictions", name, "--html", f"{name}.html").returncode == 0


def test_what_cannot_be_scored_is_said(three: Path, tmp_path: Path, run_here: Run) -> None:
    empty = write_predictions(tmp_path / "e", {"label": [None, None], "prediction": ["a", "b"]})
    (tmp_path / "page.html").write_text("mine")
    for words, code, says in (
        ((empty,), 3, "both a label and a prediction"),
        ((tmp_path / "nothing",), 3, "does not exist"),
        ((three, "--task", "regresion"), 2, "did you mean `regression`"),
        ((three, "--task", "regression"), 3, "holds string, not numbers"),
        ((three, "--task", "ordinal"), 3, "order of the classes"),
        ((three, "--scale", "sims"), 2, "of sentiment only"),
        ((three, "--task", "sentiment", "--scale", "mosie"), 2, "did you mean `mosi`"),
        ((three, "--bins", 0), 2, "must be 1 to"),
        ((three, "--bootstrap", -1), 2, "at least 0"),
        ((three, "--slice", "voice"), 3, "no column `voice`"),
        ((three, "--group-by", "voice"), 3, "no column `voice`"),
        ((three, "--html", "page.html"), 3, "already exists"),
        ((three, "--html", three / "items.parquet", "--force"), 2, "is not named *.html"),
        ((three, "--html", three / "report.html"), 3, "in a directory of mmcli (mmcli.predictions"),
        ((three, "--format", "yaml"), 2, "`--format yaml` is unknown"),
        ((three, "--items", "no.parquet"), 3, "no.parquet` is missing"),
    ):
        done = run_here("evaluate", "predictions", *words)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert says in done.stderr and len(done.stderr.splitlines()) == 2, done.stderr
    assert (tmp_path / "page.html").read_text() == "mine"


def test_rows_left_out_are_counted(tmp_path: Path, run_here: Run) -> None:
    columns = {
        "label": ["a", None, "b", "z", "a"],
        "prediction": ["a", "a", "a", "a", None],
    }
    write_predictions(tmp_path / "p", columns, classes=["a", "b"])
    done = run_here("evaluate", "predictions", "p", "--json")
    report = json.loads(done.stdout)
    counted = ("rows", "scored", "without_label", "with_unknown_label", "without_prediction")
    assert [report[name] for name in counted] == [5, 2, 1, 1, 1]
    assert report["measures"]["accuracy"]["value"] == 0.5
    assert "1 rows have a label that is no class" in done.stderr
    assert "1 rows have no prediction" in done.stderr


def test_what_zeroshot_writes_is_read(tmp_path: Path) -> None:
    """The columns and manifest of `evaluate zeroshot -o`, in single precision."""
    columns = guesses(80, NAMES)
    for name in NAMES:
        columns[f"probability_{name}"] = pa.array(columns[f"probability_{name}"], pa.float32())
    extra = {"rows": 80, "label": "species", "options": {}, "space": "s@0", "aligner": None}
    path = write_predictions(tmp_path / "z", columns, ours=True, **extra, **classes_of(NAMES))
    assert values(score(path))["accuracy"] > 0.5


def test_the_page(tmp_path: Path, run_here: Run) -> None:
    names = (EVIL, "bee", "cow")
    columns = guesses(200, names)
    shares = {f"probability_{i}": columns.pop(f"probability_{c}") for i, c in enumerate(names)}
    columns |= {**shares, "voice": [EVIL, "b"] * 100}
    manifest = {"classes": {c: f"probability_{i}" for i, c in enumerate(names)}}
    write_predictions(tmp_path / "test", columns, **manifest)
    write_predictions(
        tmp_path / "val", {**columns, "id": [f"v{n}" for n in range(200)]}, **manifest
    )
    done = run_here(
        "evaluate", "predictions", "test", "--calibrate-on", "val", "--against", "test",
        "--slice", "voice", "--html", "page.html", "--bootstrap", 20,
    )  # fmt: skip
    assert done.returncode == 0 and "wrote page.html" in done.stderr
    html = (tmp_path / "page.html").read_text("utf-8")
    page = parse(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    for word in (
        "Reliability",
        "calibrated",
        "temperature",
        "paired bootstrap",
        "voice=",
        "Confus",
    ):
        assert word in page.text
    charts = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(charts) == 2 and "nan" not in "".join(charts)
    curves = [e for e in ElementTree.fromstring(charts[1]).iter() if e.tag == "polyline"]
    assert len(curves) == 2


def test_the_page_of_numbers(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).normal(0, 1, 2500)
    path = write_predictions(tmp_path / "p", {"label": truth, "prediction": truth + 0.1})
    score(path, html=str(tmp_path / "page.html"), bootstrap=5)
    html = (tmp_path / "page.html").read_text("utf-8")
    charts = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    points = [e for e in ElementTree.fromstring(charts[-1]).iter() if e.tag == "circle"]
    assert len(points) == 2000 and "2000 of 2500 rows" in parse(html).text
