"""Sentiment of real review sentences: a tuned tower against frozen features, words and a lexicon.

Sentences of Amazon reviews with the mean rating of twenty people each, from -4 to 4 (Hutto and
Gilbert 2014, "VADER", ICWSM), which the source archive of the package vaderSentiment carries; it is
downloaded at run time. Here a score is in [-1, 1]. Sentences of one review are never in two splits.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV

from mmcli.metrics.statistics import bootstrap_means
from tests.conftest import mmcli_command

Row = dict[str, Any]
PACKAGE = "vaderSentiment==3.3.2"
FILE = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
DRAWS = int(os.environ.get("MMCLI_BENCH_SEEDS", "3"))


def real_reviews(cache: Path) -> list[Row]:
    """Correlation, two-class accuracy and error with its interval, of three draws."""
    sentences = _sentences(cache)
    if sentences is None:
        return [{"what": "reviews", "note": "the archive is not to be had"}]
    rows: list[Row] = []
    for draw in range(DRAWS):
        split = _split(sentences, draw)
        data = reviews_table(cache, draw)
        truth = np.array([s for _, s, _ in sentences]) / 4
        texts = [t for *_, t in sentences]
        test = split == "test"
        found = {
            "mean of training": np.full(len(truth), truth[split == "train"].mean()),
            "VADER lexicon": _lexicon(texts),
            "words, ridge": _words(texts, truth, split == "train"),
        }
        for name, predicted in found.items():
            rows.append(_row(draw, name, truth[test], predicted[test]))
        for strategy in ("probe", "lora", "full"):
            model, out = cache / f"reviews-{strategy}", cache / "reviews-predicted"
            shutil.rmtree(model, ignore_errors=True)
            command = mmcli_command(
                "finetune", "--task", "sentiment", data, "-o", model, "-q", "--only",
                "text", "--label", "score", "--method", "early:concat", "--strategy", strategy,
                "--seed", draw,
            )  # fmt: skip
            subprocess.run(command, check=True)
            report = json.loads((model / "metrics.json").read_text())
            shutil.rmtree(out, ignore_errors=True)
            command = mmcli_command("predict", model, data, "-o", out, "-q")
            subprocess.run(command, check=True)
            rows.append(_row(draw, f"MiniLM, {strategy}: {report['kept']}", truth[test],
                             _predicted(out)[test]))  # fmt: skip
    return rows


def reviews_table(cache: Path, draw: int) -> Path | None:
    """A CSV of one draw of the splits, None where the archive cannot be had."""
    sentences = _sentences(cache)
    if sentences is None:
        return None
    path = cache / f"reviews-{draw}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "score", "review", "split"])
        for (name, score, text), part in zip(sentences, _split(sentences, draw), strict=True):
            writer.writerow([name, text, score / 4, name.split("_")[0], part])
    return path


def _sentences(cache: Path) -> list[tuple[str, float, str]] | None:
    folder = cache / "vader"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary",
                   ":all:", PACKAGE, "-d", str(folder)]  # fmt: skip
        if subprocess.run(command).returncode:
            return None
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as outer:
        name = next(n for n in outer.getnames() if n.endswith("hutto_ICWSM_2014.tar.gz"))
        packed = outer.extractfile(name)
        assert packed is not None
        with tarfile.open(fileobj=io.BytesIO(packed.read())) as inner:
            member = inner.extractfile(FILE)
            assert member is not None
            text = member.read().decode("utf-8", "replace")
    rows = [line.split("\t", 2) for line in text.splitlines() if line.count("\t") >= 2]
    return [(name, float(score), sentence) for name, score, sentence in rows]


def _split(sentences: list[tuple[str, float, str]], draw: int) -> np.ndarray[Any, Any]:
    """Whole reviews: six tenths train, a tenth val, the rest test."""
    reviews = [name.split("_")[0] for name, *_ in sentences]
    names = sorted(set(reviews))
    order = np.random.default_rng(draw).permutation(len(names))
    shares = {names[n]: i / len(names) for i, n in enumerate(order)}
    where = np.array([shares[r] for r in reviews])
    return np.where(where < 0.6, "train", np.where(where < 0.7, "val", "test"))


def _lexicon(texts: list[str]) -> np.ndarray[Any, Any]:
    """VADER's compound score; NaN where the package is not installed."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        return np.full(len(texts), np.nan)
    judge = SentimentIntensityAnalyzer()
    return np.array([judge.polarity_scores(text)["compound"] for text in texts])


def _words(
    texts: list[str], truth: np.ndarray[Any, Any], train: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Ridge over words and pairs of words, weighted by rarity; its strength from the train rows."""
    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    given = [text for text, here in zip(texts, train, strict=True) if here]
    fitted = RidgeCV(np.logspace(-2, 2, 9)).fit(vectors.fit_transform(given), truth[train])
    return np.asarray(fitted.predict(vectors.transform(texts)))


def _predicted(predictions: Path) -> np.ndarray[Any, Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(predictions / "items.parquet", columns=["prediction"])
    return np.asarray(table["prediction"].to_numpy(), np.float64)


def _row(draw: int, name: str, truth: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> Row:
    error = np.abs(truth - found)
    right = (truth[truth != 0] > 0) == (found[truth != 0] > 0)
    each = bootstrap_means(error[:, None], 1000)
    flat = bool(np.std(found) == 0)
    return {
        "draw": draw,
        "what": name,
        "test": len(truth),
        "correlation": float("nan") if flat else float(np.corrcoef(truth, found)[0, 1]),
        "acc2 non0": float(right.mean()),
        "mae": float(error.mean()),
        "low": float(each.low[0]),
        "high": float(each.high[0]),
    }
