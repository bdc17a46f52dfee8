"""Columns as vectors: learned on the train rows alone, the same for a missing or a new value."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.tabular import Tabular, fit_tabular
from mmcli.store.reader import Store
from tests.data.test_splits import store_of


def mixed(path: Path, **changes: Any) -> Store:
    """Eight rows of every type; the first five are those to learn from."""
    columns: dict[str, Any] = {
        "age": [30, 50, None, 40, 20, 1000, None, 60],
        "price": [0.5, math.nan, 2.5, 1.5, 1.5, 2.0, math.nan, 9.0],
        "size": [1, 2, 3, 4, 5, 6, 7, 8],
        "colour": ["red", "blue", "red", None, "green", "black", "", "red"],
        "sold": [True, False, None, True, True, None, None, False],
    }
    return store_of(path, shard=3, **{**columns, **changes})


TRAIN = np.arange(5)
COLUMNS = ("age", "price", "size", "colour", "sold")


def test_the_dimensions_and_what_is_in_them(tmp_path: Path) -> None:
    store = mixed(tmp_path / "s")
    tabular = fit_tabular(store, COLUMNS, TRAIN)
    assert tabular.columns == COLUMNS
    assert tabular.names == (
        "age", "age missing", "price", "price missing", "size",
        "colour=red", "colour=blue", "colour=green", "colour other", "colour missing",
        "sold=true", "sold=false", "sold other", "sold missing",
    )  # fmt: skip
    found, present = tabular.encode(store)
    assert found.dtype == np.float32 and found.shape == (8, tabular.dim)
    assert present.tolist() == [True] * 8
    column = dict(zip(tabular.names, found.T, strict=True))
    ages = np.array([30, 50, 40, 20], float)
    filled = np.array([30, 50, 35, 40, 20, 1000, 35, 60], float)  # 35 is the median
    np.testing.assert_allclose(column["age"], (filled - ages.mean()) / ages.std(), rtol=1e-6)
    assert column["age missing"].tolist() == [0, 0, 1, 0, 0, 0, 1, 0]
    prices = np.array([0.5, 1.5, 2.5, 1.5, 1.5, 2.0, 1.5, 9.0])
    known = np.array([0.5, 2.5, 1.5, 1.5])
    np.testing.assert_allclose(column["price"], (prices - known.mean()) / known.std(), rtol=1e-6)
    np.testing.assert_allclose(column["size"], (np.arange(1, 9) - 3) / math.sqrt(2), rtol=1e-6)
    assert column["colour=red"].tolist() == [1, 0, 1, 0, 0, 0, 0, 1]
    assert column["colour other"].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert column["colour missing"].tolist() == [0, 0, 0, 1, 0, 0, 1, 0]
    assert column["sold=true"].tolist() == [1, 0, 0, 1, 1, 0, 0, 0]
    ones = found[:, tabular.names.index("colour=red") :]
    assert (ones.sum(axis=1) == 2).all()


def test_other_rows_teach_nothing(tmp_path: Path) -> None:
    learned = fit_tabular(mixed(tmp_path / "a"), COLUMNS, TRAIN).to_json()
    others = mixed(
        tmp_path / "b",
        age=[30, 50, None, 40, 20, -(10**15), 7, None],
        price=[0.5, math.nan, 2.5, 1.5, 1.5, 1e300, -1e300, math.nan],
        size=[1, 2, 3, 4, 5, None, 10**18, -1],
        colour=["red", "blue", "red", None, "green", "ultraviolet", "blue", "blue"],
        sold=[True, False, None, True, True, False, False, False],
    )
    assert json.dumps(fit_tabular(others, COLUMNS, TRAIN).to_json()) == json.dumps(learned)
    shuffled = fit_tabular(others, COLUMNS, TRAIN[::-1].copy()).to_json()
    assert json.dumps(shuffled) == json.dumps(learned)
    more = fit_tabular(others, COLUMNS, np.arange(8)).to_json()
    assert more != learned


def test_what_was_learned_survives_json(tmp_path: Path) -> None:
    store = mixed(tmp_path / "s")
    tabular = fit_tabular(store, COLUMNS, TRAIN)
    again = Tabular.from_json(json.loads(json.dumps(tabular.to_json(), allow_nan=False)))
    assert again == tabular
    assert (again.encode(store)[0] == tabular.encode(store)[0]).all()


def test_a_row_without_any_value_is_absent(tmp_path: Path) -> None:
    store = mixed(tmp_path / "s")
    _, present = fit_tabular(store, ("age", "price", "colour"), TRAIN).encode(store)
    assert present.tolist() == [True, True, True, True, True, True, False, True]


def test_a_gap_that_train_did_not_have_is_filled(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", size=[1, 2, 6, None])
    tabular = fit_tabular(store, ["size"], np.array([0, 1, 2]))
    assert tabular.names == ("size",)
    found, present = tabular.encode(store)
    assert found[3] == found[1] and present.tolist() == [True, True, True, False]


def test_a_constant_is_scaled_by_one(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", x=[0.1] * 9 + [1.1])
    found, _ = fit_tabular(store, ["x"], np.arange(9)).encode(store)
    assert found[:9].tolist() == [[0.0]] * 9
    assert found[9, 0] == pytest.approx(1.0)


def test_the_most_frequent_fifty_have_a_dimension(tmp_path: Path) -> None:
    often = [f"c{n:02d}" for n in range(49) for _ in range(3)]
    values = [*often, "y", "y", "x", "x", "once"]
    store = store_of(tmp_path / "s", shard=40, kind=values)
    tabular = fit_tabular(store, ["kind"], np.arange(len(values)))
    assert len(tabular.names) == 52
    assert tabular.names[48:] == ("kind=c48", "kind=x", "kind other", "kind missing")
    found, _ = tabular.encode(store)
    assert found[-5:, 50].tolist() == [1, 1, 0, 0, 1]


def test_texts_that_all_differ_are_refused_unless_declared(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", shard=60, name=[f"item {n}" for n in range(60)])
    with pytest.raises(BadInput, match=r"column `name` .* looks like text or an id: 60") as caught:
        fit_tabular(store, ["name"], np.arange(60))
    assert "categorical" in caught.value.hint
    assert fit_tabular(store, ["name"], np.arange(60), {"name": "categorical"}).dim == 52
    assert fit_tabular(store, ["name"], np.arange(40)).dim == 42


def test_a_kind_may_be_declared(tmp_path: Path) -> None:
    store = store_of(
        tmp_path / "s",
        text=["1", " 2.5 ", "", "-3e1"],
        zone=pa.array([1.0, 2.0, None, 2.5], pa.float32()),
        old=pa.array(["b", "a", None, "b"]).dictionary_encode(),
    )
    declared = {"text": "numeric", "zone": "categorical"}
    tabular = fit_tabular(store, ["text", "zone", "old"], np.arange(4), declared)
    assert tabular.names[:2] == ("text", "text missing")
    assert tabular.names[2:5] == ("zone=1", "zone=2", "zone=2.5")
    assert tabular.names[7:9] == ("old=b", "old=a")
    found, _ = tabular.encode(store)
    known = np.array([1, 2.5, -30])
    np.testing.assert_allclose(found[[0, 1, 3], 0], (known - known.mean()) / known.std(), rtol=1e-6)


def test_a_store_of_other_types_is_read_alike(tmp_path: Path) -> None:
    """A gap turns integers into floats, and a slip turns them into texts."""
    store = store_of(tmp_path / "a", zone=[1, 2, 1, 2])
    tabular = fit_tabular(store, ["zone"], np.arange(4), {"zone": "categorical"})
    other = store_of(tmp_path / "b", zone=[1.0, None, 2.0])
    assert tabular.encode(other)[0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    numeric = fit_tabular(store, ["zone"], np.arange(4))
    assert numeric.encode(store_of(tmp_path / "c", zone=["1", "2"]))[0].tolist() == [[-1], [1]]
    with pytest.raises(
        BadInput, match=r"`n/a` of column `zone` is no number .*\(item `r001`, row 1"
    ):
        numeric.encode(store_of(tmp_path / "d", zone=["1", "n/a"]))


@pytest.mark.parametrize(
    ("values", "declared", "said"),
    [
        ([1.0, 2.0, 3.0, math.inf], "", r"column `x` holds an infinity .*\(item `r003`, row 3\)"),
        (["1", "2", "3", "four"], "numeric", r"`four` .* no number .*\(item `r003`, row 3\)"),
        ([None, None, None, None], "", "column `x` .* has no value in any row of train"),
        (pa.array([None, None, None, None], pa.int64()), "", "has no value"),
        (pa.array([None, None, None, None], pa.string()), "", "has no value"),
        ([[1], [2], [3], [4]], "", "holds list<.*neither numbers nor categories"),
        ([[1], [2], [3], [4]], "numeric", "holds list<"),
        ([{"a": 1}] * 4, "categorical", "holds struct<"),
    ],
)
def test_what_is_refused(tmp_path: Path, values: Any, declared: str, said: str) -> None:
    store = store_of(tmp_path / "s", shard=3, x=values)
    with pytest.raises(BadInput, match=said):
        fit_tabular(store, ["x"], np.arange(4), {"x": declared} if declared else {})


def test_a_number_beyond_float32_is_named(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", x=[1.0, 2.0, 1e300])
    with pytest.raises(
        BadInput, match=r"1e\+300 of column `x` is too far .*\(item `r002`, row 2\)"
    ):
        fit_tabular(store, ["x"], np.arange(2)).encode(store)
    found, _ = fit_tabular(store, ["x"], np.arange(3)).encode(store)
    assert found[:, 0].tolist() == pytest.approx([-math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2)])


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    store = store_of(tmp_path / "a", age=[1, 2])
    with pytest.raises(BadInput, match="no column `agee`") as caught:
        fit_tabular(store, ["agee"], np.arange(2))
    assert "`age`" in caught.value.hint
    tabular = fit_tabular(store, ["age"], np.arange(2))
    with pytest.raises(BadInput, match="no column `age`"):
        tabular.encode(store_of(tmp_path / "b", year=[1, 2]))


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", age=[1, 2])
    for columns, declared in (
        ([], {}),
        (["age", "age"], {}),
        (["age"], {"agee": "numeric"}),
        (["age"], {"age": "number"}),
    ):
        with pytest.raises(UsageError):
            fit_tabular(store, columns, np.arange(2), declared)
    with pytest.raises(BadInput, match="no row"):
        fit_tabular(store, ["age"], np.array([], int))
