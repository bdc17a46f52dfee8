"""`evaluate predictions`: every task against scikit-learn and definitions, and every option."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput
from mmcli.workflows.predictions.intervals import Draws
from tests.evaluate.small_predictions import (
    NAMES,
    classes_of,
    guesses,
    score,
    three_classes,
    values,
    write_predictions,
)
from tests.evaluate.small_stores import unit, write_store

sklearn = pytest.importorskip("sklearn.metrics")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return three_classes(tmp_path / "three")


def test_classification_equals_scikit_learn(three: Path) -> None:
    report = score(three)
    columns = guesses(300, NAMES)
    truth, said = columns["label"], columns["prediction"]
    shares = np.stack([columns[f"probability_{c}"] for c in NAMES], axis=1)
    wanted = {
        "accuracy": sklearn.accuracy_score(truth, said),
        "balanced_accuracy": sklearn.balanced_accuracy_score(truth, said),
        "macro_f1": sklearn.f1_score(truth, said, average="macro"),
        "weighted_f1": sklearn.f1_score(truth, said, average="weighted"),
        "log_loss": sklearn.log_loss(truth, shares, labels=NAMES),
        "brier_score": sklearn.brier_score_loss(truth, shares, labels=NAMES),
        "roc_auc": sklearn.roc_auc_score(truth, shares, multi_class="ovr", labels=NAMES),
        "average_precision": sklearn.average_precision_score(truth, shares, average="macro"),
    }
    found = values(report)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-9)
    assert set(found) == {*wanted, "ece"}
    for name, entry in report["measures"].items():
        assert entry["low"] <= entry["value"] <= entry["high"] or name == "ece"
    assert report["confusion"]["matrix"] == sklearn.confusion_matrix(truth, said).tolist()
    assert sum(one["rows"] for one in report["reliability"]["bins"]) == 300
    assert [row["class"] for row in report["per_class"]] == list(NAMES)


def test_two_classes_have_a_positive_one(tmp_path: Path) -> None:
    columns = guesses(200, ("no", "yes"), 3)
    path = write_predictions(tmp_path / "p", columns, **classes_of(("no", "yes")))
    found = values(score(path))
    truth = np.array(columns["label"]) == "yes"
    said = np.array(columns["prediction"]) == "yes"
    share = columns["probability_yes"]
    assert found["f1"] == pytest.approx(sklearn.f1_score(truth, said))
    assert found["roc_auc"] == pytest.approx(sklearn.roc_auc_score(truth, share))
    assert found["average_precision"] == pytest.approx(
        sklearn.average_precision_score(truth, share)
    )
    assert found["brier_score"] == pytest.approx(sklearn.brier_score_loss(truth, share))
    path = write_predictions(tmp_path / "p", columns, positive="no", **classes_of(("no", "yes")))
    report = score(path)
    assert report["positive"] == "no"
    assert values(report)["f1"] == pytest.approx(sklearn.f1_score(~truth, ~said))
    assert values(report)["roc_auc"] == pytest.approx(found["roc_auc"])


def test_regression_and_its_sentiment(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.round(rng.uniform(-3, 3, 150), 1)
    said = truth + rng.normal(0, 1, 150)
    label = [None, *truth[1:]]
    path = write_predictions(tmp_path / "p", {"label": label, "prediction": said})
    report = score(path)
    found = values(report)
    assert (report["task"], report["scored"], report["without_label"]) == ("regression", 149, 1)
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(truth[1:], said[1:]))
    assert found["r2"] == pytest.approx(sklearn.r2_score(truth[1:], said[1:]))
    assert set(found) == {"mae", "rmse", "pearson", "r2", "spearman"}
    mosi = values(score(path, task="sentiment"))
    manifest = {"task": "regression", "finetuned": "sentiment"}
    table = pq.read_table(path / "items.parquet").drop_columns(["id"])
    told = write_predictions(tmp_path / "told", table.to_pydict(), **manifest)
    assert values(score(told)) == mosi, "a model of sentiment says so itself"
    assert values(score(told, task="regression")) == values(score(path, task="regression"))
    assert set(mosi) == {
        "has0_accuracy", "has0_f1", "non0_accuracy", "non0_f1", "mult_acc_5", "mult_acc_7",
        "mae", "corr",
    }  # fmt: skip
    assert mosi["has0_accuracy"] == np.mean((truth[1:] >= 0) == (said[1:] >= 0))
    assert mosi["mae"] == pytest.approx(found["mae"])
    sims = values(score(path, task="sentiment", scale="sims"))
    assert set(sims) == {"mult_acc_2", "f1", "mult_acc_3", "mult_acc_5", "mae", "corr"}
    assert sims["mae"] == pytest.approx(np.abs(truth[1:].clip(-1, 1) - said[1:].clip(-1, 1)).mean())


def test_sentiment_of_classes(tmp_path: Path) -> None:
    names = ("negative", "neutral", "positive")
    columns = guesses(90, names)
    path = write_predictions(tmp_path / "p", columns, **classes_of(names))
    found = values(score(path, task="sentiment"))
    assert found["mult_acc_3"] == np.mean(np.array(columns["label"]) == columns["prediction"])
    perfect = {**columns, "prediction": columns["label"]}
    write_predictions(tmp_path / "p", perfect, **classes_of(names))
    assert set(values(score(path, task="sentiment")).values()) == {1.0}
    assert set(values(score(path, task="sentiment", scale="sims")).values()) == {1.0}
    animals = write_predictions(tmp_path / "a", guesses(9, NAMES), **classes_of(NAMES))
    with pytest.raises(BadInput, match="which is negative"):
        score(animals, task="sentiment")


def test_ordered_classes(tmp_path: Path) -> None:
    order = ("low", "middle", "high")
    columns = guesses(120, order)
    path = write_predictions(
        tmp_path / "p", columns, ours=True, task="ordinal", order=list(order),
        classes={c: f"probability_{c}" for c in order},
    )  # fmt: skip
    report = score(path)
    truth, said = ([order.index(c) for c in columns[n]] for n in ("label", "prediction"))
    kappa = sklearn.cohen_kappa_score(truth, said, weights="quadratic")
    assert values(report)["quadratic_kappa"] == pytest.approx(kappa)
    assert values(report)["steps_off"] == np.abs(np.array(truth) - said).mean()
    assert report["confusion"]["classes"] == list(order)


def sets(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Truth, probabilities and columns; the second label is hardly ever sure enough at 0.5."""
    rng = np.random.default_rng(seed)
    truth = rng.random((rows, 3)) < [0.5, 0.4, 0.2]
    shares = 1 / (1 + np.exp(-(4 * truth - 2 + rng.normal(0, 1.5, (rows, 3)))))
    shares[:, 1] *= 0.4
    named = [[[NAMES[i] for i in np.flatnonzero(row)] for row in m] for m in (truth, shares > 0.5)]
    columns = {"label": named[0], "prediction": named[1]}
    return (
        truth,
        shares,
        {**columns, **{f"probability_{c}": shares[:, i] for i, c in enumerate(NAMES)}},
    )


def test_multilabel_and_its_thresholds(tmp_path: Path) -> None:
    truth, shares, columns = sets(400, 0)
    manifest = {"classes": {c: f"probability_{c}" for c in NAMES}}
    path = write_predictions(tmp_path / "test", columns, **manifest)
    said = shares > 0.5
    found = values(score(path))
    for name in ("micro", "macro", "weighted"):
        wanted = sklearn.f1_score(truth, said, average=name)
        assert found[f"{name}_f1"] == pytest.approx(wanted, abs=1e-9)
    assert found["hamming_loss"] == pytest.approx(sklearn.hamming_loss(truth, said))
    auc = sklearn.roc_auc_score(truth, shares, average="macro")
    assert found["roc_auc"] == pytest.approx(auc, abs=1e-9)
    precision = sklearn.average_precision_score(truth, shares, average="macro")
    assert found["average_precision"] == pytest.approx(precision, abs=1e-9)
    other = {**sets(400, 1)[2], "id": [f"v{n}" for n in range(400)]}
    val = write_predictions(tmp_path / "val", other, **manifest)
    fitted = score(path, calibrate_on=str(val))["calibration"]
    assert fitted["thresholds"]["bee"] < 0.45 and fitted["rows"] == 400
    macro = fitted["measures"]["macro_f1"]
    assert macro["after"] > macro["before"] == pytest.approx(found["macro_f1"])
    assert macro["low"] > 0 and macro["difference"] == macro["after"] - macro["before"]
    with pytest.raises(BadInput, match="no sentiment"):
        score(path, task="sentiment")


def test_calibration_makes_probabilities_true(tmp_path: Path) -> None:
    columns = {**guesses(1500, NAMES, 7), "id": [f"v{n}" for n in range(1500)]}
    val = write_predictions(tmp_path / "val", columns, **classes_of(NAMES[::-1]))
    test = write_predictions(tmp_path / "test", guesses(1500, NAMES, 8), **classes_of(NAMES))
    report = score(test, calibrate_on=str(val))
    fitted = report["calibration"]
    assert fitted["temperature"] == pytest.approx(2, rel=0.15)  # twice as sure as they should be
    changed = fitted["measures"]
    assert changed["log_loss"]["high"] < 0 and changed["log_loss"]["p"] < 0.01
    assert changed["ece"]["after"] < changed["ece"]["before"] / 2
    assert changed["accuracy"]["difference"] == 0 and changed["ece"]["p"] != changed["ece"]["p"]
    assert fitted["thresholds"] == {}
    with pytest.raises(BadInput, match=r"share 1500 ids, as `r000`"):
        score(test, calibrate_on=str(test))
    plain = write_predictions(tmp_path / "n", {"label": [1.0, 2.0], "prediction": [1.0, 2.5]})
    with pytest.raises(BadInput, match="no probabilities to calibrate"):
        score(plain, calibrate_on=str(plain))


def test_the_threshold_of_two_classes(tmp_path: Path) -> None:
    names = ("no", "yes")
    tables = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        truth = rng.random(500) < 0.3
        share = np.where(truth, rng.uniform(0.1, 0.5, 500), rng.uniform(0, 0.2, 500))
        tables.append({
            "id": [f"{seed}-{n}" for n in range(500)],
            "label": ["yes" if t else "no" for t in truth],
            "prediction": ["no"] * 500,
            "probability_no": 1 - share,
            "probability_yes": share,
        })  # fmt: skip
    val, test = (
        write_predictions(tmp_path / str(i), table, **classes_of(names))
        for i, table in enumerate(tables)
    )
    fitted = score(test, calibrate_on=str(val))["calibration"]
    assert list(fitted["thresholds"]) == ["yes"]
    assert fitted["measures"]["f1"]["before"] == 0 and fitted["measures"]["f1"]["after"] > 0.8


def test_against_other_predictions(tmp_path: Path, three: Path) -> None:
    columns = guesses(300, NAMES, skill=0.0)  # the same rows, by a model that knows nothing
    order = np.random.default_rng(1).permutation(300)[:250]
    columns = {name: [column[i] for i in order] for name, column in columns.items()}
    columns["id"] = [f"r{i:03d}" for i in order]
    columns["label"][0] = None  # the truth of the rows is taken from what is scored
    other = write_predictions(tmp_path / "other", columns, **classes_of(NAMES[::-1]))
    report = score(three, against=str(other))
    found = report["against"]
    assert found["rows"] == 250 and any("250 of 300" in w for w in report["warnings"])
    entry = found["measures"]["accuracy"]
    mine = guesses(300, NAMES)
    both = [
        np.mean([mine["label"][i] == said for i, said in zip(order, given, strict=True)])
        for given in ([mine["prediction"][i] for i in order], columns["prediction"])
    ]
    assert [entry["this"], entry["other"]] == pytest.approx(both)
    assert entry["difference"] == pytest.approx(both[0] - both[1])
    assert entry["low"] > 0 and entry["p"] < 0.01
    macro = found["measures"]["macro_f1"]
    assert macro["low"] > 0 and np.isnan(macro["p"])
    same = score(three, against=str(three))["against"]["measures"]
    assert {e["difference"] for e in same.values()} == {0} and same["accuracy"]["p"] == 1
    columns["label"][1] = "ant" if columns["label"][1] != "ant" else "bee"
    write_predictions(tmp_path / "other", columns, **classes_of(NAMES))
    with pytest.raises(BadInput, match=f"`r{order[1]:03d}` has another label"):
        score(three, against=str(other))
    write_predictions(tmp_path / "other", {**columns, "id": [f"x{i}" for i in range(250)]})
    with pytest.raises(BadInput, match="predicts no row"):
        score(three, against=str(other))


def test_against_a_model_of_more_classes(tmp_path: Path, three: Path) -> None:
    columns = guesses(300, (*NAMES, "dog"))
    columns["label"] = guesses(300, NAMES)["label"]
    other = write_predictions(tmp_path / "o", columns, **classes_of((*NAMES, "dog")))
    found = score(three, against=str(other))["against"]["measures"]
    right = np.mean([a == b for a, b in zip(columns["label"], columns["prediction"], strict=True)])
    assert found["accuracy"]["other"] == pytest.approx(right)
    shares = np.stack([columns[f"probability_{c}"] for c in (*NAMES, "dog")], axis=1)
    loss = sklearn.log_loss(columns["label"], shares, labels=(*NAMES, "dog"))
    assert found["log_loss"]["other"] == pytest.approx(loss)


def test_slices_and_groups(tmp_path: Path) -> None:
    columns = guesses(120, NAMES)
    columns["voice"] = ["f1", "f2", None] * 40
    path = write_predictions(tmp_path / "p", columns, **classes_of(NAMES))
    ids = [f"r{n:03d}" for n in range(100)]
    store = write_store(
        tmp_path / "store",
        {"image": unit(100, 4)},
        {"id": ids[::-1], "scene": [n % 4 for n in range(100)]},
    )
    report = score(path, slices=("voice", "scene", "label"), items=str(store), group_by="scene")
    parts = report["slices"]
    assert {v: p["rows"] for v, p in parts["voice"].items()} == {"f1": 40, "f2": 40}
    right = np.array(columns["label"]) == columns["prediction"]
    assert parts["voice"]["f2"]["measures"]["accuracy"]["value"] == right[1::3].mean()
    # row n of the predictions is row 99 - n of the store
    rows = [n for n in range(100) if (99 - n) % 4 == 2]
    assert parts["scene"]["2"]["measures"]["accuracy"]["value"] == right[rows].mean()
    assert set(parts["label"]) == set(NAMES)
    assert report["intervals"]["drawn"] == 4 + 20  # rows that the store lacks stand alone
    assert any("20 scored rows are not in" in warning for warning in report["warnings"])
    pq.write_table(pa.table({"id": ids, "fold": [0] * 100}), tmp_path / "f.parquet")
    joined = score(path, slices=("fold",), items=str(tmp_path / "f.parquet"))
    assert joined["slices"]["fold"]["0"]["rows"] == 100
    with pytest.raises(BadInput, match=r"no column `voise` .* or "):
        score(path, slices=("voise",), items=str(store))
    with pytest.raises(BadInput, match="has 120 values, too many"):
        score(path, slices=("id",))
    pq.write_table(pa.table({"id": ["x"], "fold": [0]}), tmp_path / "g.parquet")
    with pytest.raises(BadInput, match="has no item that is scored"):
        score(path, slices=("fold",), items=str(tmp_path / "g.parquet"))


def test_copies_of_rows_add_no_certainty(tmp_path: Path) -> None:
    once = guesses(60, NAMES)
    copied = {name: list(np.repeat(column, 9)) for name, column in once.items()}
    copied["of"] = list(np.repeat(np.arange(60), 9))
    alone = score(write_predictions(tmp_path / "a", once, **classes_of(NAMES)), bootstrap=400)
    path = write_predictions(tmp_path / "b", copied, **classes_of(NAMES))
    grouped, naive = (score(path, bootstrap=400, group_by=g)["measures"] for g in ("of", None))
    for name, entry in alone["measures"].items():
        assert grouped[name]["value"] == pytest.approx(entry["value"]), name
        assert grouped[name]["low"] == pytest.approx(entry["low"], abs=1e-6), name
        assert naive[name]["high"] - naive[name]["low"] < 0.5 * (entry["high"] - entry["low"])


def test_slow_measures_get_fewer_resamples_and_it_is_said(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Draws(1000).slow(50_000, 20) == 1000
    assert 100 <= Draws(1000).slow(50_000, 200) < 1000
    assert Draws(1000).slow(1_000_000, 200) == 0
    full = score(three, bootstrap=300)
    monkeypatch.setattr("mmcli.workflows.predictions.intervals._BUDGET", 150 * 6 * 3300)
    found = score(three, bootstrap=300)
    fewer = {"roc_auc": 150, "average_precision": 150}
    assert found["intervals"]["fewer_resamples"] == fewer
    assert found["measures"]["accuracy"] == full["measures"]["accuracy"]
    assert found["measures"]["roc_auc"]["value"] == full["measures"]["roc_auc"]["value"]
    assert found["measures"]["roc_auc"]["low"] != full["measures"]["roc_auc"]["low"]
    monkeypatch.setattr("mmcli.workflows.predictions.intervals._BUDGET", 1)
    assert np.isnan(score(three)["measures"]["roc_auc"]["low"])
