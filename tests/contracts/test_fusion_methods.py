"""Every fusion method trains, is saved, loaded, and then predicts the same."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcli.data.labels import LabelOptions
from mmcli.fusion.model import FusionModel, probabilities
from mmcli.fusion.objective import objective_for
from mmcli.fusion.registry import METHODS
from mmcli.metrics.choice import measures_for
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.reader import Store
from mmcli.workflows.fuse.data import FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.files import write_model
from mmcli.workflows.fuse.fit import Contest, FitRun, FuseOptions, fit
from mmcli.workflows.fuse.open import inputs_for
from mmcli.workflows.fuse.train import FuseConfig, train_fusion
from tests.fusion.making import everything

SMALL = FuseOptions(width=8, epochs=2, batch=40, heads=2, layers=1, rank=2)
NAMES = [spec.name for spec in METHODS if spec.view != "as-text"]
LABELS = {"label": "multiclass", "tags": "multilabel", "grade": "ordinal", "score": "regression"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return everything(tmp_path_factory.mktemp("fusion") / "store")


def contest_on(path: Path, label: str, seeds: tuple[int, ...], **told: Any) -> Contest:
    """All methods and seeds, trained together for two epochs."""
    store = Store.open(path)
    data = load_fuse_data(store, FuseDataConfig(LabelOptions(label, LABELS[label]), **told))
    values = data.labels.values[data.train]
    objective = objective_for(data.labels.kind, values, len(data.labels.classes))
    measure = next(iter(measures_for(objective.kind).values()))
    specs = [METHODS.get(name) for name in NAMES]
    return fit(data, specs, objective, measure, SMALL, FitRun(seeds))


@pytest.fixture(scope="module")
def four(store: Path) -> Contest:
    return contest_on(store, "label", (0, 1), tabular=("price", "city"))


@pytest.fixture(scope="module")
def one(store: Path) -> Contest:
    return contest_on(store, "label", (0,), only=("text",))


@lru_cache
def report_on(store: Path) -> str:
    """What a run on the store reports: the pages of a model are made of it."""
    data = FuseDataConfig(LabelOptions("label"))
    output = str(store.parent / "reported")
    return json.dumps(train_fusion(FuseConfig(str(store), output, data, options=SMALL, seeds=1)))


def saved(contest: Contest, name: str, seed: int, store: Path, path: Path) -> Any:
    """Write one seed's network as a model; the network that was written."""
    network = contest.network(name, seed)
    opened, report = Store.open(store), json.loads(report_on(store))
    with ArtifactWriter(path, "mmcli.model", {}, "made") as writer:
        write_model(writer, network, contest, name, report, opened, "made", "", {})
    return network


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("setting", ["one", "four"])
def test_a_loaded_method_predicts_the_same(
    name: str, setting: str, store: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    contest: Contest = request.getfixturevalue(setting)
    last = len(contest.field.seeds) - 1
    network = saved(contest, name, last, store, tmp_path / "model")
    view, rows = contest.specs[name].view, np.arange(160, dtype=np.int64)
    before = probabilities(network, view, contest.objective, contest.data.inputs, rows)
    model = FusionModel.open(tmp_path / "model")
    opened = inputs_for(model, Store.open(store))
    blocks = list(model.apply(opened, rows))
    after = np.concatenate([shares for _, _, shares in blocks])
    assert np.isfinite(after).all()
    np.testing.assert_allclose(after, before, atol=1e-6, rtol=0)
    # the seeds of the pass in which all trained together say the same of these rows
    together = contest.probabilities(name, rows)[last]
    np.testing.assert_allclose(after, together, atol=1e-5, rtol=0)
    # any batch of rows, in any order, and with parts that are absent
    some = np.array([150, 3, 77, 3], np.int64)
    alone = probabilities(model.network, view, model.objective, opened, some)
    np.testing.assert_allclose(alone, after[some], atol=1e-6, rtol=0)
    vectors = np.concatenate([v for _, v, _ in blocks])
    assert vectors.shape[0] == 160 and np.isfinite(vectors).all() and vectors.std() > 0


@pytest.mark.parametrize("label", ["tags", "grade", "score"])
def test_every_method_takes_every_kind_of_label(label: str, store: Path, tmp_path: Path) -> None:
    contest = contest_on(store, label, (0,), only=("text", "image"))
    rows = contest.data.test
    for name in NAMES:
        found = contest.probabilities(name, rows)
        assert np.isfinite(found).all(), name
        if label == "grade":
            np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-6, err_msg=name)
            assert (found >= -1e-9).all(), name
        saved(contest, name, 0, store, tmp_path / name)
        model = FusionModel.open(tmp_path / name)
        opened = inputs_for(model, Store.open(store))
        again = probabilities(model.network, model.spec.view, model.objective, opened, rows)
        np.testing.assert_allclose(again, found[0], atol=1e-5, rtol=0, err_msg=name)


def test_a_class_that_no_validation_row_has(four: Contest) -> None:
    labels = four.data.labels
    assert len(np.unique(labels.values[four.data.val])) == 2 < len(labels.classes)


def test_predictions_through_the_command(
    four: Contest, store: Path, tmp_path: Path, run_here: Any
) -> None:
    network = saved(four, "hybrid:gated", 0, store, tmp_path / "model")
    done = run_here("predict", "model", store, "-o", "out", "-q")
    assert done.returncode == 0, done.stderr
    rows = np.arange(160, dtype=np.int64)
    wanted = probabilities(network, "pooled", four.objective, four.data.inputs, rows)
    table = pq.read_table(tmp_path / "out" / "items.parquet")
    names = [f"probability_{c}" for c in four.data.labels.classes]
    found = np.stack([table[name].to_numpy() for name in names], axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=0)
