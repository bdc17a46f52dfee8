"""`evaluate robustness`: curves of trained fusions against `predict`, and by hand."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import auc, roc_auc_score

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.data.labels import LabelOptions
from mmcli.data.splits import SplitOptions
from mmcli.fusion.objective import Objective
from mmcli.metrics.choice import measures_for
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.robustness import RobustnessConfig, evaluate_robustness
from mmcli.workflows.evaluate.robustness_scores import Judge, affordable, scored, summary
from mmcli.workflows.fuse.data import FuseDataConfig
from mmcli.workflows.fuse.fit import FuseOptions
from mmcli.workflows.fuse.train import FuseConfig, train_fusion
from mmcli.workflows.predict.run import PredictConfig, predict
from tests.conftest import Run
from tests.fusion.making import bits, everything, splits, write_store
from tests.index.test_gallery import parse

ROWS = 240
TEST = slice(168, 240)  # the last three tenths
TWO = ("image", "text")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two modalities and two labels, and a model of each label.

    `kind` is told by both parts together, `size` is a number. Row 239 has no label.
    """
    root = tmp_path_factory.mktemp("robustness")
    rng = np.random.default_rng(0)
    a, b = rng.choice([-1, 1], ROWS), rng.choice([-1, 1], ROWS)
    kind: list[Any] = [["none", "one", "two"][v] for v in (a + b) // 2 + 1]
    size: list[Any] = (a + 2.0 * b + 0.1 * rng.standard_normal(ROWS)).tolist()
    kind[239], size[239] = None, None
    columns = {"kind": kind, "size": size, "split": splits(ROWS), "of": ["x", "y"] * (ROWS // 2),
               "fold": [i % 4 for i in range(ROWS)]}  # fmt: skip
    vectors = {"text": bits(ROWS, 4, a, 1), "image": bits(ROWS, 5, b, 2)}
    write_store(root / "store", vectors, columns)
    for label in ("kind", "size"):
        train(root / "store", root / label, label)
    return root


def train(store: Path, output: Path, label: str, epochs: int = 20, **options: Any) -> None:
    given = {"splits": SplitOptions(**options.pop("splits", {})), **options.pop("data", {})}
    wanted = LabelOptions(label, options.pop("kind", "auto"))
    train_fusion(
        FuseConfig(
            str(store),
            str(output),
            FuseDataConfig(wanted, **given),
            options=FuseOptions(width=16, epochs=epochs, batch=32, lr=0.01),
            seeds=1,
            **options,
        )
    )


def judged(root: Path, model: str = "kind", **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"resamples": 50, **options}
    store = settings.pop("store", root / "store")
    return evaluate_robustness(RobustnessConfig(str(root / model), str(store), **settings))


def said(root: Path, model: str, tmp_path: Path, **options: Any) -> Any:
    """Labels and predictions of the labelled test rows, as `predict` writes them."""
    store = str(options.pop("store", root / "store"))
    given: dict[str, Any] = {"split": "test", **options}
    output = tmp_path / "-".join(("predictions", *given.get("without", ())))
    predict(PredictConfig(str(root / model), store, str(output), **given))
    table = pq.read_table(output / "items.parquet")
    table = table.filter(pc.is_valid(table["label"]))
    return table["label"].to_numpy(), table["prediction"].to_numpy()


def curve(report: dict[str, Any], corruption: str, modality: str) -> dict[str, Any]:
    (found,) = [
        c for c in report["curves"] if (c["corruption"], c["modality"]) == (corruption, modality)
    ]
    return found


def test_clean_and_dropped_are_what_predict_says(root: Path, tmp_path: Path) -> None:
    report = judged(root)
    truth, predicted = said(root, "kind", tmp_path)
    assert len(truth) == report["rows"] == 71 and report["without_label"] == 1
    assert report["split"] == "test" and report["warnings"] == []
    assert report["metric"] == "accuracy" and report["greater_is_better"] is True
    clean = report["clean"]
    assert clean["score"] == np.mean(truth == predicted) > 0.95
    assert clean["low"] <= clean["score"] <= clean["high"]
    assert [(c["corruption"], c["modality"]) for c in report["curves"]] == [
        (c, m) for c in ("noise", "dropped", "swapped") for m in (*TWO, "all")
    ]
    for name in TWO:
        truth, predicted = said(root, "kind", tmp_path, without=(name,))
        last = curve(report, "dropped", name)["points"][-1]
        assert last["severity"] == 1 and last["score"] == np.mean(truth == predicted) < 0.9
    truth, predicted = said(root, "kind", tmp_path, without=TWO)
    none = curve(report, "dropped", "all")["points"][-1]
    assert none["score"] == np.mean(truth == predicted)


def test_points_areas_and_drops_by_hand(root: Path) -> None:
    report = judged(root)
    clean = report["clean"]["score"]
    for found in report["curves"]:
        scores = [clean, *(p["score"] for p in found["points"])]
        assert len(scores) == 6
        assert found["area"] == pytest.approx(auc(np.linspace(0, 1, 6), scores))
        assert found["relative_area"] == pytest.approx(found["area"] / clean)
        assert found["drop"] == pytest.approx(clean - found["area"])
        assert found["last_drop"] == found["points"][-1]["drop"]
        for point in found["points"]:
            assert point["low"] <= point["score"] <= point["high"]
            assert point["drop"] == pytest.approx(clean - point["score"])
            assert point["drop_low"] <= point["drop"] <= point["drop_high"]
    for name in ("noise", "dropped", "swapped"):
        lost = [curve(report, name, m)["drop"] for m in (*TWO, "all")]
        assert min(lost) > 0.02 and max(lost[:2]) < lost[2]


def test_an_error_that_rises_is_a_positive_drop(root: Path, tmp_path: Path) -> None:
    """MAE of a number: the score goes up, and that is worse."""
    report = judged(root, "size")
    assert report["metric"] == "mae" and report["greater_is_better"] is False
    truth, predicted = said(root, "size", tmp_path)
    clean = report["clean"]["score"]
    assert clean == pytest.approx(np.abs(truth - predicted).mean())
    for found in report["curves"]:
        last = found["points"][-1]
        assert last["score"] > clean and last["drop"] == pytest.approx(last["score"] - clean)
        assert 0 < last["drop_low"] <= last["drop"] <= last["drop_high"]
        assert found["drop"] == pytest.approx(found["area"] - clean) and found["drop"] > 0
        assert found["relative_area"] > 1
    better = judged(root, "size", metric="r2")
    assert better["greater_is_better"] is True
    for found in better["curves"]:
        assert found["drop"] > 0 and found["area"] < better["clean"]["score"]
        assert all(p["drop_low"] <= p["drop"] <= p["drop_high"] for p in found["points"])


def test_hardly_any_noise_changes_hardly_anything(root: Path) -> None:
    report = judged(root, "size", corruptions=("noise",), severities=(1e-7, 1e-6))
    for found in report["curves"]:
        assert found["points"][0]["score"] == pytest.approx(report["clean"]["score"], rel=1e-5)
        assert found["relative_area"] == pytest.approx(1, rel=1e-5)


def test_equal_seeds_give_equal_numbers(root: Path) -> None:
    before = hashes(root / "store")
    first, again, other = (judged(root, "size", seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["clean"]["score"] == other["clean"]["score"]
    assert curve(first, "noise", "text")["area"] != curve(other, "noise", "text")["area"]
    one = judged(root, "size", seed=1, corruptions=("swapped",), only=("text",), severities=(0.4,))
    point = curve(first, "swapped", "text")["points"][1]
    assert one["curves"][0]["points"] == [pytest.approx(point)]
    assert hashes(root / "store") == before


def hashes(path: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(path.rglob("*")) if p.is_file()}  # fmt: skip


@pytest.mark.parametrize(
    ("label", "method"),
    [
        ("label", "early"),
        ("tags", "early:tokens"),
        ("score", "hybrid:multi-level"),
        ("grade", "late:mean"),
    ],
)
def test_every_kind_of_label_and_of_view(label: str, method: str, tmp_path: Path) -> None:
    """Parts are absent from a fifth of the rows; there are tokens, layers and columns."""
    store = everything(tmp_path / "store")
    train(store, tmp_path / "m", label, methods=(method,), epochs=3,
          data={"tabular": ("price", "city")})  # fmt: skip
    report = judged(tmp_path, "m", resamples=20, severities=(0.5, 1.0))
    kept = json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert report["clean"]["score"] == pytest.approx(kept["model_scores"][report["metric"]])
    assert report["rows"] == 48 and len(report["curves"]) == 3 * 5
    assert all(p["score"] is not None for c in report["curves"] for p in c["points"])


def test_a_part_that_no_row_has(root: Path, tmp_path: Path) -> None:
    source = Store.open(root / "store")
    table = source.items(["kind", "split"]).to_pydict()
    texts = write_store(tmp_path / "texts", {"text": source.load("text")}, table)
    report = judged(root, store=texts)
    assert {c["modality"] for c in report["curves"]} == {"text"}
    assert report["warnings"] == ["no row under evaluation has image: it cannot get worse"]
    assert report["modalities"] == {"image": 0, "text": 71}
    with pytest.raises(BadInput, match=r"no row under evaluation of .* has image"):
        judged(root, store=texts, only=("image",))


def test_only_some_modalities(tmp_path: Path) -> None:
    store = everything(tmp_path / "store")
    train(store, tmp_path / "m", "label", epochs=2)
    report = judged(tmp_path, "m", corruptions=("dropped",), only=("text", "image"))
    assert [c["modality"] for c in report["curves"]] == ["image", "text", "image+text"]
    alone = judged(tmp_path, "m", corruptions=("dropped",), only=("text",))
    assert alone["curves"] == [curve(report, "dropped", "text")]


def test_rows_of_splits(root: Path, tmp_path: Path) -> None:
    assert judged(root, split="val", severities=(1.0,), corruptions=("noise",))["rows"] == 48
    report = judged(root, split="all", severities=(1.0,), corruptions=("noise",))
    assert report["rows"] == 239
    assert "168 of the 239 rows" in report["warnings"][0] and "no test" in report["warnings"][0]
    train(root / "store", tmp_path / "folds", "kind", epochs=2, splits={"fold": 1})
    own = judged(tmp_path, "folds", store=root / "store", corruptions=("noise",))
    assert own["split"] == "test" and "fold 1" in own["split_source"] and own["rows"] == 60
    assert own["warnings"] == []
    told = SplitOptions(fold=2)
    other = judged(tmp_path, "folds", store=root / "store", splits=told, corruptions=("noise",))
    assert other["rows"] == 60 and "60 of the 60 rows" in other["warnings"][0]


def test_a_store_without_splits_is_taken_whole(root: Path, tmp_path: Path) -> None:
    source = Store.open(root / "store")
    vectors = {name: source.load(name) for name in TWO}
    bare = write_store(tmp_path / "bare", vectors, {"kind": source.items(["kind"])["kind"]})
    report = judged(root, store=bare, corruptions=("swapped",))
    assert (report["split"], report["rows"]) == ("all", 239)
    with pytest.raises(BadInput, match=r"no row of .* is `test`"):
        judged(root, store=bare, split="test")
    odd = write_store(tmp_path / "odd", vectors, {"kind": ["none", "five", "six"] * 80})
    report = judged(root, store=odd, corruptions=("swapped",))
    assert (report["rows"], report["without_label"]) == (80, 160)


def test_whole_groups_are_drawn(root: Path) -> None:
    """Of two groups a resample holds one of three mixtures, so that the interval is theirs."""
    options: dict[str, Any] = {"corruptions": ("swapped",), "severities": (1.0,), "resamples": 200}
    report = judged(root, "size", splits=SplitOptions(group_by="of"), **options)
    assert report["intervals"]["groups"] == "of" and report["split"] == "test"
    means = {value: judged(part(root, value), "size", **options)["clean"]["score"]
             for value in ("x", "y")}  # fmt: skip
    clean = report["clean"]
    assert clean["low"] == pytest.approx(min(means.values()))
    assert clean["high"] == pytest.approx(max(means.values()))


def part(root: Path, value: str) -> Path:
    """The same models beside a store in which only rows of one group are tested."""
    source = Store.open(root / "store")
    table = source.items(["size", "split", "of"]).to_pydict()
    names = [s if s != "test" or o == value else "rest"
             for s, o in zip(table["split"], table["of"], strict=True)]  # fmt: skip
    place = root / f"part-{value}"
    vectors = {name: source.load(name) for name in TWO}
    write_store(place / "store", vectors, {"size": table["size"], "split": names})
    (place / "size").symlink_to(root / "size")
    return place


def test_a_measure_that_is_no_mean_over_rows() -> None:
    """ROC AUC and its paired intervals, from scikit-learn and resampling by hand."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40)
    good, bad = (np.clip(truth * skill + rng.random(40), 0, 2) / 2 for skill in (0.8, 0.1))
    clean, worse = (np.stack([1 - p, p], axis=1) for p in (good, bad))
    objective = Objective("classes", 2, prior=(0.5, 0.5))
    judge = Judge(truth, objective, measures_for("classes")["roc_auc"], 100, 4)
    first, last = scored(judge, clean, [worse])
    assert first["score"] == pytest.approx(roc_auc_score(truth, good))
    assert last["score"] == pytest.approx(roc_auc_score(truth, bad))
    drawn = np.random.default_rng(4).integers(0, 40, (100, 40))
    each = np.array([[roc_auc_score(truth[d], p[d]) for p in (good, bad)] for d in drawn])
    for found, values in ((last["low"], each[:, 1]), (first["low"], each[:, 0])):
        assert found == pytest.approx(np.percentile(values, 2.5))
    assert last["drop_high"] == pytest.approx(np.percentile(each[:, 0] - each[:, 1], 97.5))
    assert summary(judge, [first, last])["area"] == pytest.approx(
        (first["score"] + last["score"]) / 2
    )


def test_slow_measures_get_fewer_resamples() -> None:
    known = measures_for("classes")
    assert affordable(known["accuracy"], 1000, 10_000_000, 60) == 1000
    assert affordable(known["macro_f1"], 1000, 1000, 60) == 1000
    assert affordable(known["macro_f1"], 1000, 10_000, 50) == 200
    assert affordable(known["macro_f1"], 1000, 10_000_000, 60) == 100
    assert affordable(known["macro_f1"], 20, 10_000_000, 60) == 20


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"corruptions": ("nois",)}, UsageError, "no corruption is named `nois`"),
        ({"only": ("imag",)}, UsageError, "`--only imag`"),
        ({"metric": "mae"}, UsageError, "`--metric mae` does not fit"),
        ({"metric": "roc_auc"}, BadInput, "roc_auc has no value on the 71 rows"),
        ({"severities": (0.0, 1.0)}, UsageError, "must be above 0"),
        ({"severities": (float("nan"),)}, UsageError, "must be above 0"),
        ({"severities": (0.5, 0.2)}, UsageError, "must rise"),
        ({"severities": (0.5, 2.0)}, UsageError, "of `dropped` it is a share"),
        ({"resamples": -1}, UsageError, "`--bootstrap -1`"),
        ({"seed": -1}, UsageError, "`--seed -1`"),
        ({"split": "tset"}, BadInput, "no row of .* is `tset`"),
        ({"report": "/nowhere/r.html"}, BadInput, "its directory does not exist"),
    ],
)
def test_what_cannot_be_done(
    options: dict[str, Any], error: type[Exception], words: str, root: Path
) -> None:
    with pytest.raises(error, match=words):
        judged(root, **options)


def test_stores_that_do_not_fit(root: Path, tmp_path: Path) -> None:
    source = Store.open(root / "store")
    vectors = {name: source.load(name) for name in TWO}
    bare = write_store(tmp_path / "bare", vectors, {"knd": ["one", "two"] * 120})
    with pytest.raises(BadInput, match="has no column `kind`") as caught:
        judged(root, store=bare)
    assert "`knd`" in caught.value.hint
    odd = write_store(tmp_path / "odd", vectors, {"kind": ["five", "six"] * 120})
    with pytest.raises(BadInput, match="has a `kind` that"):
        judged(root, store=odd)
    other = write_store(tmp_path / "other", vectors, {"kind": ["one"] * 240}, weights="1")
    with pytest.raises(SpaceMismatch):
        judged(root, store=other)


def test_the_command(root: Path, tmp_path: Path, run_here: Run) -> None:
    words = ("evaluate", "robustness", root / "kind", root / "store", "--bootstrap", 40)
    done = run_here(*words, "--html", "r.html")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "wrote r.html\n"
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["greater", "is", "better", "true"] in lines
    at = lines.index(["corruption", "modality", "severity", "score", "low", "high"])
    assert lines[at + 1][:2] == ["clean", "0"] and lines[at + 2][:3] == ["noise", "image", "0.25"]
    areas = lines.index(["corruption", "modality", "area", "relative", "area", "drop", "last",
                         "drop"])  # fmt: skip
    assert areas == at + 1 + 1 + 45 + 1 and len(lines) == areas + 1 + 9
    page = (tmp_path / "r.html").read_text()
    parse(page)
    assert page.count("<polyline") == 9 and "greater is better" in page
    done = run_here(*words, "--html", "r.html")
    assert done.returncode == 3 and "--force" in done.stderr
    assert run_here(*words, "--html", "r.html", "--force", "-q").returncode == 0

    short = (*words, "--corruption", "dropped", "--corruption", "noise", "--only", "text",
             "--severities", "0.5,1", "-q")  # fmt: skip
    done = run_here(*short, "--json", "--bootstrap", 0)
    report = json.loads(done.stdout, parse_constant=pytest.fail)
    assert report["clean"]["low"] is None and report["curves"][0]["points"][0]["low"] is None
    assert [c["corruption"] for c in report["curves"]] == ["dropped", "noise"]
    rows = json.loads(run_here(*short, "--format", "json").stdout, parse_constant=pytest.fail)
    lines = run_here(*short, "--format", "jsonl").stdout.splitlines()
    assert rows == [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert len(rows) == 5
    assert list(rows[0]) == ["corruption", "modality", "severity", "score", "low", "high"]
    tsv = run_here(*short, "--format", "tsv").stdout.splitlines()
    assert len(tsv) == 6 and tsv[0].split("\t") == list(rows[0])
    done = run_here(*short[:-3], "--severities", "half")
    assert done.returncode == 2 and "`--severities half` is no number" in done.stderr


def test_a_measure_without_a_value_is_null(tmp_path: Path, run_here: Run) -> None:
    """Without any part the model says one number, of which there is no correlation."""
    signs = [1.0, -1.0] * 60  # of mean 0, which is then said of nothing, exactly
    vectors = {"text": bits(120, 3, signs, 0), "image": bits(120, 3, signs, 1)}
    write_store(tmp_path / "store", vectors, {"sign": signs, "split": splits(120)})
    train(tmp_path / "store", tmp_path / "m", "sign", epochs=2, kind="regression")
    done = run_here("evaluate", "robustness", "m", "store", "--metric", "pearson", "--json",
                    "--corruption", "dropped", "--bootstrap", 20, "--html", "r.html")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout, parse_constant=pytest.fail)
    none = curve(report, "dropped", "all")
    assert none["points"][-1]["score"] is None and none["points"][0]["score"] is not None
    assert none["area"] is None and none["drop"] is None
    page = (tmp_path / "r.html").read_text()
    parse(page)
    assert "NaN" not in page and ">nan<" not in page and "–" in page
