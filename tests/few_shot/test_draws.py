"""Which rows are drawn: nested, by class, from train alone; and how missing splits come about."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.splits import SplitOptions
from mmcli.store.reader import Store
from mmcli.workflows.few_shot.data import FewShotData, draw_shots, load_few_shot_data
from tests.evaluate.small_stores import unit, write_store
from tests.few_shot.making import CLASSES, cloud_store, told


def load(store: Path, tmp_path: Path, **options: Any) -> FewShotData:
    return load_few_shot_data(
        Store.open(store), told(store, tmp_path / "m", **options), learns=True
    )


def test_missing_splits_keep_classes_and_groups(tmp_path: Path) -> None:
    pairs = [f"g{n // 8}" for n in range(160)]  # two rows of each class in a group
    data = load(
        cloud_store(tmp_path / "s", columns={"pair": pairs}),
        tmp_path,
        splits=SplitOptions(group_by="pair", val_fraction=0.25),
    )
    assert {n: len(data.rows(n)) for n in ("train", "val", "test")} == {
        "train": 72, "val": 24, "test": 64}  # fmt: skip
    assert data.counts("test").tolist() == [16] * 4 and data.counts("val").tolist() == [6] * 4
    for group in set(pairs):
        assert len({data.names[n] for n in range(160) if pairs[n] == group}) == 1
    assert len(set(data.groups.tolist())) == 8 and len(data.groups) == 64
    assert "0.4 as test and 0.15 as val, by class and by pair" in data.split_source


def test_given_splits_are_kept(tmp_path: Path) -> None:
    given = ["test" if n < 40 else "val" if n < 60 else "train" for n in range(160)]
    data = load(cloud_store(tmp_path / "s", columns={"split": given}), tmp_path)
    assert data.names.tolist() == given and data.split_source == "column split"
    some = ["test" if n < 40 else "train" for n in range(160)]
    data = load(cloud_store(tmp_path / "t", columns={"split": some}), tmp_path)
    assert (data.names == "test").tolist() == [s == "test" for s in some]
    assert data.counts("val").tolist() == [3] * 4  # a tenth of 30


def test_draws_are_nested_and_of_train_alone(tmp_path: Path) -> None:
    data = load(cloud_store(tmp_path / "s"), tmp_path, splits=SplitOptions(val_fraction=0.25))
    draws = [draw_shots(data, (1, 2, 16), number, 0) for number in range(3)]
    for drawn in draws:
        for most in (1, 2, 16):
            draw = drawn[most]
            assert (data.names[draw.shots] == "train").all()
            assert (data.names[draw.val] == "val").all()
            assert np.bincount(data.truth[draw.shots]).tolist() == [most] * 4
            assert np.bincount(data.truth[draw.val]).tolist() == [min(most, 4)] * 4
            used = {*draw.shots.tolist(), *draw.val.tolist()}
            assert not used & set(draw.judge.tolist())
            assert len(used) + len(draw.judge) == len(data.rows("train")) + len(data.rows("val"))
        assert set(drawn[1].shots) < set(drawn[2].shots) < set(drawn[16].shots)
    assert len({tuple(drawn[1].shots.tolist()) for drawn in draws}) == 3
    again = draw_shots(data, (2,), 1, 0)[2]
    np.testing.assert_array_equal(again.shots, draws[1][2].shots)


def test_a_class_that_has_fewer_gives_all(tmp_path: Path) -> None:
    labels = ["a"] * 20 + ["b"] * 20 + ["c"] * 4
    given = (["train"] * 15 + ["test"] * 5) * 2 + ["train", "train", "val", "test"]
    columns = {"kind": labels, "split": given}
    data = load(write_store(tmp_path / "s", {"image": unit(44, 6)}, columns), tmp_path)
    draw = draw_shots(data, (40,), 0, 0)[40]
    assert np.bincount(data.truth[draw.shots]).tolist() == [15, 15, 2]
    np.testing.assert_array_equal(draw.judge, draw.val)  # nothing else is left


def test_rows_without_a_vector_or_a_label_are_left_out(tmp_path: Path) -> None:
    has = [n % 8 != 3 for n in range(160)]
    store = cloud_store(tmp_path / "s", has={"image:wide": has})
    data = load(store, tmp_path)
    assert data.reader.keys == ("image", "image:wide") and data.reader.dim == 12 + 32
    assert (data.truth >= 0).tolist() == has and data.lacking == 20
    assert any("lack" in line for line in data.warnings)
    one = load(store, tmp_path, options={"keys": ("image",)})
    assert one.lacking == 0 and one.reader.dim == 12
    features, shared = data.reader.take(np.array([5, 0]))
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    vectors = Store.open(store).load("image")
    np.testing.assert_allclose(features[:, :12] * 2**0.5, vectors[[5, 0]], atol=1e-6)
    assert shared is None


def test_what_shots_cannot_be_drawn_from_is_said(tmp_path: Path) -> None:
    split = ["train"] * 160
    split[0::4] = ["test"] * 40  # every apple
    columns = {"split": split, "size": [0.5 * n for n in range(160)]}
    store = cloud_store(tmp_path / "s", columns=columns)
    with pytest.raises(BadInput, match="class `apple` of column `kind` has no train row"):
        load(store, tmp_path)
    with pytest.raises(BadInput, match="no column `kin`"):
        load(store, tmp_path, label="kin")
    with pytest.raises(BadInput, match="is regression, and shots are of classes"):
        load(store, tmp_path, label="size")
    with pytest.raises(UsageError, match="has no speech"):
        load(store, tmp_path, only=("speech",))
    with pytest.raises(BadInput, match="no key `imag`"):
        load(store, tmp_path, options={"keys": ("imag",)})
    with pytest.raises(UsageError, match="is not a share"):
        load(store, tmp_path, splits=SplitOptions(val_fraction=1.0))
    none = cloud_store(tmp_path / "t", has={"image": [False] * 160})
    with pytest.raises(BadInput, match="has both a `kind` and image"):
        load(none, tmp_path)
    odd = unit(8, 3)
    odd[5, 1] = np.nan
    broken = write_store(tmp_path / "b", {"image": odd}, {"kind": [*CLASSES, *CLASSES]})
    data = load(broken, tmp_path)
    with pytest.raises(BadInput, match=r"item `i005` \(row 5\) is not finite"):
        data.reader.take(np.arange(8))
