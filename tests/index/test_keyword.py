"""Keywords: BM25 against its formula, also over several folders; words of any script; fusion."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmcli.core.errors import BadInput
from mmcli.index.keyword import Keywords, best, terms_of, write_keywords
from mmcli.index.reciprocal_rank import fuse

TEXTS = ["a red cat", "a red red fox jumps", "the 12th cat of Kantstraße", "", None, "猫在睡觉"]


def bm25(texts: list[list[str]], words: list[str], average: float | None = None) -> list[float]:
    """Robertson's formula with Lucene's inverse document frequency."""
    n, k1, b = len(texts), 1.5, 0.75
    average = average or sum(map(len, texts)) / n
    scores = []
    for terms in texts:
        total = 0.0
        for word in words:
            held = sum(word in other for other in texts)
            tf = terms.count(word)
            idf = math.log(1 + (n - held + 0.5) / (held + 0.5))
            total += idf * tf / (tf + k1 * (1 - b + b * len(terms) / average))
        scores.append(total)
    return scores


def test_terms() -> None:
    assert terms_of("A Ｒed-cat's 12th, naïve_x!") == ["a", "red", "cat's", "12th", "naïve", "x"]
    assert terms_of("猫在睡 cat") == ["猫", "在", "睡", "猫在", "在睡", "cat"]
    assert terms_of("STRASSE") == terms_of("Straße")
    assert terms_of("") == terms_of(" \n-–") == []


def test_scores_follow_the_formula(tmp_path: Path) -> None:
    write_keywords(tmp_path / "k", pa.table({"text": TEXTS}))
    assert not [f for f in tmp_path.rglob("*") if f.suffix in (".pkl", ".pickle")]
    words = Keywords([tmp_path / "k"])
    expected = bm25([terms_of(text or "") for text in TEXTS], ["red", "cat"])
    assert np.allclose(words.scores("red CAT"), expected, rtol=1e-5)
    assert words.scores("unheard of").nonzero()[0].tolist() == [2]
    assert best(words.scores("cat"), None, 10) == [0, 2]
    assert best(words.scores("cat"), np.arange(6) != 0, 10) == [2]
    assert best(words.scores("睡觉"), None, 10) == [5]
    assert words.scores("").tolist() == [0] * 6


def test_a_term_weighs_alike_in_every_folder(tmp_path: Path) -> None:
    texts = ["one two three", "two three four", "two five six", "one seven two"]
    write_keywords(tmp_path / "a", pa.table({"text": texts[:3]}))
    write_keywords(tmp_path / "b", pa.table({"text": texts[3:]}))
    found = Keywords([tmp_path / "a", tmp_path / "b"]).scores("one two")
    assert np.allclose(found, bm25([terms_of(t) for t in texts], ["one", "two"]), rtol=1e-5)


def test_columns_of_other_types_and_an_empty_table(tmp_path: Path) -> None:
    table = pa.table({"tags": [["red", "fox"], None], "year": [2020, None], "t": ["x", "y"]})
    write_keywords(tmp_path / "k", table)
    words = Keywords([tmp_path / "k"])
    assert best(words.scores("fox 2020"), None, 5) == [0]
    write_keywords(tmp_path / "none", pa.table({"text": [None, ""]}))
    assert Keywords([tmp_path / "none"]).scores("x").tolist() == [0, 0]
    (tmp_path / "k" / "params.index.json").unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        Keywords([tmp_path / "k"])


def test_reciprocal_ranks() -> None:
    fused = fuse([[7, 3, 5], [5, 9]])
    assert [row for row, _ in fused] == [5, 7, 3, 9]  # 3 and 9 are equal: in the order of rows
    assert fused[0][1] == pytest.approx(1 / 63 + 1 / 61)
    assert fuse([]) == [] and fuse([[1], []]) == [(1, 1 / 61)]
