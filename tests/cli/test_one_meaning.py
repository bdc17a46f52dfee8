"""The same data in any form gives the same vectors and ids (row 20)."""

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from tests.conftest import picture, recording
from tests.contracts.tiny_families import vit
from tests.engine.test_extraction import vectors

MEDIA = ("image", "speech")


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, str]]:
    rows = []
    for i in range(12):
        picture(tmp_path / f"in/p{i:02d}.png", i)
        recording(tmp_path / f"in/p{i:02d}.wav", i)
        (tmp_path / f"in/p{i:02d}.txt").write_text(f"第{i}张图片, picture {i}", "utf-8")
        text = f"第{i}张图片, picture {i}"
        name = f"p{i:02d}"
        rows.append({"id": name, "image": f"{name}.png", "speech": f"{name}.wav", "text": text})
    return rows


def with_bytes(items: list[dict[str, str]], base: Path) -> list[dict[str, Any]]:
    """The rows as Hugging Face datasets keep them: media as bytes and a name."""
    return [
        {**row, **{m: {"bytes": (base / row[m]).read_bytes(), "path": row[m]} for m in MEDIA}}
        for row in items
    ]


def archive(path: Path, members: list[Path]) -> None:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.add(member, f"./{member.name}")


def saved_datasets(rows: list[dict[str, Any]], base: Path) -> None:
    """A Dataset and a DatasetDict, written by the library itself."""
    import datasets

    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "image": datasets.Image(),
            "speech": datasets.Audio(),
            "text": datasets.Value("string"),
        }
    )
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)  # as `from_list` would, but
    whole = datasets.Dataset(datasets.table.InMemoryTable(table))  # without an encoder of sound
    whole.save_to_disk(str(base / "saved"), num_shards=2)
    parts = {"train": whole.select(range(7)), "validation": whole.select(range(7, 12))}
    datasets.DatasetDict(parts).save_to_disk(str(base / "dict"))


def test_same_vectors_from_any_form(
    items: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "in"
    (base / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in items), "utf-8")
    for name, delimiter in (("t.csv", ","), ("t.tsv", "\t")):
        with (base / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, items[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(items)
    pq.write_table(pa.Table.from_pylist(items), base / "t.parquet")
    full = with_bytes(items, base)
    pq.write_table(pa.Table.from_pylist(full), base / "hf.parquet", row_group_size=5)
    saved_datasets(full, base)
    members = sorted(base.glob("p*.*"))
    archive(base / "whole.tar", members)
    archive(base / "part-000.tar", members[:12])
    archive(base / "part-001.tar", members[12:])
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/in/{member.name}": member.read_bytes() for member in members})
    memory.pipe("/in/t.jsonl", (base / "t.jsonl").read_bytes())
    memory.pipe("/in/hf.parquet", (base / "hf.parquet").read_bytes())
    memory.pipe("/in/w.tar", (base / "whole.tar").read_bytes())
    urls = [{**row, **{m: f"file://{base}/{row[m]}" for m in MEDIA}} for row in items]
    listed = "\n".join(str(p) for p in sorted(base.glob("p*.*")))
    forms: dict[str, tuple[str, str | None]] = {
        "folder": ("in", None),
        "glob": ("in/p*", None),
        "jsonl": ("in/t.jsonl", None),
        "csv": ("in/t.csv", None),
        "tsv": ("in/t.tsv", None),
        "parquet": ("in/t.parquet", None),
        "hf-parquet": ("in/hf.parquet", None),
        "saved": ("in/saved", None),
        "dict": ("in/dict", None),
        "tar": ("in/whole.tar", None),
        "braces": ("in/part-{000..001}.tar", None),
        "tars": ("in/part-*.tar", None),
        "url-table": ("memory://in/t.jsonl", None),
        "url-parquet": ("memory://in/hf.parquet", None),
        "url-tar": ("memory://in/w.tar", None),
        "url-cells": ("-", "".join(json.dumps(row) + "\n" for row in urls)),
        "paths": ("-", listed),
        "rows": ("-", (base / "t.jsonl").read_text("utf-8")),
    }
    encoders = {"image": (f"local:{vit(tmp_path / 'vit')}",), "speech": ("mfcc",)}
    found = {}
    for name, (source, stdin) in forms.items():
        root = "in" if stdin else None
        config = ExtractConfig(source, f"s-{name}", encoders=encoders, root=root, workers=0)
        report = extract(config, stdin=io.BytesIO((stdin or "").encode()))
        assert report["ok"] == 12, name
        found[name] = {
            slug: vectors(tmp_path / f"s-{name}", slug) for slug in ("image", "text", "speech")
        }
    reference = found.pop("folder")
    for name, keys in found.items():
        for slug, rows in keys.items():
            assert list(rows) == list(reference[slug]), f"{name} {slug}"
            for row, vector in rows.items():
                assert (vector == reference[slug][row]).all(), f"{name} {slug} {row}"
