"""Columns written into a text: what stands there, in which order, and what is left out."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcli.fusion.early.as_text import example, written
from tests.contracts.tiny_models import sentence_transformer
from tests.fusion.making import splits, xor_store


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("a red chair", {"price": 12.5, "city": "Paris"}, "a red chair. price: 12.5, city: Paris"),
        ("a red chair", {"city": "Paris", "price": 12.5}, "a red chair. city: Paris, price: 12.5"),
        ("Is it red?", {"price": 3.0}, "Is it red? price: 3"),
        ("椅子。", {"price": 3.0}, "椅子。 price: 3"),
        ("a red chair", {"price": None, "size": math.nan, "city": " "}, "a red chair"),
        ("a red chair", {"price": math.nan, "city": "Paris"}, "a red chair. city: Paris"),
        (None, {"price": 0, "sold": False, "new": True}, "price: 0, sold: false, new: true"),
        (" ", {"price": 12.5}, "price: 12.5"),
        ("a red chair", {}, "a red chair"),
        ("a", {"id": 1234567, "share": 1 / 3, "tiny": 1e-9},
         "a. id: 1234567, share: 0.333333, tiny: 1e-09"),
        (None, {"price": None}, ""),
        (None, {}, ""),
    ],
)  # fmt: skip
def test_written(text: str | None, columns: dict[str, Any], expected: str) -> None:
    assert written(text, columns) == expected


def test_the_example_shows_what_is_written() -> None:
    assert example()[1:] == [
        'all present:   "a red chair. price: 12.5, city: Paris"',
        'price missing: "a red chair. city: Paris"',
        'text missing:  "price: 12.5, city: Paris"',
    ]


def test_the_method_trains_is_saved_and_predicts_the_same(tmp_path: Path, run_here: Any) -> None:
    """The label is in a column that only the text encoder gets to see."""
    sentence_transformer(tmp_path / "tiny")
    words = ["tiger", "cup", "kitten", "spacecraft"]
    lines = ["text,kind,label,split"]
    for i, split in enumerate(splits(160)):
        kind = "" if i % 11 == 0 else ["red", "blue"][i % 2]
        text = "" if i % 13 == 0 else f"a {words[i % 4]}"
        lines.append(f"{text},{kind},{['yes', 'no'][i % 2]},{split}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    assert run_here(
        "extract", "rows.csv", "-o", "store", "--text", "local:tiny", "-q"
    ).returncode in (0, 6)
    options = ("--tabular", "kind", "--seeds", 1, "--epochs", 3, "--method", "as-text", "--json")
    done = run_here("fuse", "train", "store", "-o", "m", "--label", "label", *options)
    assert done.returncode == 0, done.stderr
    kept = json.loads(done.stdout)["model_scores"]
    assert run_here("predict", "m", "store", "-o", "p", "--split", "test", "-q").returncode == 0
    table = pq.read_table(tmp_path / "p" / "items.parquet")
    shares = np.stack([table[f"probability_{c}"].to_numpy() for c in ("no", "yes")], axis=1)
    own = np.array([("no", "yes").index(c) for c in table["label"].to_pylist()])
    loss = -np.log(shares[np.arange(len(own)), own]).mean()
    assert abs(kept["log_loss"] - loss) < 1e-6
    blind = run_here(
        "predict", "m", "store", "-o", "q", "--split", "test", "--without", "text", "-q"
    )
    assert blind.returncode == 0, blind.stderr


def test_it_needs_texts_and_columns(tmp_path: Path, run_here: Any) -> None:
    store = xor_store(tmp_path / "store", 60)
    for words, said in (((), "--tabular"), (("--tabular", "split"), "embedded again")):
        done = run_here("fuse", "train", store, "-o", "m", "--label", "label", "--method",
                        "early:as-text", *words)  # fmt: skip
        assert done.returncode == 3 and said in done.stderr and "hint: " in done.stderr
