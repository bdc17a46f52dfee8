"""`mmcli fuse train|apply` and `mmcli predict`, as a user runs them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcli.data.labels import LabelOptions
from mmcli.store.reader import Store
from mmcli.workflows.fuse.data import FuseDataConfig
from mmcli.workflows.fuse.fit import FuseOptions
from mmcli.workflows.fuse.train import FuseConfig, train_fusion
from mmcli.workflows.listeners import Listeners
from tests.fusion.making import bits, everything, splits, write_store, xor_store


def model_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "metrics.json").read_text())


def test_xor_is_learned_by_fusing_alone(tmp_path: Path, run_here: Any) -> None:
    store = xor_store(tmp_path / "store")
    done = run_here("fuse", "train", store, "-o", "m", "--label", "label", "--method", "gated",
                    "--seeds", 2, "--epochs", 12, "--lr", 0.01, "--width", 32,
                    "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    scores = {row["model"]: row["accuracy"] for row in report["table"]}
    assert scores["hybrid:gated"] > 0.97 and scores["early:concat"] > 0.97
    assert all(abs(scores[n] - 0.5) < 0.1 for n in ("single:text", "single:image", "late:mean"))
    single, simple = report["verdicts"]
    assert single["verdict"] == "gain shown" and single["low"] > 0.4 and single["p"] < 0.001
    assert simple["against"] == "early:concat" and simple["verdict"] == "no gain shown"
    worth = report["contribution"]
    total = worth["nothing"] + sum(worth["values"].values())
    assert abs(total - worth["all"]) < 1e-6
    assert {tuple(r["modalities"]) for r in report["subsets"]} == {
        ("image",), ("text",), ("image", "text")
    }  # fmt: skip
    for name in ("config.json", "metrics.json", "history.jsonl", "report.html", "README.md"):
        assert (tmp_path / "m" / name).exists()
    assert "gain shown" in (tmp_path / "m" / "report.html").read_text()


def test_predictions_and_what_the_modalities_add(tmp_path: Path, run_here: Any) -> None:
    store = everything(tmp_path / "store")
    options = ("--tabular", "price,city", "--seeds", 1, "--epochs", 2, "-q")
    done = run_here("fuse", "train", store, "-o", "m", "--label", "label", *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run_here("predict", "m", store, "-o", "p", "--split", "test", "--contributions",
                    "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    table = pq.read_table(tmp_path / "p" / "items.parquet")
    assert report["rows"] == report["labelled"] == table.num_rows == 48
    classes = ["blue", "green", "red"]
    shares = np.stack([table[f"probability_{c}"].to_numpy() for c in classes], axis=1)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-9)
    said = [classes[i] for i in shares.argmax(1)]
    assert table["prediction"].to_pylist() == said
    parts = ("contribution_image", "contribution_speech", "contribution_text",
             "contribution_tabular", "contribution_nothing")  # fmt: skip
    total = sum(table[name].to_numpy() for name in parts)
    np.testing.assert_allclose(total, shares.max(1), atol=1e-6)
    manifest = json.loads((tmp_path / "p" / "manifest.json").read_text())
    assert manifest["task"] == "classification" and manifest["order"] == classes
    done = run_here("evaluate", "predictions", "p", "--json")
    assert done.returncode == 0, done.stderr
    kept = model_of(tmp_path / "m")["model_scores"]
    right = np.mean([a == b for a, b in zip(table["label"].to_pylist(), said, strict=True)])
    assert abs(kept["accuracy"] - right) < 1e-12
    own = np.array([classes.index(c) for c in table["label"].to_pylist()])
    loss = -np.log(shares[np.arange(48), own]).mean()
    assert abs(kept["log_loss"] - loss) < 1e-6


def test_a_store_without_a_modality_is_predicted_as_if_it_were_absent(
    tmp_path: Path, run_here: Any
) -> None:
    store = xor_store(tmp_path / "store", 300)
    run_here("fuse", "train", store, "-o", "m", "--label", "label", "--seeds", 1, "--epochs", 2)
    rows = Store.open(store)
    write_store(tmp_path / "texts", {"text": rows.load("text")}, {"note": ["x"] * 300})
    assert run_here("predict", "m", "texts", "-o", "a", "-q").returncode == 0
    assert run_here("predict", "m", store, "-o", "b", "--without", "image", "-q").returncode == 0
    a, b = (pq.read_table(tmp_path / n / "items.parquet") for n in ("a", "b"))
    np.testing.assert_allclose(a["probability_yes"], b["probability_yes"], atol=1e-6)
    assert a["label"].null_count == 300 and b["label"].null_count == 0
    both = run_here("predict", "m", store, "-o", "c", "--without", "image,text", "-q")
    assert both.returncode == 0
    alike = set(pq.read_table(tmp_path / "c" / "items.parquet")["probability_yes"].to_pylist())
    assert len(alike) == 1  # the share of the train rows


def test_a_store_with_some_of_a_modality_s_keys(tmp_path: Path, run_here: Any) -> None:
    rng = np.random.default_rng(0)
    vectors = {"image": rng.random((40, 4)), "image:b": rng.random((40, 3)),
               "text": rng.random((40, 4))}  # fmt: skip
    columns = {"label": ["a", "b"] * 20, "split": splits(40)}
    write_store(tmp_path / "store", vectors, columns)
    run_here("fuse", "train", "store", "-o", "m", "--label", "label", "--seeds", 1, "--epochs", 1)
    del vectors["image:b"]
    write_store(tmp_path / "less", vectors, columns)
    done = run_here("predict", "m", "less", "-o", "p")
    assert done.returncode == 3 and "`image:b`" in done.stderr and "--without image" in done.stderr
    assert run_here("predict", "m", "less", "-o", "p", "--without", "image").returncode == 0
    del vectors["image"]
    write_store(tmp_path / "texts", vectors, columns)
    done = run_here("predict", "m", "texts", "-o", "q")
    assert done.returncode == 0 and "has no image" in done.stderr


def test_the_model_s_own_splits_count_on_its_own_store(tmp_path: Path, run_here: Any) -> None:
    store = xor_store(tmp_path / "store", 100)
    run_here("data", "split", store, "-o", "folds.parquet", "--folds", 4)
    folds = ("--split-file", "folds.parquet", "--fold", 1)
    run_here("fuse", "train", store, "-o", "m", "--label", "label", "--seeds", 1, "--epochs", 1,
             *folds)  # fmt: skip
    assert run_here("predict", "m", store, "-o", "p", "--split", "test", "-q").returncode == 0
    found = set(pq.read_table(tmp_path / "p" / "items.parquet")["id"].to_pylist())
    table = pq.read_table(tmp_path / "folds.parquet").to_pydict()
    own = {i for i, fold in zip(table["id"], table["fold"], strict=True) if fold == 1}
    assert found == own
    done = run_here("predict", "m", store, "-o", "q", "--split", "test", "--split-column", "split",
                    "--val-fraction", "0.2")  # fmt: skip
    assert "this is no test" in done.stderr


@pytest.mark.parametrize(
    "verb", [("fuse", "train"), ("finetune", "--task", "classification", "--quality", "fast")]
)
def test_a_model_of_either_verb_is_judged_by_its_own_splits(
    verb: tuple[str, ...], tmp_path: Path, run_here: Any
) -> None:
    rows = 80
    signs = np.where(np.arange(rows) % 3 > 0, 1.0, -1.0)
    columns = {"label": ["no" if s < 0 else "yes" for s in signs],
               "fold": [i % 4 for i in range(rows)]}  # fmt: skip
    store = write_store(tmp_path / "store", {"text": bits(rows, 4, signs, 0)}, columns)
    done = run_here(*verb, store, "-o", "m", "--label", "label", "--fold", 1, "--seeds", 1,
                    "--epochs", 2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = ("evaluate", "robustness", "m", store, "--corruption", "dropped", "--json")
    done = run_here(*words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["split"], report["warnings"]) == (20, "test", [])
    report = json.loads(run_here(*words, "--fold", 2, "--split", "test").stdout)
    assert "this is no test" in report["warnings"][0]
    assert run_here("predict", "m", store, "-o", "p", "--split", "test").returncode == 0


def test_without_val_or_test_rows_it_says_so(tmp_path: Path, run_here: Any) -> None:
    rows = Store.open(xor_store(tmp_path / "store", 80))
    vectors = {key: rows.load(key) for key in rows.keys}
    labels = rows.items(["label"])["label"].to_pylist()
    write_store(tmp_path / "bare", vectors, {"label": labels})
    done = run_here("fuse", "train", "bare", "-o", "m", "--label", "label", "--seeds", 2,
                    "--epochs", 2, "--val-fraction", 0, "--method", "late,gated")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no row is `test`" in done.stderr and "there are no val rows" in done.stderr
    assert "not tested" in done.stdout and "gain shown" not in done.stdout


def test_one_modality_is_no_fusion(tmp_path: Path, run_here: Any) -> None:
    """A larger network on it may score higher; that is no gain of fusing."""
    xor_store(tmp_path / "store", 120)
    done = run_here("fuse", "train", "store", "-o", "m", "--label", "label", "--seeds", 2,
                    "--epochs", 2, "--only", "text", "--method", "gated")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warning: one modality: nothing is fused" in done.stderr
    assert "nothing is fused" in done.stdout and "shown" not in done.stdout


def test_fused_embeddings_are_a_store(tmp_path: Path, run_here: Any) -> None:
    store = everything(tmp_path / "store")
    run_here("fuse", "train", store, "-o", "m", "--label", "label", "--seeds", 1, "--epochs", 1)
    done = run_here("fuse", "apply", "m", store, "-o", "fused", "--json")
    assert done.returncode == 0, done.stderr
    fused = Store.open(tmp_path / "fused", "full")
    assert fused.rows == 160 and list(fused.keys) == ["fused"]
    vectors, has = fused.load("fused"), fused.has("fused").astype(bool)
    assert (vectors[~has] == 0).all() and vectors[has].std() > 0
    assert "label" in fused.columns and "has_text" not in fused.columns
    assert fused.keys["fused"]["space"] == json.loads(done.stdout)["space"]
    (tmp_path / "link").symlink_to(store)
    for output in (store, "link"):
        done = run_here("fuse", "apply", "m", store, "-o", output, "--force")
        assert done.returncode == 3 and f"`-o {output}` is the input itself" in done.stderr
    assert run_here("verify", store).returncode == 0 and "text" in Store.open(store).keys


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    store = xor_store(tmp_path / "store", 300)

    def run(output: str, listeners: Listeners | None = None, resume: bool = False) -> bytes:
        config = FuseConfig(
            str(store), str(tmp_path / output), FuseDataConfig(LabelOptions("label")),
            methods=("hybrid:gated",), options=FuseOptions(epochs=4, width=8), seeds=2,
            checkpoint_s=0.0, resume=resume,
        )  # fmt: skip
        train_fusion(config, listeners)
        return (tmp_path / output / "model.safetensors").read_bytes()

    whole = run("whole")

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("cut", Listeners(progress=stop))
    assert not (tmp_path / "cut" / "manifest.json").exists()
    assert run("cut", resume=True) == whole


def test_a_race_and_a_time_limit(tmp_path: Path, run_here: Any) -> None:
    store = xor_store(tmp_path / "store", 200)
    done = run_here("fuse", "train", store, "-o", "m", "--label", "label", "--method", "all",
                    "--seeds", 2, "--epochs", 4, "--width", 8, "--layers", 1, "--heads", 2,
                    "--time-limit", 60, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    first = [row for row in report["race"] if row["round"] == 1]
    assert len(first) >= 20 and sum(row["goes on"] for row in first) < len(first)
    assert report["method"] in {row["model"] for row in report["table"]}
    best = max(report["table"], key=lambda row: row["val accuracy"])
    chosen = next(r for r in report["table"] if r["model"] == report["method"])
    assert chosen["val accuracy"] == best["val accuracy"]


@pytest.mark.parametrize("kind", ["regression", "ordinal", "multilabel"])
def test_other_labels(kind: str, tmp_path: Path, run_here: Any) -> None:
    store = everything(tmp_path / "store")
    column = {"regression": "score", "ordinal": "grade", "multilabel": "tags"}[kind]
    done = run_here("fuse", "train", store, "-o", "m", "--label", column, "--label-kind", kind,
                    "--only", "text,image", "--seeds", 2, "--epochs", 8, "--lr", 0.01,
                    "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["label"]["kind"] == kind
    assert run_here("predict", "m", store, "-o", "p", "-q").returncode == 0
    judged = run_here("evaluate", "predictions", "p", "--json")
    assert judged.returncode == 0, judged.stderr
    if kind == "regression":  # the text shows the sign: better than the mean of the train rows
        table = pq.read_table(tmp_path / "p" / "items.parquet").to_pandas()[112:]
        error = (table["label"] - table["prediction"]).abs().mean()
        assert error < 0.8 * (table["label"] - table["label"].mean()).abs().mean()


def test_labels_that_a_model_does_not_know_stay(tmp_path: Path, run_here: Any) -> None:
    store = small(tmp_path / "store", ["yes", "no"] * 40)
    done = run_here("fuse", "train", store, "-o", "m", "--label", "label", "--method", "early",
                    "--seeds", 1, "--epochs", 1, "-q")  # fmt: skip
    assert done.returncode == 0, done.stderr
    other = small(tmp_path / "other", ["yes", "no", "maybe", None] * 20)
    done = run_here("predict", "m", other, "-o", "p")
    assert "20 rows have a label in column `label` that `m` does not know" in done.stderr
    written = pq.read_table(tmp_path / "p" / "items.parquet")["label"].to_pylist()
    assert written == ["yes", "no", "maybe", None] * 20
    report = json.loads(run_here("evaluate", "predictions", "p", "--json").stdout)
    assert (report["with_unknown_label"], report["without_label"]) == (20, 20)


# -- what cannot be trained on ------------------------------------------------------------------


def small(path: Path, labels: list[Any], **told: Any) -> Path:
    rows = len(labels)
    vectors = {"text": bits(rows, 4, np.ones(rows), 0), "image": bits(rows, 4, np.ones(rows), 1)}
    return write_store(path, vectors, {"label": labels, "split": splits(rows)}, **told)


@pytest.mark.parametrize(
    ("labels", "words", "said"),
    [
        (["a"] * 40, (), "`a`"),
        (["a", "b"] * 20 + ["rare"], (), "`rare`"),
        ([str(i) for i in range(39)] + ["n/a"], ("--label-kind", "regression"), "n/a"),
        (["a", "b"] * 20, ("--only", "video"), "video"),
        (["a", "b"] * 20, ("--metric", "mae"), "--metric mae"),
        (["a", "b"] * 20, ("--loss", "mse"), "--loss mse"),
        (["a", "b"] * 20, ("--method", "hybrid:gatd"), "hybrid:gatd"),
        (["a", "b"] * 20, ("--tabular", "label"), "label"),
        (["a", "b"] * 20, ("--tabular", "nothing"), "nothing"),
        (["a", "b"] * 20, ("--seeds", "0"), "--seeds 0"),
        (["a", "b"] * 20, ("--dropout", "1.5"), "--dropout 1.5"),
        (["a", "b"] * 20, ("--lr", "nan"), "--lr nan"),
        ([i * 0.37 for i in range(40)], ("--class-weights",), "--class-weights"),
        ([i * 0.37 for i in range(40)], ("--label-smoothing", "0.1"), "--label-smoothing"),
        (["a", "b"] * 20, ("--focal-gamma", "3"), "--focal-gamma"),
        (["a", "b"] * 20, ("--batch", "0"), "--batch 0"),
        (["a", "b", "c", "c"] * 10, ("--metric", "roc_auc"), "--metric roc_auc"),
    ],
)
def test_an_error_is_one_line_and_a_hint(
    labels: list[Any], words: tuple[str, ...], said: str, tmp_path: Path, run_here: Any
) -> None:
    store = small(tmp_path / "store", labels)
    done = run_here("fuse", "train", store, "-o", "m", "--label", "label", *words)
    assert done.returncode in (2, 3)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2 and lines[0].startswith("error: ") and said in lines[0]
    assert lines[1].startswith("hint: ")
    assert not (tmp_path / "m").exists()


def test_all_rows_lack_a_modality(tmp_path: Path, run_here: Any) -> None:
    store = small(tmp_path / "store", ["a", "b"] * 20, present={"image": np.zeros(40, bool)})
    done = run_here("fuse", "train", store, "-o", "m", "--label", "label")
    assert done.returncode == 3 and "has image" in done.stderr and "hint: " in done.stderr


def test_a_store_of_another_encoder(tmp_path: Path, run_here: Any) -> None:
    store = small(tmp_path / "store", ["a", "b"] * 20)
    other = small(tmp_path / "other", ["a", "b"] * 20, weights="1")
    run_here("fuse", "train", store, "-o", "m", "--label", "label", "--seeds", 1, "--epochs", 1)
    for words in (("predict", "m", other, "-o", "p"), ("fuse", "apply", "m", other, "-o", "p")):
        done = run_here(*words)
        assert done.returncode == 3 and "`m` was trained on" in done.stderr, done.stderr
        assert str(other) in done.stderr and not (tmp_path / "p").exists()
