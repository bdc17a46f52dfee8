"""`finetune` of sentiment with labels of each modality by itself: found, learned, refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcli.core.errors import BadInput, MmcliError, UsageError
from mmcli.data.labels import LabelOptions
from mmcli.fusion.hybrid.multi_task import MultiTask
from mmcli.fusion.model import FusionModel
from mmcli.fusion.objective import objective_for
from mmcli.fusion.own_labels import OwnLabels
from mmcli.store.reader import Store
from mmcli.tasks.end_to_end import EndToEnd
from mmcli.tasks.sentiment import unimodal_columns
from mmcli.tasks.towers import TowersAndFusion
from mmcli.tuning.mixing import draw as blend
from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from mmcli.workflows.finetune.run import finetune
from mmcli.workflows.fuse.data import FuseData, FuseDataConfig, load_fuse_data
from mmcli.workflows.listeners import Listeners
from tests.fusion.making import bits, splits, write_store
from tests.tasks.small_posts import config_of, tiny_clip, write_posts

pytestmark = pytest.mark.usefixtures("few_resamples")

ROWS = 48


def clips(path: Path, **columns: Any) -> Path:
    """A store of words and faces whose sentiment is the sum of what both say."""
    rng = np.random.default_rng(0)
    own = rng.uniform(-1, 1, (ROWS, 2))
    vectors = {name: bits(ROWS, 4, own[:, i], i) for i, name in enumerate(("image", "text"))}
    held = {
        "sentiment": own.sum(1).tolist(),
        "sentiment_image": own[:, 0].tolist(),
        "sentiment_text": [None if i % 5 == 0 else v for i, v in enumerate(own[:, 1].tolist())],
        "mood": ["low" if v < 0 else "high" for v in own.sum(1)],
        "split": splits(ROWS),
    }
    held = {name: value for name, value in {**held, **columns}.items() if value is not None}
    return write_store(path, vectors, held)


def config(store: Path, goal: Path, **told: Any) -> FinetuneConfig:
    words: dict[str, Any] = {"task": "sentiment", "quality": "fast", "precision": "fp32"}
    tricks = TrickOptions(epochs=2, batch=8)
    return FinetuneConfig(
        **{"data": str(store), "output": str(goal), **words, "tricks": tricks, **told}
    )


def test_columns_are_known_by_their_names() -> None:
    columns = ["id", "label", "label_T", "label_A", "label_V", "sentiment_text", "label_x"]
    found = unimodal_columns(columns, ["text", "speech", "image", "tabular"], "label")
    assert found == {"text": "sentiment_text", "speech": "label_A", "image": "label_V"}
    assert unimodal_columns(columns, ["text"], "sentiment_text") == {"text": "label_T"}


def test_columns_that_are_there_are_learned(tmp_path: Path) -> None:
    lines: list[str] = []
    store = clips(tmp_path / "store")
    report = finetune(config(store, tmp_path / "m"), Listeners(message=lines.append))
    assert "hybrid:multi-task" in [row["model"] for row in report["table"]]
    columns = {"image": "sentiment_image", "text": "sentiment_text"}
    assert report["unimodal"] == {"source": "columns", "weight": 1.0, "columns": columns}
    assert any("sentiment_image (24), sentiment_text (19)" in line for line in lines)
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert metrics["unimodal"]["columns"] == columns


@pytest.mark.parametrize(
    ("told", "changed"),
    [
        ({"options": {"unimodal": "none"}}, {}),
        ({"method": "hybrid:gated"}, {}),
        ({"label": "mood"}, {}),
        ({}, {"sentiment_image": None, "sentiment_text": None}),
    ],
)
def test_else_nothing_changes(tmp_path: Path, told: Any, changed: Any) -> None:
    store = clips(tmp_path / "store", **changed)
    report = finetune(config(store, tmp_path / "m", **told))
    assert "unimodal" not in report
    assert "hybrid:multi-task" not in [row["model"] for row in report["table"]]


@pytest.mark.parametrize(
    ("told", "changed", "error", "words"),
    [
        ({"unimodal": "colums"}, {}, UsageError, "colums"),
        ({"unimodal_weight": "-1"}, {}, UsageError, "-1"),
        (
            {"unimodal": "columns"},
            {"sentiment_image": None, "sentiment_text": None},
            BadInput,
            "no label of a modality",
        ),
        ({"unimodal": "self"}, {"sentiment": np.linspace(1, 2, ROWS).tolist()}, BadInput, "below"),
        ({}, {"sentiment_image": [*[0.1] * 6, 9.0, *[0.2] * 41]}, BadInput, "r00006.*is 9"),
        ({}, {"sentiment_image": [*["0.1"] * 6, "good", *["0.2"] * 41]}, BadInput, "r00006"),
        ({}, {"sentiment_image": [None] * ROWS, "sentiment_text": None}, BadInput, "no train row"),
    ],
)
def test_options_and_columns_that_do_not_fit(
    tmp_path: Path, told: Any, changed: Any, error: type[MmcliError], words: str
) -> None:
    store = clips(tmp_path / "store", **changed)
    with pytest.raises(error, match=words):
        finetune(config(store, tmp_path / "m", options=told))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"task": "classification", "label": "sentiment"}, "classification"),
        ({"label": "mood"}, "binary"),
        ({"method": "hybrid:gated"}, "hybrid:gated"),
    ],
)
def test_what_was_asked_for_and_cannot_be_is_refused(tmp_path: Path, told: Any, words: str) -> None:
    store = clips(tmp_path / "store")
    for source in ("columns", "self"):
        asked = config(store, tmp_path / "m", options={"unimodal": source}, **told)
        with pytest.raises(UsageError, match=words):
            finetune(asked)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_the_loss_of_towers_is_that_of_a_loop(tmp_path: Path, mixup: float) -> None:
    """Row by row: the whole, and what is known of the modalities."""
    store = Store.open(clips(tmp_path / "store"))
    data: FuseData = load_fuse_data(store, FuseDataConfig(LabelOptions("sentiment")))
    whole = data.labels.values
    own = np.full((ROWS, 2), np.nan)
    own[:, 0] = np.where(np.arange(ROWS) % 3 == 0, np.nan, -whole)
    own[:, 1] = whole / 2
    shares = np.random.default_rng(1).random((ROWS, 2))
    objective = objective_for("regression", whole[data.train], 0, loss="mae")
    torch.manual_seed(0)
    fusion = MultiTask(data.inputs.blueprint("pooled", 1, width=6))
    model = TowersAndFusion({}, fusion, data.inputs, {}, "pooled").eval()
    method = EndToEnd(
        model,
        None,  # type: ignore[arg-type]
        objective,
        whole,
        data.train,
        data.val,
        lambda shares, truth: 0.0,
        learned=frozenset(),
        rates={},
        mixup=mixup,
        own=OwnLabels(own, shares, 0.5),
    )
    rows = data.train[:7]
    there = np.random.default_rng(2).random((7, 2)) < 0.7
    there[:, 0] |= ~there[:, 1]
    with torch.no_grad():
        found = float(method._loss(rows, there, {}, 11))
        present = torch.from_numpy(there)
        mix = blend(present, mixup, torch.Generator().manual_seed(11)) if mixup else None
        said = model({}, rows, present, mix)

    def against(i: int, row: int) -> float:
        def error(output: Any, label: float) -> float:
            return abs(float(output) - (label - objective.mean) / objective.scale)

        each = [
            shares[row, m] * error(said.parts[i, m, 0], own[row, m])
            for m in range(2)
            if there[i, m] and not np.isnan(own[row, m])
        ]
        return error(said.output[i, 0], whole[row]) + 0.5 * sum(each)

    wanted = []
    for i, row in enumerate(rows.tolist()):
        loss = against(i, row)
        if mix is not None:
            part = float(mix.share[i])
            loss = part * loss + (1 - part) * against(i, int(rows[int(mix.order[i])]))
        wanted.append(loss)
    assert found == pytest.approx(float(np.mean(wanted)), abs=1e-6)


@pytest.mark.usefixtures("short_heads")
def test_towers_learn_labels_that_the_first_stage_generated(tmp_path: Path) -> None:
    posts = write_posts(tmp_path / "posts", 32)
    told = config_of(
        posts,
        tmp_path / "m",
        tiny_clip(tmp_path),
        task="sentiment",
        label="score",
        label_kind="regression",
        method="hybrid:multi-task",
        strategy={"": "bitfit"},
        tricks={"epochs": 2},
        options={"unimodal": "self"},
    )
    report = finetune(told)
    assert report["unimodal"]["source"] == "self"
    model = FusionModel.open(tmp_path / "m")
    assert model.spec.name == "hybrid:multi-task"
    history = [json.loads(line) for line in (tmp_path / "m" / "history.jsonl").open()]
    assert [r["loss"] > 0 for r in history if r.get("stage") == "tune"] == [True, True]
