"""`evaluate pairs`: each row's own score, in the store's order, null where a part is missing."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, UsageError
from mmcli.workflows.evaluate.pairs import PairsConfig, evaluate_pairs
from tests.conftest import Run
from tests.evaluate.small_stores import unit, write_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Eight rows; row 5's text belongs to row 6, row 2 has no text, row 3 no image."""
    image = 3 * unit(8, 12)  # of another length: a cosine does not care
    text = unit(8, 12)
    text[5] = text[6]
    has = {"text": [n != 2 for n in range(8)], "image": [n != 3 for n in range(8)]}
    return write_store(tmp_path / "store", {"image": image, "text": text}, has=has, shard=3)


def test_scores_and_ranks(store: Path, tmp_path: Path, run_here: Run) -> None:
    words = ("evaluate", "pairs", store, "--query", "text", "--target", "image")
    done = run_here(*words, "-o", "p.parquet", "--rank", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["scored"], report["without_a_part"]) == (8, 6, 2)
    table = pq.read_table(tmp_path / "p.parquet").to_pydict()
    assert table["id"] == [f"i{n:03d}" for n in range(8)]
    vectors = unit(8, 12)
    for row in range(8):
        if row in (2, 3):
            assert table["score"][row] is table["rank"][row] is None
        elif row == 5:
            assert table["score"][5] == pytest.approx(vectors[6] @ vectors[5], abs=1e-6)
            assert table["rank"][5] > 1
        else:
            assert table["score"][row] == pytest.approx(1, abs=1e-6)
            assert table["rank"][row] == 1
    assert report["min"] == pytest.approx(min(s for s in table["score"] if s is not None))
    again = run_here(*words, "-o", "p.parquet")
    assert again.returncode == 3 and "--force" in again.stderr
    quiet = run_here(*words, "-o", "p.parquet", "--force", "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert pq.read_table(tmp_path / "p.parquet").column_names == ["id", "score"]


def test_what_has_no_pairs_is_said(store: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="the table is Parquet"):
        evaluate_pairs(PairsConfig(str(store), "text", "image", str(tmp_path / "x.csv")))
    with pytest.raises(BadInput, match=r"in a directory of mmcli \(mmcli.store\)"):
        inside = str(store / "items-00000.parquet")
        evaluate_pairs(PairsConfig(str(store), "text", "image", inside, force=True))
    with pytest.raises(UsageError, match="fits itself"):
        evaluate_pairs(PairsConfig(str(store), "text", "text", out))
    with pytest.raises(BadInput, match="no key `sound`"):
        evaluate_pairs(PairsConfig(str(store), "text", "sound", out))
    half = np.arange(4) < 2
    apart = write_store(
        tmp_path / "apart",
        {"text": unit(4, 3), "image": unit(4, 3)},
        has={"text": half.tolist(), "image": (~half).tolist()},
    )
    with pytest.raises(BadInput, match=r"no row .* has both"):
        evaluate_pairs(PairsConfig(str(apart), "text", "image", out))
    assert not Path(out).exists()
