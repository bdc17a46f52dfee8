"""Towers: the definition, by numpy and by torch alike, and the trip through JSON."""

from typing import Any

import numpy as np
import pytest

from mmcli.align.tower import Branch, Tower, gelu, unit

RANDOM = np.random.default_rng(0)
INPUTS = {
    "a": RANDOM.standard_normal((9, 6)).astype(np.float32),
    "b": np.abs(RANDOM.standard_normal((9, 4))).astype(np.float32),
}


def array(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


TOWERS = {
    "identity": Tower((Branch(("a",), "identity"),), 6),
    "linear": Tower(
        (Branch(("a", "b"), "linear", ("unit",), layers=1),),
        3,
        arrays={"0.weight0": array(10, 3), "0.bias0": array(3)},
    ),
    "residual": Tower(
        (
            Branch(("a",), "identity", unit_output=True),
            Branch(("b",), "mlp", ("sqrt", "unit"), standardized=True, weight=0.5, layers=2),
        ),
        6,
        arrays={
            "1.mean": array(4), "1.scale": np.abs(array(4)) + 1, "1.weight0": array(4, 5),
            "1.bias0": array(5), "1.weight1": array(5, 6), "1.bias1": array(6),
        },
    ),
    "kernel": Tower(
        (Branch(("b",), "kernel", gamma=0.7),),
        3,
        arrays={"0.landmarks": array(5, 4), "0.weight0": array(5, 3), "0.bias0": array(3)},
    ),
    "groups": Tower(
        (
            Branch(("a",), "linear", layers=1),
            Branch(("b",), "linear", layers=1, group=1),
            Branch(("a",), "linear", layers=1, group=1),
        ),
        8,
        arrays={
            f"{n}.{name}": value
            for n, width in enumerate((6, 4, 6))
            for name, value in (("weight0", array(width, 8)), ("bias0", array(8)))
        },
    ),
    "not normalized": Tower((Branch(("a",), "identity"),), 6, normalized=False),
}  # fmt: skip


@pytest.mark.parametrize("name", TOWERS)
def test_numpy_and_torch_agree(name: str) -> None:
    from mmcli.align.torch_tower import TorchTower, torch

    tower = TOWERS[name]
    mine = tower.apply(INPUTS)
    module = TorchTower(tower, frozenset(range(len(tower.branches))))
    theirs = module({key: torch.from_numpy(x) for key, x in INPUTS.items()}).detach().numpy()
    assert mine.dtype == np.float32 and mine.shape == (9, tower.dim)
    np.testing.assert_allclose(mine, theirs, atol=1e-6)
    if tower.normalized:
        np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-6)
    back = module.finished()
    np.testing.assert_array_equal(back.apply(INPUTS), mine)


def test_a_residual_is_the_sum_that_it_says() -> None:
    tower = TOWERS["residual"]
    p = tower.arrays
    x = unit(np.sqrt(INPUTS["b"]))
    x = (x - p["1.mean"]) / p["1.scale"]
    hidden = gelu(x @ p["1.weight0"] + p["1.bias0"])
    expected = unit(unit(INPUTS["a"]) + 0.5 * (hidden @ p["1.weight1"] + p["1.bias1"]))
    np.testing.assert_allclose(tower.apply(INPUTS), expected, atol=1e-6)


def test_each_group_has_unit_length_before_they_are_added() -> None:
    tower = TOWERS["groups"]
    p = tower.arrays
    first = unit(INPUTS["a"] @ p["0.weight0"] + p["0.bias0"])
    second = INPUTS["b"] @ p["1.weight0"] + p["1.bias0"] + INPUTS["a"] @ p["2.weight0"]
    expected = unit(first + unit(second + p["2.bias0"]))
    np.testing.assert_allclose(tower.apply(INPUTS), expected, atol=1e-6)


def test_gelu_is_the_exact_one() -> None:
    from math import erf

    x = np.linspace(-6, 6, 201, dtype=np.float32)
    expected = [v * 0.5 * (1 + erf(v / 2**0.5)) for v in x.tolist()]
    np.testing.assert_allclose(gelu(x), expected, atol=2e-6)


def test_zeros_stay_zeros_and_no_rows_are_no_rows() -> None:
    tower = TOWERS["identity"]
    assert not tower.apply({"a": np.zeros((2, 6), np.float32)}).any()
    assert tower.apply({"a": np.zeros((0, 6), np.float32)}).shape == (0, 6)


@pytest.mark.parametrize("name", TOWERS)
def test_json_and_back(name: str) -> None:
    import json

    tower = TOWERS[name]
    back = Tower.from_json(json.loads(json.dumps(tower.to_json())), tower.arrays)
    assert back.branches == tower.branches
    np.testing.assert_array_equal(back.apply(INPUTS), tower.apply(INPUTS))


def test_standardising_the_weights_is_standardising_the_rows() -> None:
    from mmcli.align.torch_tower import TorchTower, torch

    tower = TOWERS["residual"]
    given = {key: torch.from_numpy(x) for key, x in INPUTS.items()}
    module = TorchTower(tower, frozenset({1}), dropout=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert module._folds(tower.branches[1])
        folded = module(given)
    torch.testing.assert_close(folded, module(given), atol=0.02, rtol=0)
    dropping = TorchTower(tower, frozenset({1}), dropout=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert not dropping._folds(tower.branches[1])
        assert dropping.eval()._folds(tower.branches[1])
