"""Methods and seeds that train in one pass are those that train alone; members keep apart."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmcli.data.labels import LabelOptions
from mmcli.engine.members import Members
from mmcli.fusion.inputs import Inputs, Modality, View
from mmcli.fusion.objective import objective_for
from mmcli.fusion.registry import METHODS
from mmcli.fusion.shared_linear import SharedLinear
from mmcli.metrics.choice import measures_for
from mmcli.store.reader import Store
from mmcli.workflows.fuse.data import FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.fit import Contest, FitRun, FuseOptions, fit
from tests.fusion.making import everything

ROWS = np.arange(160, dtype=np.int64)


def contest(store: Path, names: list[str], seeds: tuple[int, ...], **told: Any) -> Contest:
    data = load_fuse_data(Store.open(store), FuseDataConfig(LabelOptions("label")))
    objective = objective_for("multiclass", data.labels.values[data.train], 3)
    options = FuseOptions(width=8, epochs=4, batch=32, layers=1, heads=2, dropout=0.0, **told)
    specs = [METHODS.get(name) for name in names]
    return fit(data, specs, objective, measures_for("classes")["accuracy"], options, FitRun(seeds))


def test_company_changes_nothing(tmp_path: Path) -> None:
    store = everything(tmp_path / "store")
    alone = contest(store, ["hybrid:gated"], (3,))
    company = contest(store, ["hybrid:low-rank", "hybrid:gated", "early:tokens"], (3, 4))
    np.testing.assert_allclose(
        company.probabilities("hybrid:gated", ROWS)[0],
        alone.probabilities("hybrid:gated", ROWS)[0],
        atol=1e-4,
    )
    two = company.probabilities("hybrid:gated", ROWS)
    assert np.abs(two[0] - two[1]).max() > 1e-3  # seeds differ


def test_each_member_keeps_its_own_best_epoch() -> None:
    members = Members(3, {"a": 0, "b": 2})
    best = {"a": torch.zeros(2, 2), "b": torch.zeros(1, 4)}
    now = {"a": torch.ones(2, 2), "b": torch.full((1, 4), 2.0)}
    members.keep(best, now, np.array([False, True, False]))
    assert best["a"].tolist() == [[0, 0], [1, 1]] and best["b"].sum() == 0
    members.keep(best, now, np.array([False, False, True]))
    assert best["b"].tolist() == [[2.0] * 4]


def test_each_member_has_its_own_gradient_norm() -> None:
    members = Members(2, {"w": 0, "v": 0})
    w, v = torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(2, 1, 1))
    w.grad = torch.tensor([[3.0, 0, 0], [0.1, 0, 0]])
    v.grad = torch.tensor([[[4.0]], [[0.2]]])
    members.clip([("w", w), ("v", v)], 1.0)
    np.testing.assert_allclose(w.grad[0].tolist(), [0.6, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(v.grad.flatten().tolist(), [0.8, 0.2], rtol=1e-5)
    np.testing.assert_allclose(w.grad[1].tolist(), [0.1, 0, 0], rtol=1e-6)


def test_one_product_for_all_members_is_the_linear_layer() -> None:
    torch.manual_seed(0)
    layers = [SharedLinear(5, 3).double() for _ in range(4)]
    values, _ = torch.func.stack_module_state(layers)
    values = {n: v.detach().requires_grad_() for n, v in values.items()}
    for shape in ((7, 5), (2, 6, 5)):
        x = torch.randn(*shape, dtype=torch.float64)
        found = torch.vmap(lambda p, x=x: torch.func.functional_call(layers[0], p, (x,)))(values)
        plain = torch.stack([torch.nn.functional.linear(x, m.weight, m.bias) for m in layers])
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
        (found**2).sum().backward()
        (plain**2).sum().backward()
        grads = torch.stack([m.weight.grad for m in layers])
        torch.testing.assert_close(values["weight"].grad, grads, rtol=1e-10, atol=1e-10)
        for module in layers:
            module.zero_grad()
        values["weight"].grad = None
    # a batch of each member's own, as behind the first layer
    many = torch.randn(4, 7, 5, dtype=torch.float64)
    own = torch.vmap(lambda p, x: torch.func.functional_call(layers[0], p, (x,)))(values, many)
    wanted = torch.stack([m(x) for m, x in zip(layers, many, strict=True)])
    torch.testing.assert_close(own, wanted, rtol=1e-12, atol=1e-12)


def test_statistics_are_those_of_the_train_rows_that_have_the_part() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(3, 2, (50, 4)).astype(np.float32)
    present = np.arange(50) % 5 != 0
    view = View((4,), matrix=matrix)
    inputs = Inputs({"text": Modality("text", ("text",), present, {"pooled": view})})
    inputs.learn(np.arange(30), 0)
    rows = [i for i in range(30) if present[i]]
    np.testing.assert_allclose(view.mean, matrix[rows].mean(0), rtol=1e-5)
    np.testing.assert_allclose(view.scale, matrix[rows].std(0), rtol=1e-4)
    found, _ = inputs.batch(np.arange(50), "pooled")
    assert (found["text"][::5] == 0).all()
    before = view.mean.copy()
    matrix[30:] += 1000
    inputs.learn(np.arange(30), 0)
    np.testing.assert_array_equal(view.mean, before)
