"""Labels of a store: which kind a column makes, its classes and values, and what is refused."""

import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.labels import LabelOptions, Labels, check_trainable, decode, read_labels
from tests.data.test_splits import store_of


def labels_of(path: Path, values: Any, kind: str = "auto", classes: tuple[str, ...] = ()) -> Labels:
    """The labels of a store whose column `label` holds these values."""
    store = store_of(path / "s", shard=100, label=values)
    return read_labels(store, LabelOptions("label", kind, classes))


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        ([True, False, None, True, False], "binary", ("false", "true")),
        (["yes", "no", "", " ", "no", "yes"], "binary", ("no", "yes")),
        (["b", "a", "c", "b", "a", "c"], "multiclass", ("a", "b", "c")),
        ([1, 0, 1, 0], "binary", ("0", "1")),
        ([10, 9, 1, 10, 9, 1], "multiclass", ("1", "9", "10")),
        ([10.0, 9.0, -1.0, 10.0, 9.0, -1.0], "multiclass", ("-1", "9", "10")),
        ([0.0, -0.0, 1.0, 1.0], "binary", ("0", "1")),
        (["10", "9", "10", "9", "1", "1"], "multiclass", ("1", "9", "10")),
        (pa.array(["b", "a", "b", "a"]).dictionary_encode(), "binary", ("a", "b")),
        (pa.array([3, 3, 2, 2, 1, 1]).dictionary_encode(), "multiclass", ("1", "2", "3")),
        ([["a", "b"], ["b"], [], None, ["a"]], "multilabel", ("a", "b")),
        ([[10, 9], [9], [], None, [10]], "multilabel", ("9", "10")),
        (list(range(21)), "regression", ()),
        ([float(n) for n in range(21)], "regression", ()),
        ([0.5, 1.0], "regression", ()),
        ([str(n) for n in range(21)], "regression", ()),
    ],
)  # fmt: skip
def test_the_kind_is_read_from_the_values(
    tmp_path: Path, values: Any, kind: str, classes: tuple[str, ...]
) -> None:
    labels = labels_of(tmp_path, values)
    assert (labels.kind, labels.classes) == (kind, classes)


def test_twenty_whole_numbers_are_classes_and_twenty_one_are_not(tmp_path: Path) -> None:
    twenty = list(range(20)) * 2
    assert labels_of(tmp_path / "a", twenty).kind == "multiclass"
    assert labels_of(tmp_path / "b", [*twenty, 20, 20]).kind == "regression"


def test_the_values_of_each_kind(tmp_path: Path) -> None:
    single = labels_of(tmp_path / "a", ["b", None, "a", "", "a", "b"])
    assert single.values.dtype == np.int64
    assert single.values.tolist() == [1, -1, 0, -1, 0, 1]
    assert single.known.tolist() == [True, False, True, False, True, True]
    assert decode(single.classes, single.values) == ["b", None, "a", None, "a", "b"]
    many = labels_of(tmp_path / "b", [["b", "a"], None, [], ["a", "a"], ["b", None, ""]])
    assert many.values.dtype == np.float32
    assert many.values.tolist() == [[1, 1], [0, 0], [0, 0], [1, 0], [0, 1]]
    assert many.known.tolist() == [True, False, True, True, True]
    number = labels_of(tmp_path / "c", [0.5, None, 2.5, 7.0])
    assert number.values.dtype == np.float64
    assert number.values[[0, 2, 3]].tolist() == [0.5, 2.5, 7.0]
    assert math.isnan(number.values[1]) and number.known.tolist() == [True, False, True, True]


def test_shards_are_one_column(tmp_path: Path) -> None:
    values: list[Any] = [["b", "a"], None, [], ["a", "a"], ["b", None, ""], ["c"], ["c", "a"]]
    store = store_of(tmp_path / "a", shard=3, label=values)
    many = read_labels(store, LabelOptions("label"))
    assert many.values.tolist() == [
        [1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1],
    ]  # fmt: skip
    for kind in (pa.large_list(pa.string()), pa.list_(pa.string(), 2)):
        pairs = pa.array([["b", "a"], None, ["c", "a"], ["b", "c"], ["a", ""]], kind)
        store = store_of(tmp_path / str(kind), shard=2, label=pairs)
        found = read_labels(store, LabelOptions("label")).values
        assert found.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1], [1, 0, 0]]
    names = pa.array(["b", None, "a", "b", "a"]).dictionary_encode()
    single = read_labels(store_of(tmp_path / "b", shard=2, label=names), LabelOptions("label"))
    assert single.values.tolist() == [1, -1, 0, 1, 0]


def test_texts_are_compared_in_one_form(tmp_path: Path) -> None:
    labels = labels_of(tmp_path, ["caf\u00e9", "cafe\u0301", "tea", "tea"])
    assert labels.classes == ("caf\u00e9", "tea")
    assert labels.values.tolist() == [0, 0, 1, 1]


def test_a_kind_may_be_given(tmp_path: Path) -> None:
    number = labels_of(tmp_path / "a", ["1.5", "", " 2 ", "-1e1"], "regression")
    assert number.values[[0, 2, 3]].tolist() == [1.5, 2.0, -10.0]
    assert labels_of(tmp_path / "b", [True, False], "regression").values.tolist() == [1.0, 0.0]
    stars = labels_of(tmp_path / "c", [10.0, 2.5, 2.5, 10.0, 9.0, 9.0], "ordinal")
    assert (stars.kind, stars.classes) == ("ordinal", ("2.5", "9", "10"))
    small = pa.array([0.1, 0.5, 0.1, 0.5], pa.float32())
    assert labels_of(tmp_path / "d", small, "ordinal").classes == ("0.1", "0.5")
    assert labels_of(tmp_path / "e", list(range(30)) * 2, "multiclass").classes[9:11] == ("9", "10")
    day = [date(2024, 5, 1), date(2023, 1, 1)] * 2
    assert labels_of(tmp_path / "f", day, "multiclass").classes == ("2023-01-01", "2024-05-01")
    parts = labels_of(
        tmp_path / "g", ["red | blue", "red;green", "", "|", "blue;green"], "multilabel"
    )
    assert parts.classes == ("blue", "green", "red")
    assert parts.values.tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert parts.known.tolist() == [True, True, False, True, True]


def test_classes_may_be_given_in_their_order(tmp_path: Path) -> None:
    values = ["high", "low", "high", "low"]
    labels = labels_of(tmp_path / "a", values, "ordinal", ("low", "mid", "high"))
    assert labels.classes == ("low", "mid", "high")
    assert labels.values.tolist() == [2, 0, 2, 0]
    numbers = labels_of(tmp_path / "b", [1.0, 3.0, 1.0, 3.0], "ordinal", ("3", "2.0", "1.0"))
    assert numbers.classes == ("3", "2", "1")
    assert numbers.values.tolist() == [2, 0, 2, 0]
    many = labels_of(tmp_path / "c", [["a"], ["b"], ["a", "b"]], "auto", ("b", "c", "a"))
    assert many.values.tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 1]]
    with pytest.raises(BadInput, match=r"`huge` .* none of the classes \(item `r003`, row 3\)"):
        labels_of(tmp_path / "d", [*values[:3], "huge"], "ordinal", ("low", "high"))
    with pytest.raises(BadInput, match=r"`d` .* none of the classes \(item `r001`, row 1\)"):
        labels_of(tmp_path / "e", [["a"], ["b", "d"], ["a", "b"]], "auto", ("a", "b"))


def test_the_source_says_why(tmp_path: Path) -> None:
    said = labels_of(tmp_path / "a", [1, 2, 3, 1, 2, 3]).source
    assert said == "column `label` holds integers with 3 different values"
    said = labels_of(tmp_path / "b", [1, 2, 3], "regression").source
    assert said.endswith("integers with 3 different values, taken as regression as asked")


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ([None, "", " "], "auto", "has no label in any row"),
        (pa.nulls(3), "auto", "has no label in any row"),
        ([None, None, None], "multilabel", "no label|holds null"),
        (["a", "a", None], "auto", "has one value only: `a`"),
        ([2.5, 2.5, None], "auto", "has one value only: `2.5`"),
        ([7, 7, 7], "regression", "has one value only: `7`"),
        ([["a"], ["a"]], "auto", "the same classes in every row"),
        ([[], [], None], "auto", "no class in any row"),
        ([1.5, math.nan, 2.5], "auto", r"holds NaN \(item `r001`, row 1\)"),
        ([1.5, 2.5, None, math.inf], "auto", r"an infinity \(item `r003`, row 3\)"),
        (["a", "b", "a", "b", "rare"], "auto",
         r"class `rare` of column `label` has one row only \(item `r004`, row 4\)"),
        ([5, 4, 4, 5, 3], "ordinal", r"class `3` .* one row only \(item `r004`, row 4\)"),
        ([["a", "b"], ["b"], ["b", "c"], ["c"]], "auto",
         r"class `a` .* one row only \(item `r000`, row 0\)"),
        (["1.5", "2", "high", "4"], "regression", r"`high` .* no number \(item `r002`, row 2\)"),
        (["1.5", "2", "nan", "4"], "regression", r"`nan` .* no number \(item `r002`, row 2\)"),
        (["0.1", "0.2", "", "n/a", "0.3", "0.4", "?"] + [f"{n}" for n in range(90)], "auto",
         r"`n/a` .* is no number \(item `r003`, row 3\)"),
        (["a", "b", "c"] * 2, "binary", "holds 3 different values, a binary label two"),
        ([date(2024, 1, 1), date(2024, 1, 2)], "auto", "holds date32"),
        ([{"x": 1}, {"x": 2}], "auto", "holds struct"),
        ([[0.5], [1.5]], "auto", "holds list<"),
        ([["a"], ["b"]], "multiclass", "holds list<"),
        ([1, 2, 1, 2], "multilabel", "holds int64"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(
    tmp_path: Path, values: Any, kind: str, said: str
) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        labels_of(tmp_path, values, kind)
    assert "`label`" in caught.value.message and caught.value.hint


def test_four_fifths_of_numbers_are_numbers_with_a_slip(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"`x` .* is no number"):
        labels_of(tmp_path / "a", ["1", "2", "3", "4", "x"] * 2)
    labels = labels_of(tmp_path / "b", ["1", "2", "3", "x"] * 2)
    assert (labels.kind, labels.classes) == ("multiclass", ("1", "2", "3", "x"))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", label=["a", "b"])
    with pytest.raises(BadInput, match="no column `labl`") as caught:
        read_labels(store, LabelOptions("labl"))
    assert "`label`" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("multiclas", ()),
        ("ordinal", ()),
        ("regression", ("a", "b")),
        ("multiclass", ("a",)),
        ("multiclass", ("a", "a")),
        ("multiclass", ("a", "")),
        ("binary", ("a", "b", "c")),
    ],
)
def test_options_that_fit_no_column(tmp_path: Path, kind: str, classes: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        labels_of(tmp_path, ["a", "b", "a", "b"], kind, classes)


def test_what_the_train_rows_do_not_teach(tmp_path: Path) -> None:
    labels = labels_of(tmp_path / "a", ["a", "b", "c", None, "a", "b", "c"])
    assert check_trainable(labels, np.arange(7)) == []
    assert check_trainable(labels, np.array([0, 3, 5])) == ["class `c` has no row in train"]
    with pytest.raises(BadInput, match="every row of train has class `a` in column `label`"):
        check_trainable(labels, np.array([0, 3, 4]))
    with pytest.raises(BadInput, match="no row of train has a label"):
        check_trainable(labels, np.array([3]))
    number = labels_of(tmp_path / "b", [0.5, 0.5, 1.5])
    assert check_trainable(number, np.array([1, 2])) == []
    with pytest.raises(BadInput, match=r"one value \(`0.5`\)"):
        check_trainable(number, np.array([0, 1]))
    many = labels_of(tmp_path / "c", [["a", "b"], ["a"], ["a", "c"], ["b", "c"]])
    assert check_trainable(many, np.array([0, 1])) == [
        "class `c` has no row in train",
        "class `a` is in every row of train",
    ]
    with pytest.raises(BadInput, match="the same classes"):
        check_trainable(many, np.array([1]))


def test_many_warnings_are_counted(tmp_path: Path) -> None:
    labels = labels_of(tmp_path, [f"{n:02d}x" for n in range(20)] * 2)
    said = check_trainable(labels, np.array([0, 1]))
    assert said[0] == "class `02x` has no row in train" and len(said) == 6
    assert "13 more" in said[-1]


def test_what_is_none_of_the_classes_is_still_told(tmp_path: Path) -> None:
    def told(name: str, values: list[Any], kind: str, classes: tuple[str, ...]) -> Labels:
        store = store_of(tmp_path / name, label=values)
        return read_labels(store, LabelOptions("label", kind, classes, True))

    one = told("one", ["b", None, "new", "a"], "multiclass", ("a", "b"))
    assert one.told() == ["b", None, "new", "a"] and one.known.tolist() == [
        True,
        False,
        False,
        True,
    ]
    (line,) = one.strange_warning("m")
    assert line.startswith("1 rows have a label in column `label` that `m` does not know, such as")
    several = told("several", [["a"], ["b", "new"], [], None], "multilabel", ("a", "b"))
    assert several.told() == [["a"], ["b", "new"], [], None]
    numbers = told("numbers", [1.5, None, -1.0], "regression", ())
    assert numbers.told() == [1.5, None, -1.0] and not numbers.strange_warning("m")
