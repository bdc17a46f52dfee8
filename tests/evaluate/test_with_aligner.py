"""Evaluations through an aligner, and against one."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.data.splits import SplitOptions
from mmcli.workflows.evaluate.pairs import PairsConfig, evaluate_pairs
from mmcli.workflows.evaluate.retrieval import evaluate_retrieval
from mmcli.workflows.evaluate.retrieval_config import RetrievalConfig
from tests.evaluate.small_aligners import write_aligner
from tests.evaluate.small_stores import unit, write_store

ROWS, DIM = 40, 12


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store whose text is its image turned, in a space of its own, and the way back."""
    turn = np.linalg.qr(np.random.default_rng(9).standard_normal((DIM, DIM)))[0]
    image = unit(ROWS, DIM)
    image[3] = 0
    root = tmp_path_factory.mktemp("turned")
    store = write_store(
        root / "store",
        {"image": image, "text": (image @ turn).astype(np.float32)},
        has={"image": [n != 3 for n in range(ROWS)]},
        spaces={"text": "t@000000000000"},
        shard=15,
    )
    return store, write_aligner(root / "aligner", store, {"image": np.eye(DIM), "text": turn.T})


def test_an_aligner_brings_the_sides_together(turned: tuple[Path, Path], tmp_path: Path) -> None:
    store, aligner = turned
    with pytest.raises(SpaceMismatch, match="`t@000000000000`, key `image`"):
        evaluate_retrieval(RetrievalConfig(str(store), "text", "image"))
    report = evaluate_retrieval(
        RetrievalConfig(str(store), "text", "image", aligner=str(aligner), bootstrap=10)
    )
    found = report["directions"]["text-to-image"]
    assert (found["queries"], found["targets"]) == (ROWS - 1, ROWS - 1)
    assert found["queries_without_vector"] == 1  # the turned image of row 3 has no direction
    assert found["measures"]["hit@1"]["value"] == 1.0
    assert report["space"] == "aligned@0123456789ab"
    out = tmp_path / "pairs.parquet"
    evaluate_pairs(PairsConfig(str(store), "text", "image", str(out), aligner=str(aligner)))
    scores = pq.read_table(out).column("score").to_pylist()
    assert scores[3] is None and min(s for s in scores if s is not None) > 1 - 1e-5
    with pytest.raises(UsageError, match="does not map `speech`"):
        evaluate_retrieval(RetrievalConfig(str(store), "speech", "image", aligner=str(aligner)))


def test_against_an_aligner(turned: tuple[Path, Path], tmp_path: Path) -> None:
    good = turned[1]
    image = unit(ROWS, DIM)
    store = write_store(tmp_path / "s", {"image": image, "text": unit(ROWS, DIM, 1)})
    useless = write_aligner(
        tmp_path / "useless", store, {"image": np.eye(DIM), "text": np.eye(DIM)[::-1]}
    )
    report = evaluate_retrieval(
        RetrievalConfig(str(turned[0]), "text", "image", aligner=str(good), against=str(turned[1]))
    )
    for direction in report["directions"].values():
        assert {entry["difference"] for entry in direction["against"].values()} == {0.0}
    report = evaluate_retrieval(
        RetrievalConfig(str(store), "text", "image", against=str(useless), bootstrap=50)
    )
    entry = report["directions"]["text-to-image"]["against"]["mrr"]
    assert entry["difference"] != 0 and entry["low"] < entry["difference"] < entry["high"]
    other = write_store(tmp_path / "o", {"image": unit(9, 5), "text": unit(9, 5)})
    with pytest.raises(SpaceMismatch, match="dim"):
        evaluate_retrieval(RetrievalConfig(str(other), "text", "image", aligner=str(useless)))


def test_what_is_not_finite_is_named_before_it_is_mapped(tmp_path: Path) -> None:
    image = unit(6, DIM)
    store = write_store(tmp_path / "s", {"image": image, "text": image})
    aligner = write_aligner(tmp_path / "a", store, {"image": np.eye(DIM), "text": np.eye(DIM)})
    image[4, 0] = np.inf
    bad = write_store(tmp_path / "bad", {"image": image, "text": unit(6, DIM)})
    with pytest.raises(BadInput, match="`image` of item `i004`"):
        evaluate_retrieval(RetrievalConfig(str(bad), "text", "image", aligner=str(aligner)))


def test_rows_that_trained_the_aligner_are_no_test(tmp_path: Path) -> None:
    vectors = {"image": unit(ROWS, DIM), "text": unit(ROWS, DIM)}
    columns = {"fold": [n % 4 for n in range(ROWS)]}
    store = write_store(tmp_path / "s", vectors, columns)
    maps = {"image": np.eye(DIM), "text": np.eye(DIM)}
    aligner = write_aligner(tmp_path / "a", store, maps, {"fold": 1, "val_fraction": 0.2})

    def warnings(where: Path, **options: Any) -> list[str]:
        settings = {"aligner": str(aligner), "bootstrap": 0, **options}
        return evaluate_retrieval(RetrievalConfig(str(where), "text", "image", **settings))[
            "warnings"
        ]

    (said,) = warnings(store)
    assert said.startswith("30 of the 40 rows") and "no test" in said
    assert warnings(store, splits=SplitOptions(fold=1)) == []
    assert len(warnings(store, splits=SplitOptions(fold=2))) == 1
    assert len(warnings(store, aligner=None, against=str(aligner))) == 1
    other = write_store(tmp_path / "o", vectors, {"other": columns["fold"]})
    assert warnings(other) == []
