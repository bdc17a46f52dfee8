"""Scoring one direction: re-ranking, and memory that does not grow with queries x targets."""

import subprocess
import sys

import numpy as np
import pytest

from mmcli.metrics.relevance import relevance_by_row, relevance_by_value
from mmcli.workflows.evaluate.retrieval_scores import Reranking, Setting, score_queries
from tests.conftest import ROOT
from tests.evaluate.small_stores import unit


def test_a_reranker_puts_the_best_in_its_order() -> None:
    image = unit(300, 16)
    text = image + 1.5 * unit(300, 16, 1)
    setting = Setting(ks=(1, 10))
    before = score_queries(text, image, relevance_by_row(300), setting).measures

    def knows(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        return (candidates == queries[:, None]).astype(np.float32)

    def knows_nothing(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        return np.zeros(candidates.shape, np.float32)

    right = score_queries(
        text, image, relevance_by_row(300), setting, reranking=Reranking(10, knows)
    ).measures
    assert 0 < before["hit@1"].mean() < before["hit@10"].mean() < 1
    np.testing.assert_array_equal(right["hit@1"], before["hit@10"])
    lost = before["first_rank"] > 10
    np.testing.assert_array_equal(right["first_rank"][lost], before["first_rank"][lost])
    blind = score_queries(
        text, image, relevance_by_row(300), setting, reranking=Reranking(10, knows_nothing)
    ).measures
    assert set(blind["first_rank"][~lost]) == {5.5}


@pytest.mark.parametrize("ties", ["expected", "trec"])
def test_a_reranker_is_told_the_callers_numbers(ties: str) -> None:
    rng = np.random.default_rng(2)
    text, image = unit(40, 4), unit(30, 4)
    order = rng.permutation(30)
    asked: list[np.ndarray] = []

    def again(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        asked.append(queries)
        return np.einsum("qd,qcd->qc", text[queries], image[candidates])

    values = np.where(np.arange(40) % 3 == 0, 99, np.arange(40) % 7)  # 99: nothing is right
    relevant = relevance_by_value(values.tolist(), (np.arange(30) % 7).tolist())
    options = {"tie_order": order if ties == "trec" else None}
    plain = score_queries(text, image, relevant, Setting(ties=ties), **options)
    same = score_queries(
        text, image, relevant, Setting(ties=ties), reranking=Reranking(8, again), **options
    )
    np.testing.assert_array_equal(np.concatenate(asked), plain.queries)
    for name, found in plain.measures.items():
        np.testing.assert_array_equal(same.measures[name], found)


def test_the_matrix_of_scores_never_exists() -> None:
    program = """
import resource
import numpy as np
from mmcli.metrics.relevance import relevance_by_row, relevance_by_value
from mmcli.workflows.evaluate.retrieval_scores import Setting, score_queries
from tests.evaluate.small_stores import unit
a, b = unit(14_000, 8), unit(14_000, 8, 1)
score_queries(a[:64], b, relevance_by_row(64), Setting())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
score_queries(a, b, relevance_by_row(14_000), Setting())
score_queries(a[:300], b, relevance_by_value([0] * 300, [0] * 14_000), Setting())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 340  # MB; the matrix of all scores takes 750
