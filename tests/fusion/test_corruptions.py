"""Corruptions of what a fusion reads: what they change, what they leave, and that they repeat."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import UsageError
from mmcli.core.registry import load_attribute
from mmcli.data.tabular import fit_tabular
from mmcli.fusion.corruptions import (
    CORRUPTIONS,
    EMBEDDINGS,
    add_noise,
    corrupted,
    drop_parts,
    swap_parts,
)
from mmcli.fusion.inputs import LONGEST, Inputs, Rows
from mmcli.store.reader import Store
from mmcli.workflows.fuse.data import choose_keys, open_inputs
from tests.fusion.making import everything, write_store

VIEWS = ("pooled", "tokens", "levels")
ROWS = 160
EVERY: Rows = np.arange(ROWS, dtype=np.int64)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Four modalities; text has tokens, image has layers, a fifth of the parts are absent."""
    store = Store.open(everything(tmp_path / "store", ROWS))
    table = fit_tabular(store, ("price", "city"), EVERY)
    found = open_inputs(store, choose_keys(store, (), ()), table)
    found.learn(EVERY, 0)
    return found


def read(inputs: Inputs, view: str, rows: Rows = EVERY) -> dict[str, Any]:
    """What a model reads of each modality, a list of `(length, dim)` or vectors a row."""
    x, valid = inputs.batch(rows, view)
    found: dict[str, Any] = {}
    for name, values in x.items():
        real = (valid or {}).get(name)
        if real is None:
            found[name] = [v.numpy() for v in values]
        else:
            found[name] = [v[r].numpy() for v, r in zip(values, real, strict=True)]
    return found


def same(a: dict[str, Any], b: dict[str, Any], names: Any = None) -> bool:
    """Whether both hold the same numbers of these modalities."""
    return all(np.array_equal(x, y) for n in names or a for x, y in zip(a[n], b[n], strict=True))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
@pytest.mark.parametrize("view", VIEWS)
def test_the_contract_of_every_corruption(corruption: Any, view: str, inputs: Inputs) -> None:
    assert corruption.summary and corruption.reads == EMBEDDINGS
    assert callable(load_attribute(corruption.apply))
    grades = list(corruption.severities)
    assert grades == sorted(set(grades)) and grades[0] > 0
    assert not corruption.share or grades[-1] == 1
    before, present = read(inputs, view), inputs.present(EVERY)
    rows = np.random.default_rng(1).permutation(EVERY)[:100]
    outside = np.setdiff1d(EVERY, rows)
    for name in inputs.names:
        nothing = corrupted(corruption, inputs, [name], rows, 0.0, 3)
        assert same(read(nothing, view), before)
        worse = corrupted(corruption, inputs, [name], rows, grades[-1], 3)
        changed = read(worse, view)
        assert worse.names == inputs.names and worse.tabular == inputs.tabular
        assert not same(changed, before, [name])
        assert same(changed, before, [n for n in inputs.names if n != name])
        assert same(read(worse, view, outside), read(inputs, view, outside))
        there = worse.present(EVERY)
        assert not there[~present].any()
        assert np.array_equal(there[outside], present[outside])
        assert worse.blueprint(view, 2) == inputs.blueprint(view, 2)
        for row in np.flatnonzero(~there[:, inputs.names.index(name)]):
            assert not np.any(changed[name][row])
    assert same(read(inputs, view), before)
    assert np.array_equal(inputs.present(EVERY), present)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
@pytest.mark.parametrize("view", VIEWS)
def test_equal_seeds_repeat_however_rows_are_batched(
    corruption: Any, view: str, inputs: Inputs
) -> None:
    severity = corruption.severities[1]

    def made(seed: int = 5, names: Any = inputs.names, rows: Rows = EVERY) -> Inputs:
        return corrupted(corruption, inputs, names, rows, severity, seed)

    whole = read(made(), view)
    ones = [read(made(), view, EVERY[i : i + 1]) for i in EVERY]
    turned = read(made(rows=EVERY[::-1].copy()), view, EVERY[::-1].copy())
    for name in inputs.names:
        each = [one[name][0] for one in ones]
        assert all(np.array_equal(a, b) for a, b in zip(whole[name], each, strict=True))
        back = turned[name][::-1]
        assert all(np.array_equal(a, b) for a, b in zip(whole[name], back, strict=True))
        alone = made(names=[name])
        assert same(read(alone, view), whole, [name])  # the others' changes are their own
        assert np.array_equal(alone.modalities[name].present, made().modalities[name].present)
        other = made(6)
        assert not same(read(other, view), whole, [name]) or not np.array_equal(
            other.modalities[name].present, made().modalities[name].present
        )


@pytest.mark.parametrize("severity", [0.25, 2.0])
def test_noise_has_the_deviation_it_says(severity: float, tmp_path: Path) -> None:
    """Of vectors in other units, of tokens, of sequences that are shortened, and of layers."""
    rng = np.random.default_rng(0)
    rows = 400
    units = np.array([0.01, 1.0, 100.0])
    vectors = {"text": rng.standard_normal((rows, 3)) * units + 7, "text:net@1":
               rng.standard_normal((rows, 2))}  # fmt: skip
    tokens = [rng.standard_normal((3 + i % 5, 3)) * units for i in range(rows)]
    tokens[0] = rng.standard_normal((LONGEST * 20, 3)) * units
    store = Store.open(
        write_store(tmp_path / "s", vectors, {"n": ["x"] * rows},
                    sequences={"text": tokens}, layers={"text:net@1": 1})
    )  # fmt: skip
    inputs = open_inputs(store, choose_keys(store, (), ()), None)
    every = np.arange(rows, dtype=np.int64)
    inputs.learn(every, 0)
    worse = add_noise(inputs, "text", every, severity, 0)
    drawn = {}
    for view in VIEWS:
        before, after = (read(i, view, every)["text"] for i in (inputs, worse))
        noise = np.concatenate([np.atleast_2d(a - b) for a, b in zip(after, before, strict=True)])
        drawn[view] = noise
        n = len(noise)
        assert np.allclose(noise.std(0), severity, atol=4 * severity / np.sqrt(2 * n))
        assert np.allclose(noise.mean(0), 0, atol=4 * severity / np.sqrt(n))
        assert np.abs(np.corrcoef(noise.T) - np.eye(noise.shape[1])).max() < 5 / np.sqrt(n)
    long = (
        read(worse, "tokens", every[:1])["text"][0] - read(inputs, "tokens", every[:1])["text"][0]
    )
    assert long.shape == (LONGEST, 3)
    assert np.allclose(long.std(), severity, atol=4 * severity / np.sqrt(2 * long.size))
    twice = add_noise(inputs, "text", every, 2 * severity, 0)
    other = np.stack(read(twice, "pooled", every)["text"]) - np.stack(
        read(inputs, "pooled", every)["text"]
    )
    assert abs(np.corrcoef(other.ravel(), drawn["pooled"].ravel())[0, 1]) < 0.15


def test_dropped_parts_are_so_many_and_grow(inputs: Inputs) -> None:
    rows = EVERY[20:]
    for name in inputs.names:
        had = inputs.modalities[name].present
        before = np.zeros(ROWS, bool)
        for share in (0.2, 0.5, 0.8, 1.0):
            gone = had & ~drop_parts(inputs, name, rows, share, 0).modalities[name].present
            assert gone.sum() == int(share * had[rows].sum() + 0.5) and not gone[:20].any()
            assert gone[before].all()  # what a smaller share took is taken by a larger one
            before = gone
        assert np.array_equal(before[rows], had[rows])


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_swapped_parts_are_the_same_in_other_rows(view: str, share: float, inputs: Inputs) -> None:
    rows = np.random.default_rng(0).permutation(EVERY)[:120]
    for name in ("text", "image", "speech"):
        had = inputs.modalities[name].present
        worse = swap_parts(inputs, name, rows, share, 1)
        before, after = read(inputs, view)[name], read(worse, view)[name]
        moved = [i for i in EVERY if not np.array_equal(before[i], after[i])]
        having = rows[had[rows]]
        assert len(moved) == int(share * len(having) + 0.5)  # every vector is another
        assert set(moved) <= set(having.tolist())
        assert sorted(v.tobytes() for v in before) == sorted(v.tobytes() for v in after)
        assert np.array_equal(worse.modalities[name].present, had)


def test_one_row_has_nobody_to_swap_with(inputs: Inputs) -> None:
    before = read(inputs, "pooled")
    having = EVERY[inputs.modalities["text"].present]
    assert same(read(swap_parts(inputs, "text", having[:1], 1.0, 0), "pooled"), before)
    assert same(read(swap_parts(inputs, "text", EVERY[:0], 1.0, 0), "pooled"), before)
    after = read(swap_parts(inputs, "text", having[:9], 0.01, 0), "pooled")["text"]
    moved = [a.tobytes() != b.tobytes() for a, b in zip(after, before["text"], strict=True)]
    assert sum(moved) == 2


def test_what_is_held_in_memory_is_made_worse_too(inputs: Inputs) -> None:
    fresh = {c.name: read(corrupted(c, inputs, inputs.names, EVERY, 1.0, 0), "pooled")
             for c in CORRUPTIONS}  # fmt: skip
    inputs.hold({"pooled"})
    for corruption in CORRUPTIONS:
        worse = corrupted(corruption, inputs, inputs.names, EVERY, 1.0, 0)
        assert same(read(worse, "pooled"), fresh[corruption.name])
        assert all(m.view("pooled").held is not None for m in inputs.modalities.values())


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(UsageError, match="no corruption is named `nois`") as caught:
        CORRUPTIONS.get("nois")
    assert "`noise`" in caught.value.hint
