"""The learning curve: how much more rows would help."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import BadInput
from mmcli.data.labels import LabelOptions
from mmcli.fusion.objective import objective_for
from mmcli.fusion.registry import METHODS
from mmcli.metrics.choice import measures_for
from mmcli.store.reader import Store
from mmcli.workflows.finetune.curve import learning_curve, share_rows
from mmcli.workflows.finetune.retraining import FinishedRows
from mmcli.workflows.fuse.data import FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.fit import FitRun, FuseOptions
from tests.fusion.making import bits, splits, write_store

METHOD = "early:concat"


def test_shares_are_nested_whole_groups_whatever_the_order(tmp_path: Path) -> None:
    rows = 60
    speaker = [f"s{i % 9}" for i in range(rows)]
    columns = {"label": ["a", "b"] * 30, "speaker": speaker}
    store = Store.open(write_store(tmp_path / "s", {"text": np.ones((rows, 2))}, columns))
    train = np.arange(0, rows, dtype=np.int64)[3:]
    parts = share_rows(store, train, [0.1, 0.3, 0.7, 1.0], "speaker")
    for smaller, larger in pairwise(parts):
        assert set(smaller) < set(larger)
    assert (parts[-1] == train).all() and len(parts[0]) >= 0.1 * len(train)
    for part in parts:
        inside = {speaker[row] for row in part}
        assert inside.isdisjoint({speaker[row] for row in set(train) - set(part)})
    back = share_rows(store, train[::-1].copy(), [0.3], "speaker")[0]
    assert sorted(back) == sorted(parts[1])
    alone = [len(part) for part in share_rows(store, train, [0.1, 0.5])]
    assert alone == [6, 29]  # of 57, rounded up


def test_more_rows_are_better_and_what_is_known_is_not_trained_again(tmp_path: Path) -> None:
    rows = 400
    rng = np.random.default_rng(0)
    bit = rng.choice([-1, 1], rows)
    vectors = {name: bits(rows, 40, bit, i, 0.8) for i, name in enumerate(("text", "image"))}
    columns = {"label": np.where(bit > 0, "yes", "no").tolist(), "split": splits(rows)}
    store = Store.open(write_store(tmp_path / "s", vectors, columns))
    data = load_fuse_data(store, FuseDataConfig(LabelOptions("label")), "cpu", "fp32")
    objective = objective_for("binary", data.labels.values[data.train], 2)
    measure, specs = measures_for("classes")["accuracy"], [METHODS.get(METHOD)]
    before = data.inputs.statistics()["input/text/pooled/mean"].copy()
    said: list[str] = []

    def curve(shares: Sequence[float], **known: Any) -> list[dict[str, Any]]:
        run = FitRun((0,), checkpoint=tmp_path / "curve", resume="resume" in known)
        known.pop("resume", None)
        options = FuseOptions(epochs=8, width=8, lr=0.01)
        return learning_curve(data, store, objective, measure, specs, options, run, shares,
                              message=said.append, **known)  # fmt: skip

    whole = {"method": METHOD, "best_single": "single:text", "epochs": 1,
             "table": [{"model": METHOD, "accuracy": 0.99, "low": 0.9, "high": 1.0}]}  # fmt: skip
    found = curve([1.0, 0.5, 0.004, 0.05], whole=whole)
    assert [row["train rows"] for row in found] == [10, 100, 200]  # one row has one class
    assert said[0].startswith("curve: 0.004 of the train rows is left out: every row of train has")
    assert found[-1]["accuracy"] == 0.99 and found[0]["accuracy"] < found[1]["accuracy"] - 0.05
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in found)
    assert (data.inputs.statistics()["input/text/pooled/mean"] == before).all()
    del said[:]
    assert curve([0.05, 0.5], resume=True) == found[:2]
    assert said == []  # both were kept


def test_finished_rows_are_read_again_and_a_cut_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run" / "curve.json"
    FinishedRows(path, resume=False).add("0.5", {"model": "é"})
    assert FinishedRows(path, resume=True).rows == {"0.5": {"model": "é"}}
    assert FinishedRows(path, resume=False).rows == {}
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BadInput, match=r"curve\.json` cannot be read"):
        FinishedRows(path, resume=True)
