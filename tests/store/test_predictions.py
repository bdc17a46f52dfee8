"""Reading predictions: what each task gives, and what is refused with its file and row."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmcli.core.errors import BadInput
from mmcli.store.predictions import Predictions
from tests.evaluate.small_predictions import write_predictions

CLASSES = {"cat": "probability_cat", "dog": "probability_dog"}


def shares(*first: float | None) -> dict[str, list[float | None]]:
    other = [None if p is None else 1 - p for p in first]
    return {"probability_cat": list(first), "probability_dog": other}


def test_the_least_that_another_program_writes(tmp_path: Path) -> None:
    columns = {"label": ["dog", None, "cat"], "prediction": ["cat", "cat", "cat"], "n": [1, 2, 3]}
    found = Predictions.open(write_predictions(tmp_path / "p", columns))
    assert (found.task, found.classes, found.positive) == ("classification", ("cat", "dog"), 1)
    assert found.truth.tolist() == [1, -1, 0] and found.predicted.tolist() == [0, 0, 0]
    assert found.scored.tolist() == [0, 2] and found.probabilities is None
    assert found.columns == ("n",) and found.column("n").to_pylist() == [1, 2, 3]
    assert found.ids == ["r000", "r001", "r002"]


def test_what_mmcli_writes(tmp_path: Path) -> None:
    columns = {
        "label": pa.array(["dog", "cow", "cat"]),
        "prediction": pa.array(["cat", "dog", None]).dictionary_encode(),
        **shares(0.75, 0.25, None),
    }
    path = write_predictions(
        tmp_path / "p", columns, ours=True, task="classification", classes=CLASSES, rows=3,
        positive="cat",
    )  # fmt: skip
    found = Predictions.open(path)
    assert found.strange.tolist() == [False, True, False] and found.known.tolist() == [1, 0, 1]
    assert found.answered.tolist() == [True, True, False] and found.positive == 0
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities[:2], [[0.75, 0.25], [0.25, 0.75]])
    (path / "items.parquet").write_bytes((path / "items.parquet").read_bytes() + b"x")
    with pytest.raises(BadInput, match="bytes"):
        Predictions.open(path)


def test_numbers_sets_and_other_types(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"label": [1.5, None, float("nan")], "prediction": [1, 2, 3]}
    numbers = Predictions.open(write_predictions(tmp_path / "n", columns))
    assert (numbers.task, numbers.classes) == ("regression", ())
    assert numbers.known.tolist() == [True, False, False] and numbers.predicted.tolist() == [
        1,
        2,
        3,
    ]
    columns = {"label": [["b", "a"], [], None], "prediction": [["a"], ["a", "c"], []]}
    sets = Predictions.open(write_predictions(tmp_path / "s", columns))
    assert (sets.task, sets.classes) == ("multilabel", ("a", "b", "c"))
    assert sets.truth.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert sets.predicted.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert sets.known.tolist() == [True, True, False]
    given = Predictions.open(write_predictions(tmp_path / "g", columns, classes=["a", "c"]))
    assert given.strange.tolist() == [True, False, False]
    whole = Predictions.open(
        write_predictions(tmp_path / "w", {"label": [1, 0], "prediction": [1, 1]})
    )
    assert (whole.task, whole.classes) == ("classification", ("0", "1"))


def test_the_order_of_ordered_classes(tmp_path: Path) -> None:
    columns = {"label": ["low", "high"], "prediction": ["middle", "high"]}
    order = ["low", "middle", "high"]
    as_list = write_predictions(tmp_path / "l", columns, task="ordinal", classes=order)
    assert Predictions.open(as_list).classes == tuple(order)
    columns_of = {c: f"probability_{c}" for c in order}
    as_object = write_predictions(tmp_path / "o", columns, task="ordinal", classes=columns_of)
    assert Predictions.open(as_object).classes == tuple(order)
    # a manifest that mmcli writes sorts its objects, so there the order must be said
    ours = write_predictions(
        tmp_path / "m", columns, ours=True, task="ordinal", classes=columns_of, order=order
    )
    assert Predictions.open(ours).classes == tuple(order)
    silent = write_predictions(
        tmp_path / "s", columns, ours=True, task="ordinal", classes=columns_of
    )
    with pytest.raises(BadInput, match="does not say the order"):
        Predictions.open(silent)
    numbers = {"label": [10, 9], "prediction": [9, 2]}
    stars = Predictions.open(write_predictions(tmp_path / "n", numbers, task="ordinal"))
    assert stars.classes == ("2", "9", "10")


GOOD = {"label": ["cat", "dog"], "prediction": ["cat", "cat"]}


@pytest.mark.parametrize(
    ("columns", "manifest", "says"),
    [
        ({"prediction": ["cat"]}, {}, r"items.parquet` has no column `label`"),
        ({**GOOD, "id": ["x", "x"]}, {}, r"items.parquet:row 2: id `x` is already that of row 1"),
        ({**GOOD, "id": ["x", None]}, {}, r"items.parquet:row 2: it has no id"),
        ({**GOOD, "id": [1, 2]}, {}, r"`id` holds int64"),
        (GOOD, {"classes": ["dog", "cow"]}, r"row 1: prediction `cat` is none of the classes"),
        (
            {"label": [["a"], []], "prediction": [[], ["z"]]},
            {"classes": ["a"]},
            r"row 2: prediction `z`",
        ),
        ({"label": [["a"]], "prediction": [["a", None]]}, {}, r"row 1: .* has an empty label"),
        ({**GOOD, "probability_cat": [1, 1]}, {"classes": CLASSES}, r"no column `probability_dog`"),
        (
            {**GOOD, **shares(0.5, None)},
            {"classes": CLASSES},
            r"row 2: `probability_cat` is missing",
        ),
        (
            {**GOOD, **shares(0.5, float("nan"))},
            {"classes": CLASSES},
            r"row 2: `probability_cat` is missing",
        ),
        ({**GOOD, **shares(1.5, 0.5)}, {"classes": CLASSES}, r"row 1: `probability_cat` is 1.5"),
        (
            {**GOOD, "probability_cat": [0.5, 0.5], "probability_dog": [0.5, 0.502]},
            {"classes": CLASSES},
            r"row 2: its probabilities sum to 1.002",
        ),
        (
            {**GOOD, "probability_cat": ["a", "b"], "probability_dog": [0.5, 0.5]},
            {"classes": CLASSES},
            r"`probability_cat` holds string",
        ),
        (
            {**GOOD, **shares(0.5, 0.5), "probability_cow": [0.0, 0.0]},
            {},
            r"`probability_cow` is of no class",
        ),
        (GOOD, {"classes": ["dog", "dog", "cat"]}, r"stands twice"),
        (GOOD, {"classes": 3}, r"neither an object nor a list"),
        (GOOD, {"classes": ["cat", "dog"], "order": ["cat"]}, r"`order` does not name"),
        (GOOD, {"positive": "cow"}, r"`positive` is `cow`"),
        (GOOD, {"task": "guessing"}, r"task `guessing` is unknown"),
        (GOOD, {"task": "regression"}, r"`label` holds string, not numbers"),
        (GOOD, {"task": "multilabel"}, r"`label` holds string, not lists"),
        (GOOD, {"rows": 3}, r"has 2 rows, .*manifest.json` says 3"),
        (GOOD, {"items": "other.parquet"}, r"other.parquet` is missing"),
        (
            {"label": [1.0], "prediction": [float("inf")]},
            {},
            r"items.parquet:row 1: `prediction` is infinite",
        ),
        ({"label": [0.5], "prediction": [0.5]}, {"task": "classification"}, r"holds double, not"),
    ],
)
def test_what_is_refused(
    columns: dict[str, Any], manifest: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = write_predictions(tmp_path / "p", columns, **manifest)
    with pytest.raises(BadInput, match=says) as error:
        Predictions.open(path)
    assert error.value.hint and "\n" not in error.value.message


def test_sums_may_be_rounded(tmp_path: Path) -> None:
    rounded = pa.array([0.3337, 1.0000001], pa.float32()), pa.array([0.6667, 0.0], pa.float32())
    columns = {**GOOD, "probability_cat": rounded[0], "probability_dog": rounded[1]}
    found = Predictions.open(write_predictions(tmp_path / "p", columns, classes=CLASSES))
    assert found.probabilities is not None and found.probabilities.max() == 1
