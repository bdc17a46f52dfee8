"""Saved Hugging Face datasets and the Parquet of their kind: media bytes, class names, splits."""

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput
from mmcli.data.files import PartError, read_regular
from mmcli.data.places import locate
from tests.conftest import picture
from tests.data.opened_sources import items, opened

FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "boxes": datasets.Array2D((1, 2), "int32"),
    }
)


def rows_of(folder: Path, count: int) -> list[dict[str, Any]]:
    return [
        {
            "image": str(picture(folder / f"p{i}.png", i)),
            "text": f"text {i}",
            "label": -1 if i == 2 else i % 2,
            "boxes": [[i, i + 1]],
        }
        for i in range(count)
    ]


def refused(tmp_path: Path, spec: object) -> str:
    with pytest.raises(BadInput) as caught:
        opened(spec, tmp_path)
    assert caught.value.hint and "\n" not in caught.value.message
    return caught.value.message.replace(f"{tmp_path}/", "")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = rows_of(tmp_path / "in", 7)
    whole = datasets.Dataset.from_list(rows, features=FEATURES)
    whole.save_to_disk(str(tmp_path / "saved"), num_shards=3)
    return tmp_path / "saved"


def test_a_saved_dataset(saved: Path, tmp_path: Path) -> None:
    source = opened(saved, tmp_path)
    assert (source.kind, source.root, source.modalities) == (
        "hf-dataset", str(saved), ("image", "text")
    )  # fmt: skip
    found = items(source)
    assert [row["id"] for row in found] == [f"{i:08d}" for i in range(7)]
    assert [row["label"] for row in found] == ["cat", "dog", None, "dog", "cat", "dog", "cat"]
    assert found[3]["boxes"] == [[3, 4]] and found[3]["text"] == "text 3"
    for i, row in enumerate(found):
        assert row["image"].endswith(f":p{i}.png")
        content = read_regular(locate(source.root, row["image"]), 1 << 20)
        assert content == (tmp_path / f"in/p{i}.png").read_bytes()


def test_splits_of_a_dict_are_a_column(tmp_path: Path) -> None:
    whole = datasets.Dataset.from_list(rows_of(tmp_path / "in", 6), features=FEATURES)
    parts = {"train": range(3), "validation": range(3, 4), "extra": range(4, 6)}
    chosen = {name: whole.select(numbers) for name, numbers in parts.items()}
    datasets.DatasetDict(chosen).save_to_disk(str(tmp_path / "dict"))
    source = opened(tmp_path / "dict", tmp_path)
    found = items(source)
    assert [row["split"] for row in found] == ["train"] * 3 + ["val"] + ["extra"] * 2
    content = read_regular(locate(source.root, found[4]["image"]), 1 << 20)
    assert content == (tmp_path / "in/p4.png").read_bytes()
    named = {name: part.add_column("split", ["x"] * len(part)) for name, part in chosen.items()}
    datasets.DatasetDict(named).save_to_disk(str(tmp_path / "both"))
    assert refused(tmp_path, tmp_path / "both") == "`both` has splits, and a column `split` too"


def test_parquet_of_the_same_kind(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "in", 150)
    whole = datasets.Dataset.from_list(rows, features=FEATURES)
    whole.to_parquet(str(tmp_path / "t.parquet"), batch_size=40)
    source = opened(tmp_path / "t.parquet", tmp_path)
    found = items(source)
    assert [row["label"] for row in found[:3]] == ["cat", "dog", None]
    for i in (149, 0, 3, 77, 76):  # in any order
        content = read_regular(locate(source.root, found[i]["image"]), 1 << 20)
        assert content == (tmp_path / f"in/p{i}.png").read_bytes()


def test_binary_parts_and_other_binary_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "pic": pa.array([b"one", None, b""], pa.large_binary()),
            "extra": [b"\0", b"\1", b"\2"],
            "mask": [{"bytes": b"m", "path": None}, {"bytes": None, "path": "m.png"}, None],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    source = opened(tmp_path / "t.parquet", tmp_path, mapping={"image": "pic"})
    one, two, three = items(source)
    assert one["image"] == "t.parquet#0.0+3:pic"
    assert (two["image"], one["extra"], two["mask"], three["mask"]) == (None, b"\0", "m.png", None)
    assert read_regular(locate(source.root, one["image"]), 10) == b"one"
    assert read_regular(locate(source.root, one["mask"]), 10) == b"m"
    with pytest.raises(PartError, match="has no bytes"):
        read_regular(locate(source.root, three["image"]), 10)
    elsewhere = opened(tmp_path / "t.parquet", tmp_path, mapping={"image": "pic"}, root="/")
    assert read_regular(locate("/", items(elsewhere)[0]["image"]), 10) == b"one"
    pq.write_table(table.slice(1), tmp_path / "t.parquet")
    with pytest.raises(PartError, match=r"is no longer row 1 of `t.parquet`"):
        read_regular(locate(source.root, one["image"]), 10)


def test_the_fingerprint_is_of_the_files(saved: Path, tmp_path: Path) -> None:
    first = opened(saved, tmp_path).fingerprint
    assert opened(saved, tmp_path).fingerprint == first
    (saved / "data-00001-of-00003.arrow").touch()
    assert opened(saved, tmp_path).fingerprint != first


def test_damage_is_named(saved: Path, tmp_path: Path) -> None:
    file = saved / "data-00001-of-00003.arrow"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path, saved).startswith("saved:row 4: cannot be read: ")
    file.write_bytes(b"")
    assert refused(tmp_path, saved).startswith(f"`{file.relative_to(tmp_path)}` is no Arrow file")
    file.unlink()
    assert refused(tmp_path, saved) == f"`{file.relative_to(tmp_path)}` of `saved` does not exist"
    state = json.loads((saved / "state.json").read_text())
    state["_data_files"][0]["filename"] = "../in/p0.png"
    (saved / "state.json").write_text(json.dumps(state))
    assert refused(tmp_path, saved) == "`saved/state.json` names `../in/p0.png`, outside its folder"
    (saved / "state.json").write_text("{")
    assert refused(tmp_path, saved) == "`saved/state.json` is not JSON"


def test_a_dataset_that_was_not_saved(saved: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(saved, cache)
    (cache / "state.json").unlink()
    with pytest.raises(BadInput, match="names no image") as caught:
        opened(cache, tmp_path)
    assert "save_to_disk" in caught.value.hint
