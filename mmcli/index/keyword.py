"""Words of an index's items, ranked by BM25 through the bm25s library.

Its arrays are saved by numpy without pickle, its vocabulary as JSON, and opened memory-mapped. A
text is lower-cased NFKC; letters and digits that stand together are a word, except in scripts that
write no spaces (Chinese, Japanese, Thai …) and in Hangul: there every character and every pair of
neighbours is a term, as search engines do for them. Each file of items has a folder of its own,
and a term weighs by how many items of all folders together have it.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, MissingResource

#: Scripts without spaces between words, and Hangul, whose particles stick to them.
_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
)
_TERMS = re.compile(f"[{_DENSE}]+|[^\\W_{_DENSE}]+(?:['’][^\\W_{_DENSE}]+)*")
_IS_DENSE = re.compile(f"[{_DENSE}]")


def terms_of(text: str) -> list[str]:
    """The terms of a text, in order, with repetitions."""
    found: list[str] = []
    for match in _TERMS.finditer(unicodedata.normalize("NFKC", text).casefold()):
        run = match[0]
        if _IS_DENSE.match(run):
            found += run
            found += (run[i : i + 2] for i in range(len(run) - 1))
        else:
            found.append(run)
    return found


def write_keywords(folder: Path, table: pa.Table) -> None:
    """Index the texts of a table's rows, all columns of a row as one text, into a new folder."""
    bm25s = _library()
    vocabulary: dict[str, int] = {}
    rows: list[list[int]] = []
    for batch in table.to_batches(65_536):
        columns = [column.to_pylist() for column in batch.columns]
        for values in zip(*columns, strict=True):
            terms = terms_of("\n".join(_texts(values)))
            rows.append([vocabulary.setdefault(term, len(vocabulary)) for term in terms])
    vocabulary.setdefault("", len(vocabulary))  # bm25s wants at least one
    scorer = bm25s.BM25(method="lucene")
    scorer.index((rows, vocabulary), show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    scorer.save(str(folder), show_progress=False)


class Keywords:
    """The opened folders of an index, in the order of their rows."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Raises BadInput when one cannot be read."""
        bm25s = _library()
        self._scorers: list[Any] = []
        for folder in folders:
            try:
                scorer = bm25s.BM25.load(
                    str(folder), mmap=True, show_progress=False, csc_backend="numpy"
                )
            except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
                raise BadInput(f"`{folder}` cannot be read", "build the index again") from error
            self._scorers.append(scorer)
        self._sizes = [int(scorer.scores["num_docs"]) for scorer in self._scorers]
        self.rows = sum(self._sizes)

    def scores(self, text: str) -> NDArray[np.float32]:
        """`(rows,)`: how well each item fits a text; 0 where it has none of its terms.

        BM25 as in Lucene (k1 1.5, b 0.75); Kamphuis et al. 2020 compare the variants.
        """
        found = np.zeros(self.rows, np.float32)
        for term in terms_of(text):
            held = [self._held(scorer, term) for scorer in self._scorers]
            whole = _rarity(self.rows, sum(held))
            start = 0
            for scorer, size, count in zip(self._scorers, self._sizes, held, strict=True):
                if count:
                    part = scorer.get_scores_from_ids([scorer.vocab_dict[term]])
                    found[start : start + size] += part * (whole / _rarity(size, count))
                start += size
        return found

    @staticmethod
    def _held(scorer: Any, term: str) -> int:
        """In how many items of one folder a term stands."""
        number = scorer.vocab_dict.get(term)
        if number is None:
            return 0
        starts = scorer.scores["indptr"]
        return int(starts[number + 1] - starts[number])


def best(scores: NDArray[np.float32], keep: Any, depth: int) -> list[int]:
    """The best rows with any score at all, best first; ties in the order of rows."""
    scores = np.where(keep, scores, 0) if keep is not None else scores
    rows = np.flatnonzero(scores > 0)
    if len(rows) > depth:
        least = np.partition(scores[rows], len(rows) - depth)[len(rows) - depth]
        rows = rows[scores[rows] >= least]
    return rows[np.argsort(-scores[rows], kind="stable")][:depth].tolist()


def _rarity(rows: int, held: int) -> float:
    """The inverse document frequency of BM25 as Lucene counts it."""
    return math.log(1 + (rows - held + 0.5) / (held + 0.5))


def _texts(values: Iterable[Any]) -> list[str]:
    found: list[str] = []
    for value in values:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found += [part for part in value if isinstance(part, str)]
        elif value is not None:
            found.append(str(value))
    return found


def _library() -> Any:
    import os

    os.environ.setdefault("DISABLE_TQDM", "1")  # else importing it imports a progress bar
    try:
        import bm25s
    except ModuleNotFoundError as error:
        raise MissingResource("package `bm25s` is not installed", "pip install bm25s") from error
    return bm25s
