"""`evaluate retrieval --rerank`: ranks after re-ranking against every pair scored by itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.align.pair_scorer import PairScorer
from mmcli.core.errors import SpaceMismatch, UsageError
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.retrieval import evaluate_retrieval
from mmcli.workflows.evaluate.retrieval_config import RetrievalConfig
from tests.evaluate.small_stores import unit, write_store
from tests.index.small_scorers import write_scorer

ROWS = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pooled vectors that have little to do with each other, and tokens; three shards."""
    draw = np.random.default_rng(3)
    lengths = draw.integers(1, 7, ROWS)
    sequences = {
        "text": [draw.standard_normal((n, 12)).astype(np.float32) for n in lengths],
        "image": [draw.standard_normal((9, 20)).astype(np.float32) for _ in range(ROWS)],
    }
    return write_store(
        tmp_path_factory.mktemp("pairs") / "store",
        {"text": unit(ROWS, 8, 1), "image": unit(ROWS, 8, 2)},
        sequences=sequences,
        shard=12,
    )


@pytest.fixture(scope="module")
def pairs(store: Path) -> Path:
    return write_scorer(store.parent / "pairs", store, {"text": "text", "image": "image"})


@pytest.fixture(scope="module")
def scores(store: Path, pairs: Path) -> np.ndarray:
    """`(texts, images)`: what the model says of every pair, asked one text at a time."""
    opened, scorer = Store.open(store), PairScorer.open(pairs)
    images = MappedSequences(opened, "image").take(range(ROWS))
    texts = MappedSequences(opened, "text").take(range(ROWS))
    return np.stack([scorer.score("text", [words] * ROWS, images) for words in texts])


def evaluate(store: Path, pairs: Path, **options: Any) -> dict[str, Any]:
    settings = {"bootstrap": 50, "precision": "fp32", "device": "cpu", **options}
    return evaluate_retrieval(
        RetrievalConfig(str(store), "text", "image", rerank=str(pairs), **settings)
    )


def expected_order(cosine: np.ndarray, scores: np.ndarray, top: int) -> np.ndarray:
    """Each query's targets: the best `top` by cosine in the order of `scores`, then the rest."""
    orders = []
    for row, new in zip(cosine, scores, strict=True):
        order = np.argsort(-row, kind="stable")
        best = order[:top]
        orders.append(np.concatenate([best[np.argsort(-new[best])], order[top:]]))
    return np.stack(orders)


@pytest.mark.parametrize("top", [1, 4, ROWS, 500])
@pytest.mark.parametrize("ties", ["expected", "trec"])
def test_ranks_are_those_of_the_new_order(
    store: Path, pairs: Path, scores: np.ndarray, top: int, ties: str
) -> None:
    report = evaluate(store, pairs, rerank_top=top, ties=ties)
    cosine = unit(ROWS, 8, 1) @ unit(ROWS, 8, 2).T
    for name, first, second in (
        ("text-to-image", cosine, scores),
        ("image-to-text", cosine.T, scores.T),
    ):
        order = expected_order(first, second, top)
        rank = 1 + np.argwhere(order == np.arange(ROWS)[:, None])[:, 1]
        found = report["directions"][name]
        assert found["measures"]["mrr"]["value"] == pytest.approx(np.mean(1 / rank))
        assert found["measures"]["hit@5"]["value"] == pytest.approx(np.mean(rank <= 5))
        assert found["measures"]["mean_rank"]["value"] == pytest.approx(np.mean(rank))


def test_the_ranking_before_is_reported_beside_it(store: Path, pairs: Path) -> None:
    report = evaluate(store, pairs, rerank_top=10)
    plain = evaluate_retrieval(RetrievalConfig(str(store), "text", "image", bootstrap=50))
    assert (report["rerank"], report["rerank_top"]) == (str(pairs), 10)
    assert (plain["rerank"], plain["rerank_top"]) == (None, None)
    for name, direction in report["directions"].items():
        for measure, entry in direction["before_reranking"].items():
            before = plain["directions"][name]["measures"][measure]["value"]
            assert entry["other"] == pytest.approx(before)
            after = direction["measures"][measure]["value"]
            assert entry["difference"] == pytest.approx(after - before)
            assert entry["low"] <= entry["difference"] <= entry["high"] and 0 < entry["p"] <= 1
    assert "before_reranking" not in plain["directions"]["text-to-image"]


def test_run_and_page_hold_the_new_order(
    store: Path, pairs: Path, scores: np.ndarray, tmp_path: Path
) -> None:
    run, html = tmp_path / "run.txt", tmp_path / "page.html"
    evaluate(store, pairs, rerank_top=4, run=str(run), html=str(html))
    lines = [line.split() for line in run.read_text().splitlines()]
    assert len(lines) == 4 * ROWS  # what was not re-ranked has scores of another kind
    order = expected_order(unit(ROWS, 8, 1) @ unit(ROWS, 8, 2).T, scores, 4)
    for query in (0, 17):
        mine = [line for line in lines if line[0] == f"i{query:03d}"]
        assert [line[2] for line in mine] == [f"i{n:03d}" for n in order[query, :4]]
        assert [float(line[4]) for line in mine] == pytest.approx(
            scores[query, order[query, :4]].tolist(), abs=1e-4
        )
    page = html.read_text("utf-8")
    assert f"Before re-ranking by {pairs}" in page and "cosine" in page


def test_what_cannot_be_re_ranked(store: Path, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--rerank-top 0"):
        evaluate(store, pairs, rerank_top=0)
    with pytest.raises(UsageError, match="scores text against image, not text"):
        evaluate_retrieval(
            RetrievalConfig(str(store), "text", "text", rerank=str(pairs), relevant_by="id")
        )
    plain = write_store(tmp_path / "s", {"text": unit(5, 8, 1), "image": unit(5, 8, 2)})
    with pytest.raises(SpaceMismatch, match="has no sequences"):
        evaluate(plain, pairs)


def test_blocks_of_pairs_change_nothing(
    store: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(store, pairs, rerank_top=6)
    for block in (1, 7, 20):
        monkeypatch.setattr("mmcli.workflows.rerank.BLOCK_PAIRS", block)
        monkeypatch.setattr("mmcli.workflows.evaluate.rerank.BLOCK_PAIRS", block)
        assert evaluate(store, pairs, rerank_top=6)["directions"] == whole["directions"]
