"""The same data in any form gives the same vectors and ids (row 20)."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.workflows.extract import extract
from mmcli.workflows.extract_plan import ExtractConfig
from tests.conftest import picture, recording
from tests.engine.test_extraction import vectors

ENCODERS = {"image": ("efficientnet-lite0",), "speech": ("mfcc",)}


@pytest.fixture
def items(tmp_path: Path) -> list[dict[str, str]]:
    rows = []
    for i in range(5):
        picture(tmp_path / f"in/p{i}.png", i)
        recording(tmp_path / f"in/p{i}.wav", i)
        (tmp_path / f"in/p{i}.txt").write_text(f"第{i}张图片, picture {i}", "utf-8")
        text = f"第{i}张图片, picture {i}"
        rows.append({"id": f"p{i}", "image": f"p{i}.png", "speech": f"p{i}.wav", "text": text})
    return rows


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
    listed = "\n".join(str(p) for p in sorted(base.glob("p*.*")))
    forms: dict[str, tuple[str, str | None]] = {
        "folder": ("in", None),
        "glob": ("in/p*", None),
        "jsonl": ("in/t.jsonl", None),
        "csv": ("in/t.csv", None),
        "tsv": ("in/t.tsv", None),
        "parquet": ("in/t.parquet", None),
        "paths": ("-", listed),
        "rows": ("-", (base / "t.jsonl").read_text("utf-8")),
    }
    found = {}
    for name, (source, stdin) in forms.items():
        root = "in" if stdin else None
        config = ExtractConfig(source, f"s-{name}", encoders=ENCODERS, root=root)
        report = extract(config, stdin=io.BytesIO((stdin or "").encode()))
        assert report["ok"] == 5, name
        found[name] = {
            slug: vectors(tmp_path / f"s-{name}", slug) for slug in ("image", "text", "speech")
        }
    reference = found.pop("folder")
    for name, keys in found.items():
        for slug, rows in keys.items():
            assert list(rows) == list(reference[slug]), f"{name} {slug}"
            for row, vector in rows.items():
                assert (vector == reference[slug][row]).all(), f"{name} {slug} {row}"
