"""Labels of the modalities by themselves: losses against loops, what they are worth, resuming."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import tanh
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmcli.data.labels import LabelOptions
from mmcli.engine.training import TrainOptions, train
from mmcli.fusion.blueprint import Blueprint
from mmcli.fusion.field import Entry, Field
from mmcli.fusion.hybrid.multi_task import MultiTask
from mmcli.fusion.objective import Objective, objective_for
from mmcli.fusion.own_labels import OwnLabels, OwnTargets
from mmcli.fusion.registry import METHODS
from mmcli.metrics.choice import measures_for
from mmcli.store.reader import Store
from mmcli.workflows.fuse.data import FuseData, FuseDataConfig, load_fuse_data
from mmcli.workflows.fuse.fit import Contest, FitRun, FuseOptions, fit
from tests.fusion.making import bits, splits, write_store

NAME = "hybrid:multi-task"
OBJECTIVE = Objective("number", loss="huber", mean=0.5, scale=2.0)


def two_parts(path: Path, combine: Callable[[Any], Any], rows: int = 360) -> tuple[FuseData, Any]:
    """Picture and text each say 1 or -1; the label is what `combine` makes of that, and what each
    says is given beside it, `(rows, 2)`."""
    rng = np.random.default_rng(0)
    own = rng.choice([-1.0, 1.0], (rows, 2))
    names = ("image", "text")
    vectors = {name: bits(rows, 24, own[:, i], i + 1, 0.45) for i, name in enumerate(names)}
    whole = combine(own) + 0.05 * rng.standard_normal(rows)
    columns = {"sentiment": whole.tolist(), "split": splits(rows, 100 / rows, 60 / rows)}
    store = Store.open(write_store(path, vectors, columns))
    data = load_fuse_data(store, FuseDataConfig(LabelOptions("sentiment")))
    assert data.inputs.names == names and len(data.train) == 100
    return data, own


def errors(data: FuseData, own: OwnLabels | None) -> Any:
    """The mean absolute error of two seeds on the test rows."""
    inputs, values = data.inputs, data.labels.values
    objective = objective_for("regression", values[data.train], 0)
    blueprint = inputs.blueprint("pooled", 1, width=16)

    def score(said: Any, truth: Any) -> float:
        return -float(np.abs(said - truth).mean())

    field = Field(
        inputs,
        [Entry(NAME, lambda: MultiTask(blueprint), parts=True)],
        (0, 1),
        objective,
        values,
        data.train,
        data.val,
        score,
        batch=32,
        modality_dropout=0.1,
        own=own,
    )
    train(field, TrainOptions(epochs=50, lr=5e-3, weight_decay=0.05, checkpoint_s=-1.0))
    said = objective.probabilities(field.outputs(NAME, data.test))
    return np.abs(said - values[data.test]).mean(1)


def test_labels_of_the_modalities_help_where_the_whole_is_not_their_sum(tmp_path: Path) -> None:
    data, own = two_parts(tmp_path / "store", lambda own: own.prod(1))  # sarcasm
    without, helped = errors(data, None), errors(data, OwnLabels(own))
    swapped = errors(data, OwnLabels(own[:, ::-1]))
    assert (helped < 0.8 * without).all()
    assert (helped < 0.8 * swapped).all()  # each modality learns its own


def huber(error: float) -> float:
    return 0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5


def test_the_loss_of_given_labels_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    rows, train = 9, np.array([1, 2, 4, 5, 8], np.int64)
    whole, values = rng.normal(size=rows), rng.normal(size=(rows, 3))
    values[[1, 4, 4, 4], [0, 0, 1, 2]] = np.nan
    values[[0, 3]] = 99.0  # of rows that do not train
    present = rng.random((rows, 3)) < 0.7
    present[8] = True
    targets = OwnTargets(OwnLabels(values, weight=0.7), OBJECTIVE, whole, train, present[train], 2)
    batch = np.array([8, 1, 4, 5], np.int64)
    shown = present[batch] & np.array([[True, False, True]])  # the second is dropped out
    parts = rng.normal(size=(2, 4, 3, 1)).astype(np.float32)
    found = targets.losses(torch.from_numpy(parts), batch, torch.from_numpy(shown))
    for member in range(2):
        for i, row in enumerate(batch):
            each = [
                huber(parts[member, i, m, 0] - (values[row, m] - 0.5) / 2.0)
                for m in range(3)
                if shown[i, m] and not np.isnan(values[row, m])
            ]
            assert found[member, i].item() == pytest.approx(0.7 * sum(each), abs=1e-6)
    assert found[0, 2] == 0  # the row without a label of its own
    assert not list(targets.state_dict())  # what is given is no state


def generated_by_hand(old: Any, whole: Any, known: Any, states: Any, fused: Any, epoch: int) -> Any:
    """Self-MM's labels, row by row."""
    found, limit = old.copy(), np.abs(whole).max()

    def alpha(labels: Any, vectors: Any, row: int) -> float:
        positive = np.mean([v for v, y in zip(vectors, labels, strict=True) if y > 0], axis=0)
        negative = np.mean([v for v, y in zip(vectors, labels, strict=True) if y < 0], axis=0)
        near, far = (float(np.linalg.norm(vectors[row] - c)) for c in (positive, negative))
        return (far - near) / near

    for m in range(old.shape[1]):
        here = np.flatnonzero(known[:, m])
        if not (old[here, m] > 0).any() or not (old[here, m] < 0).any():
            continue
        for place, row in enumerate(here):
            own, of_all = alpha(old[here, m], states[here, m], place), alpha(whole, fused, row)
            y = whole[row]
            new = y + 0.5 * (own - of_all) * (y + of_all) / of_all  # the paper's other form
            new = min(max(new, -limit), limit)
            found[row, m] = (epoch - 1) / (epoch + 1) * old[row, m] + 2 / (epoch + 1) * new
    return found


def test_generated_labels_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(2)
    rows, members = 11, 2
    train = np.arange(1, 12, dtype=np.int64)
    whole = np.concatenate([[0.0], rng.uniform(-3, 3, rows)])
    whole[4] = 0.0
    known = rng.random((rows, 3)) < 0.8
    known[:, 2] &= whole[train] > 0  # of the third modality, positive rows only
    targets = OwnTargets(OwnLabels(), OBJECTIVE, whole, train, known, members)
    labels = np.repeat(whole[train, None], 3, axis=1)
    by_hand = [labels.copy() for _ in range(members)]
    np.testing.assert_allclose(targets.labels[1].numpy(), labels, rtol=1e-6)
    for epoch in (1, 2, 3, 4):
        states = rng.normal(size=(members, rows, 3, 5)).astype(np.float32)
        fused = rng.normal(size=(members, rows, 6)).astype(np.float32)

        def blocks(
            states: Any = states, fused: Any = fused
        ) -> Iterator[tuple[slice, Tensor, Tensor]]:
            for at in (slice(0, 4), slice(4, 11)):
                yield at, torch.from_numpy(states[:, at]), torch.from_numpy(fused[:, at])

        targets.renew(blocks, epoch)
        for member in range(members):
            if epoch > 1:
                by_hand[member] = generated_by_hand(
                    by_hand[member], whole[train], known, states[member], fused[member], epoch
                )
            found = targets.labels[member].numpy()
            np.testing.assert_allclose(found, by_hand[member], atol=2e-5)
    assert np.abs(by_hand[0][:, :2] - labels[:, :2]).max() > 0.5  # they did change
    parts = rng.normal(size=(members, 2, 3, 1)).astype(np.float32)
    batch, shown = np.array([3, 7], np.int64), torch.ones(2, 3, dtype=torch.bool)
    losses = targets.losses(torch.from_numpy(parts), batch, shown)
    kept = targets.fixed(1)
    for i, row in enumerate(batch):
        each = []
        for m in np.flatnonzero(known[row - 1]):
            own = by_hand[1][row - 1, m]
            share = tanh(abs(own - whole[row]))
            each.append(share * huber(parts[1, i, m, 0] - (own - 0.5) / 2.0))
            assert kept.values[row, m] == pytest.approx(own, abs=2e-5)
            assert kept.shares[row, m] == pytest.approx(share, abs=2e-5)
        assert losses[1, i].item() == pytest.approx(sum(each), abs=2e-5)
    # what was generated is given on, and then costs the same
    given = OwnTargets(kept, OBJECTIVE, whole, train, known)
    again = given.losses(torch.from_numpy(parts[1:]), batch, shown)
    torch.testing.assert_close(again[0], losses[1])


def test_the_modalities_say_what_they_say_alone() -> None:
    """The own output of a modality hangs on that modality, the fused one on all."""
    torch.manual_seed(0)
    model = MultiTask(Blueprint({"image": (3,), "text": (4,)}, n_outputs=2, width=5)).eval()
    x = {"image": torch.randn(6, 3), "text": torch.randn(6, 4)}
    there = torch.ones(6, 2, dtype=torch.bool)
    found = model(x, there)
    other = model({**x, "text": torch.randn(6, 4)}, there)
    assert found.parts.shape == (6, 2, 2) and found.states.shape == (6, 2, 5)
    torch.testing.assert_close(found.parts[:, 0], other.parts[:, 0])
    assert (found.parts[:, 1] - other.parts[:, 1]).abs().min() > 0
    assert (found.output - other.output).abs().min() > 0
    for m, head in enumerate(model.own):
        torch.testing.assert_close(head.output(found.states[:, m]), found.parts[:, m])


def contest(data: FuseData, run: FitRun, dropout: float = 0.1) -> Contest:
    """Five epochs with generated labels."""
    return fit(
        replace(data, own=OwnLabels()),
        [METHODS.get(NAME)],
        objective_for("regression", data.labels.values[data.train], 0),
        measures_for("number")["mae"],
        FuseOptions(width=16, batch=32, lr=5e-3, dropout=dropout, epochs=5),
        run,
    )


def test_generated_labels_survive_being_cut_off(tmp_path: Path) -> None:
    data, _ = two_parts(tmp_path / "store", lambda own: own.sum(1))
    folder = tmp_path / "cut"
    whole = contest(data, FitRun((3, 4)))
    for number, last in enumerate((2, 5, 7)):
        calls = 0

        def stop(done: int, total: int, last: int = last) -> None:
            nonlocal calls
            calls += 1
            if calls > last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            contest(data, FitRun((3, 4), "cpu", "float32", folder, number > 0, 0.0, progress=stop))
    cut = contest(data, FitRun((3, 4), "cpu", "float32", folder, True))
    for seed in (0, 1):
        there, again = whole.own_labels(NAME, seed), cut.own_labels(NAME, seed)
        assert there is not None and again is not None
        np.testing.assert_array_equal(there.values, again.values)
        states = (c.network(NAME, seed).state_dict() for c in (whole, cut))
        for a, b in zip(*(s.values() for s in states), strict=True):
            assert torch.equal(a, b)


def test_generated_labels_are_each_seeds_own(tmp_path: Path) -> None:
    data, _ = two_parts(tmp_path / "store", lambda own: own.sum(1))
    together, alone = contest(data, FitRun((3, 4)), 0.0), contest(data, FitRun((3,)), 0.0)
    first, second, by_itself = (
        c.own_labels(NAME, seed).values[data.train]
        for c, seed in ((together, 0), (together, 1), (alone, 0))
    )
    np.testing.assert_allclose(by_itself, first, atol=1e-3)
    assert np.abs(second - first).max() > 0.1
    assert np.abs(first - data.labels.values[data.train][:, None]).max() > 0.1
