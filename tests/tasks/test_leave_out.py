"""Leave one event out: what a model says of an event of which it has seen no row."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import BadInput, MmcliError, UsageError
from mmcli.data.labels import LabelOptions
from mmcli.data.splits import SplitOptions
from mmcli.fusion.objective import objective_for
from mmcli.fusion.registry import METHODS
from mmcli.metrics.choice import measures_for
from mmcli.store.reader import Store
from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from mmcli.workflows.finetune.leave_out import leave_out, mean_row, turns_of
from mmcli.workflows.finetune.run import finetune
from mmcli.workflows.fuse.data import FuseData, FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.fit import FitRun, FuseOptions
from mmcli.workflows.listeners import Listeners
from tests.fusion.making import bits, splits, write_store

pytestmark = pytest.mark.usefixtures("few_resamples")

ROWS = 150
#: Fire has most rows; in the quake, the pictures say the opposite.
EVENTS = ["fire", "fire", "flood", "flood", "quake"]
SPLITS = SplitOptions(val_fraction=0.2)


def posts(path: Path, **columns: Any) -> Path:
    """Texts that are right nine times of ten, and pictures that are right but in the quake."""
    rng = np.random.default_rng(0)
    event = np.array([EVENTS[i % 5] for i in range(ROWS)])
    label = np.where(rng.random(ROWS) < 0.6, 1, -1)
    vectors = {
        "image": bits(ROWS, 5, np.where(event == "quake", -label, label), 1),
        "text": bits(ROWS, 5, np.where(np.arange(ROWS) % 10 == 3, -label, label), 2),
    }
    held = {
        "informative": ["yes" if v > 0 else "no" for v in label],
        "event": event.tolist(),
        "score": (label + 0.1 * rng.standard_normal(ROWS)).tolist(),
        "likes": rng.random(ROWS).tolist(),
        "split": splits(ROWS),
    }
    return write_store(path, vectors, {**held, **columns})


def loaded(path: Path, label: str = "informative", **told: Any) -> tuple[FuseData, Store]:
    store = Store.open(path)
    return load_fuse_data(store, FuseDataConfig(LabelOptions(label), **told)), store


def judged(
    data: FuseData, store: Store, run: FitRun, splits: SplitOptions = SPLITS, **told: Any
) -> list[dict[str, Any]]:
    kind = data.labels.kind
    objective = objective_for(kind, data.labels.values[data.train], len(data.labels.classes))
    measure = next(iter(measures_for(objective.kind).values()))
    options = FuseOptions(width=8, epochs=6, batch=32, lr=0.03)
    specs = [METHODS.get("early:concat"), METHODS.get("hybrid:gated")]
    turns = turns_of(data, store, "event", splits)
    return leave_out(data, store, turns, objective, measure, specs, options, run, **told)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[FuseData, Store, list[dict[str, Any]]]:
    """The posts and what a run that was not cut off says of them."""
    data, store = loaded(posts(tmp_path_factory.mktemp("posts") / "store"))
    return data, store, judged(data, store, FitRun((0,)))


def test_an_event_is_judged_by_models_that_never_saw_it(whole: Any) -> None:
    data, store, rows = whole
    by_name = {row["held out"]: row for row in rows}
    assert list(by_name) == ["fire", "flood", "quake", "mean of 3"]
    assert [row["n"] for row in rows] == [60, 60, 30, 150]
    quake = by_name["quake"]  # the others say that pictures are to be believed
    assert quake["single"] == "single:image" and quake["single accuracy"] < 0.1
    assert by_name["fire"]["single"] == "single:text" and by_name["fire"]["single accuracy"] > 0.8
    labels = data.labels.values
    for turn in turns_of(data, store, "event", SPLITS):
        commonest = np.bincount(labels[turn.train]).argmax()
        wanted = (labels[turn.test] == commonest).mean()
        assert by_name[turn.name]["majority accuracy"] == pytest.approx(wanted)
    mean = by_name["mean of 3"]
    for measure in ("accuracy", "single accuracy", "majority accuracy"):
        assert mean[measure] == pytest.approx(np.mean([row[measure] for row in rows[:3]]))
    gains = [row["accuracy"] - row["single accuracy"] for row in rows[:3]]
    assert mean["gain"] == pytest.approx(np.mean(gains))
    each = [row["accuracy"] for row in rows[:3]]
    # of 27 resamples of three events one is all of the worst: more than 2.5 %
    assert mean["low"] == pytest.approx(min(each)) and mean["high"] == pytest.approx(max(each))


def test_no_row_of_the_event_and_of_its_groups_is_learned_from(tmp_path: Path) -> None:
    author = [f"a{i % 60}" if i < 120 else None for i in range(ROWS)]
    author[0] = author[2] = "both"  # of fire and of flood
    labels = [None if i % 50 == 7 else "yes" if i % 3 else "no" for i in range(ROWS)]
    split = [*splits(ROWS)[:-5], *[None] * 5]
    event = [None if i == 20 else EVENTS[i % 5] for i in range(ROWS)]
    told = {"author": author, "informative": labels, "split": split, "event": event}
    data, store = loaded(posts(tmp_path / "store", **told))
    taken = {i for i in range(ROWS - 5) if labels[i] is not None and i != 20}
    held = SplitOptions(val_fraction=0.2, group_by="author")
    for turn in turns_of(data, store, "event", held):
        train, val, test = (set(rows.tolist()) for rows in (turn.train, turn.val, turn.test))
        assert test == {i for i in taken if event[i] == turn.name}
        authors = {author[i] for i in test} - {None}
        assert train | val == {i for i in taken - test if author[i] not in authors}
        assert not train & val and 0.1 < len(val) / len(train | val) < 0.3
        assert not ({author[i] for i in train} & {author[i] for i in val}) - {None}
    assert {0, 2} <= taken


def test_a_number_is_held_against_the_mean(tmp_path: Path) -> None:
    data, store = loaded(posts(tmp_path / "store"), "score", tabular=("likes",))
    rows = judged(data, store, FitRun((0, 1)))
    turns = turns_of(data, store, "event", SPLITS)
    for row, turn in zip(rows, turns, strict=False):
        mean = data.labels.values[turn.train].mean()
        wanted = np.abs(data.labels.values[turn.test] - mean).mean()
        assert row["mean mae"] == pytest.approx(wanted)
    assert rows[-1]["mae"] < rows[-1]["mean mae"]
    assert rows[-1]["gain"] == pytest.approx(rows[-1]["single mae"] - rows[-1]["mae"])


def test_an_event_without_a_score_is_no_part_of_the_mean() -> None:
    measure = measures_for("number")["pearson"]
    objective = objective_for("regression", np.array([0.0, 1.0]), 0)
    named = ("pearson", "single pearson", "mean pearson")
    rows = [{"n": 5, **dict.fromkeys(named, v)} for v in (0.5, float("nan"), 0.7)]
    found = mean_row(rows, objective, measure, 0)
    assert found["held out"] == "mean of 2" and found["pearson"] == pytest.approx(0.6)


def test_finished_events_are_kept(whole: Any, tmp_path: Path) -> None:
    data, store, rows = whole
    run = FitRun((0,), checkpoint=tmp_path / "kept")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(data, store, replace(run, progress=stop))
    lines: list[str] = []
    again = judged(data, store, replace(run, resume=True), message=lines.append)
    assert again == rows
    assert len(lines) == 1 and lines[0].startswith("leave out quake: ")


def config(store: Path, goal: Path, **told: Any) -> FinetuneConfig:
    words: dict[str, Any] = {"task": "event", "quality": "fast", "precision": "fp32"}
    tricks = TrickOptions(epochs=2, batch=16)
    options = {"leave_out": "event"}
    held = {"data": str(store), "output": str(goal), "label": "informative", "options": options}
    return FinetuneConfig(**{**held, **words, "tricks": tricks, **told})


def test_it_stands_in_the_report_and_is_shown(tmp_path: Path) -> None:
    lines: list[str] = []
    told = config(posts(tmp_path / "store"), tmp_path / "m")
    report = finetune(told, Listeners(message=lines.append))
    assert [row["held out"] for row in report["leave_out"]][:3] == ["fire", "flood", "quake"]
    assert report["tables"]["left out by event"] == report["leave_out"]
    assert sum(line.startswith("leave out ") for line in lines) == 3
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert metrics["leave_out"][0]["macro_f1"] == report["leave_out"][0]["macro_f1"]


@pytest.mark.parametrize(
    ("told", "changed", "error", "words"),
    [
        ({"options": {"leave_out": "evnt"}}, {}, BadInput, "no column `evnt`"),
        ({"options": {"leave_out": "informative"}}, {}, UsageError, "the label itself"),
        ({"options": {"leave_out": "id"}}, {}, BadInput, "150 values"),
        ({}, {"event": ["fire"] * ROWS}, BadInput, "has 1 values"),
        ({}, {"event": [["fire"]] * ROWS}, BadInput, "list"),
        (
            {},
            {
                "informative": [
                    None if EVENTS[i % 5] == "quake" else "ab"[i % 2] for i in range(ROWS)
                ]
            },
            BadInput,
            "no row of `quake`",
        ),
        (
            {},
            {"informative": ["ab"[EVENTS[i % 5] == "quake"] for i in range(ROWS)]},
            BadInput,
            "without `quake`, every row",
        ),
    ],
)
def test_events_that_do_not_fit_are_refused_before_anything_is_trained(
    tmp_path: Path, told: Any, changed: Any, error: type[MmcliError], words: str
) -> None:
    trained: list[int] = []
    listeners = Listeners(progress=lambda done, total: trained.append(done))
    with pytest.raises(error, match=words):
        finetune(config(posts(tmp_path / "store", **changed), tmp_path / "m", **told), listeners)
    assert not trained
