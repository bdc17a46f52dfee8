"""`evaluate retrieval`: the numbers of small stores whose ranks are known, and every option."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.data.splits import SplitOptions
from mmcli.workflows.evaluate.retrieval import evaluate_retrieval
from mmcli.workflows.evaluate.retrieval_config import RetrievalConfig
from tests.conftest import Run
from tests.evaluate.small_stores import unit, write_store

ROWS = 60


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty rows whose text is their image and noise; captions in pairs, three colours, splits."""
    image = unit(ROWS, 16)
    text = image + 1.2 * unit(ROWS, 16, 1)
    columns = {
        "caption": [f"c{n // 2}" for n in range(ROWS)],
        "colour": [None if n == 7 else ("red", "green", "blue")[n % 3] for n in range(ROWS)],
        "split": ["test" if n % 2 else "train" for n in range(ROWS)],
        "tags": [["a"]] * ROWS,
    }
    path = tmp_path_factory.mktemp("noisy") / "store"
    return write_store(path, {"image": image, "text": text}, columns, shard=25)


def scores(store: Path, **options: object) -> dict:
    settings = {"query": "text", "target": "image", "bootstrap": 50, "split": "all", **options}
    return evaluate_retrieval(RetrievalConfig(str(store), **settings))


def values(report: dict, direction: str = "text-to-image") -> dict[str, float]:
    return {n: e["value"] for n, e in report["directions"][direction]["measures"].items()}


def test_a_perfect_space_scores_exactly_one(tmp_path: Path) -> None:
    same = unit(40, 8)
    store = write_store(tmp_path / "s", {"text": same, "image": same})
    report = scores(store)
    for direction in ("text-to-image", "image-to-text"):
        found = report["directions"][direction]["measures"]
        for name in ("hit@1", "recall@1", "ndcg@1", "ndcg@10", "mrr", "map"):
            assert found[name] == {"value": 1.0, "low": 1.0, "high": 1.0}
        assert found["median_rank"]["value"] == found["mean_rank"]["value"] == 1.0
    assert report["diagnostics"]["alignment"] == pytest.approx(0, abs=1e-12)


def test_ranks_of_a_store_worked_out_by_hand(tmp_path: Path) -> None:
    # image rows are the axes; text 0 sees its own first, text 1 second, text 2 ties with all three
    text = np.array([[3, 2, 1], [3, 2, 1], [1, 1, 1]], np.float32)
    store = write_store(tmp_path / "s", {"text": text, "image": np.eye(3, dtype=np.float32)})
    report = scores(store, ks=(1, 2))
    assert values(report) == {
        "hit@1": 1 / 3, "hit@2": 1.0, "recall@1": 1 / 3, "recall@2": 1.0,
        "ndcg@1": 1 / 3, "ndcg@2": pytest.approx((1 + 2 / np.log2(3)) / 3),
        "mrr": pytest.approx((1 + 0.5 + 0.5) / 3), "map": pytest.approx((1 + 0.5 + 0.5) / 3),
        "mean_rank": pytest.approx(5 / 3), "median_rank": 2.0,
    }  # fmt: skip
    # by descending id the last of the tie comes first
    assert values(scores(store, ties="trec"))["hit@1"] == 2 / 3


def test_hit_and_recall_differ_when_several_are_relevant(noisy: Path) -> None:
    found = values(scores(noisy, relevant_by="caption"))
    assert found["recall@1"] <= 0.5 < found["hit@1"]
    by_row = values(scores(noisy))
    assert by_row["recall@5"] == by_row["hit@5"]


def test_a_missing_part_is_left_out_and_counted(tmp_path: Path) -> None:
    vectors = unit(10, 8)
    vectors[4] = 0  # there, but without a direction
    has = {"text": [n != 2 for n in range(10)], "image": [n < 9 for n in range(10)]}
    store = write_store(tmp_path / "s", {"text": vectors, "image": vectors}, has=has)
    found = scores(store)["directions"]["text-to-image"]
    assert found["queries"] == 7 and found["targets"] == 8
    assert found["queries_without_vector"] == found["targets_without_vector"] == 2
    assert found["queries_without_relevant"] == 1
    assert found["measures"]["hit@1"]["value"] == 1.0


def test_splits(noisy: Path, tmp_path: Path) -> None:
    assert scores(noisy, split=None)["rows"] == 30
    assert scores(noisy, split="all")["rows"] == ROWS
    assert scores(noisy, split="train")["rows"] == 27  # a tenth of train is val
    assert scores(noisy, split="val")["rows"] == 3
    with pytest.raises(BadInput, match=r"no row .* is `dev`"):
        scores(noisy, split="dev")
    folds = tmp_path / "folds.parquet"
    ids = [f"i{n:03d}" for n in range(ROWS)]
    pq.write_table(pa.table({"id": ids, "fold": [n % 5 for n in range(ROWS)]}), folds)
    options = SplitOptions(split_file=str(folds), fold=3)
    assert scores(noisy, split=None, splits=options)["rows"] == 12
    plain = write_store(tmp_path / "s", {"text": unit(9, 4), "image": unit(9, 4)})
    assert scores(plain, split=None)["rows"] == 9


def test_queries_of_one_value_are_drawn_together(noisy: Path) -> None:
    for options, drawn in (
        ({}, 60),
        ({"relevant_by": "caption"}, 30),
        ({"splits": SplitOptions(group_by="colour")}, 4),  # one has no colour
        ({"relevant_by": "caption", "splits": SplitOptions(group_by="id")}, 60),
    ):
        assert scores(noisy, **options)["directions"]["text-to-image"]["resampled"] == drawn
    assert np.isnan(
        scores(noisy, bootstrap=0)["directions"]["text-to-image"]["measures"]["mrr"]["low"]
    )


def test_slices_add_up(noisy: Path, tmp_path: Path) -> None:
    report = scores(noisy, slices=("colour",))
    parts = report["directions"]["text-to-image"]["slices"]["colour"]
    assert {name: part["queries"] for name, part in parts.items()} == {
        "red": 20, "blue": 20, "green": 19,
    }  # fmt: skip
    total = sum(p["queries"] * p["measures"]["mrr"]["value"] for p in parts.values())
    mrr = values(report)["mrr"]
    assert 0 < 60 * mrr - total < 1 + 1e-9  # the one without a colour
    many = {"n": list(range(1001))}
    store = write_store(tmp_path / "s", {"text": unit(1001, 2), "image": unit(1001, 2)}, many)
    with pytest.raises(BadInput, match="1001 values, too many"):
        scores(store, slices=("n",))


def test_graded_judgements_and_their_reverse(noisy: Path, tmp_path: Path) -> None:
    qrels = tmp_path / "qrels"
    qrels.write_text("i001 0 i001 2\ni001 0 i002 1\ni003 0 i004 0\ni005 0 gone 1\n\n")
    report = scores(noisy, qrels=str(qrels))
    assert "1 targets of the judgements are no items: they were passed over" in report["warnings"]
    assert report["directions"]["text-to-image"]["queries"] == 1
    assert report["directions"]["image-to-text"]["queries"] == 2
    for content, says in (
        ("i001 0 i001\n", r"qrels:1: 3 columns"),
        ("i001 0 i001 x\n", r"qrels:1: gain `x`"),
        ("i001 0 i001 1\ni001 0 i001 2\n", r"qrels:2: `i001` was judged 1 for `i001` before"),
        ("q 0 i001 1\n", "names no query"),
    ):
        qrels.write_text(content)
        with pytest.raises(BadInput, match=says):
            scores(noisy, qrels=str(qrels))


def test_a_key_against_itself_leaves_each_item_out(noisy: Path) -> None:
    report = scores(noisy, query="image", target="image", relevant_by="caption")
    assert list(report["directions"]) == ["image-to-image"]
    assert values(report, "image-to-image")["hit@1"] < 0.5
    assert "modality_gap" not in report["diagnostics"]
    with pytest.raises(UsageError, match="against itself"):
        scores(noisy, query="image", target="image")


@pytest.mark.parametrize("relevant_by", [None, "caption"])
def test_trec_files_score_the_same(noisy: Path, tmp_path: Path, relevant_by: str | None) -> None:
    evaluation = pytest.importorskip("pytrec_eval")
    run, qrels = tmp_path / "run", tmp_path / "qrels"
    report = scores(noisy, ties="trec", run=str(run), qrels_out=str(qrels), relevant_by=relevant_by)
    assert len(run.read_text().splitlines()) == ROWS * ROWS
    with qrels.open() as one, run.open() as other:
        judged, ranked = evaluation.parse_qrel(one), evaluation.parse_run(other)
    theirs = evaluation.RelevanceEvaluator(judged, {"map", "recip_rank", "ndcg_cut"})
    found = theirs.evaluate(ranked).values()
    for ours, name in (("map", "map"), ("mrr", "recip_rank"), ("ndcg@10", "ndcg_cut_10")):
        wanted = np.mean([query[name] for query in found])
        assert values(report)[ours] == pytest.approx(wanted, abs=1e-9)
    # and judgements that were written can be read
    again = scores(noisy, ties="trec", qrels=str(qrels))
    assert values(again) == values(report)


def test_ids_with_spaces_in_trec_files(tmp_path: Path) -> None:
    ids = ["a cat", "50% grey", "plain", "a\u00a0b"]
    vectors = unit(4, 4)
    store = write_store(tmp_path / "s", {"text": vectors, "image": vectors}, {"id": ids})
    run, qrels = tmp_path / "run", tmp_path / "qrels"
    scores(store, run=str(run), run_depth=2, qrels_out=str(qrels))
    lines = [line.split() for line in run.read_text().splitlines()]
    assert len(lines) == 8 and {len(line) for line in lines} == {6}
    assert lines[0][:4] == ["a%20cat", "Q0", "a%20cat", "1"]
    assert values(scores(store, qrels=str(qrels)))["hit@1"] == 1.0


def test_against_another_store(noisy: Path, tmp_path: Path) -> None:
    image = unit(ROWS, 16)
    order = np.random.default_rng(3).permutation(ROWS)
    ids = {"id": [f"i{n:03d}" for n in order]}
    better = write_store(tmp_path / "better", {"image": image[order], "text": image[order]}, ids)
    found = scores(noisy, against=str(better))["directions"]["text-to-image"]["against"]
    assert found["hit@1"]["other"] == 1.0
    assert found["hit@1"]["difference"] < 0 and found["hit@1"]["high"] < 0
    assert found["hit@1"]["p"] < 0.01
    same = scores(noisy, against=str(noisy))["directions"]["image-to-text"]["against"]
    assert same["mrr"] == {"other": same["mrr"]["other"], "difference": 0, "low": 0, "high": 0,
                           "p": 1.0}  # fmt: skip
    fewer = write_store(tmp_path / "fewer", {"image": image[:30], "text": image[:30]})
    with pytest.raises(BadInput, match="lacks 30 items"):
        scores(noisy, against=str(fewer))
    gone = write_store(
        tmp_path / "gone",
        {"image": image, "text": image},
        has={"text": [n != 9 for n in range(ROWS)]},
    )
    with pytest.raises(BadInput, match="1 items have `text`"):
        scores(noisy, against=str(gone))


def test_what_cannot_be_scored_is_said(tmp_path: Path, noisy: Path, run_here: Run) -> None:
    bad = unit(5, 4)
    bad[3, 1] = np.nan
    lone = unit(1, 4)
    half = [n < 3 for n in range(6)]
    stores = {
        "nan": write_store(tmp_path / "nan", {"text": unit(5, 4), "image": bad}),
        "one": write_store(tmp_path / "one", {"text": lone, "image": lone}),
        "apart": write_store(
            tmp_path / "apart",
            {"text": unit(6, 4), "image": unit(6, 4)},
            has={"text": half, "image": [not h for h in half]},
        ),
        "none": write_store(
            tmp_path / "none", {"text": unit(4, 4), "image": unit(4, 4)}, has={"image": [False] * 4}
        ),
        "spaces": write_store(
            tmp_path / "spaces", {"text": unit(4, 4), "image": unit(4, 4)}, spaces={"image": "o@1"}
        ),
        "noisy": noisy,
    }
    for name, options, says in (
        ("nan", (), ["nan`", "`image`", "`i003`"]),
        ("one", (), ["only one row"]),
        ("apart", (), ["has both `text` and `image`"]),
        ("none", (), ["has `image`"]),
        ("spaces", (), ["`s@000000000000`", "`o@1`", "align train"]),
        ("noisy", ("--relevant-by", "captoin"), ["`captoin`", "did you mean `caption`"]),
        ("noisy", ("--slice", "tags"), ["`tags`", "list"]),
        ("noisy", ("--group-by", "nothing"), ["`nothing`"]),
    ):
        asked = ("evaluate", "retrieval", stores[name], "--query", "text", "--target", "image")
        done = run_here(*asked, *options)
        lines = done.stderr.splitlines()
        assert (done.returncode, done.stdout, len(lines)) == (3, "", 2), done.stderr
        assert all(word in done.stderr for word in says), done.stderr
        assert lines[1].startswith("hint: ")
    with pytest.raises(SpaceMismatch):
        scores(stores["spaces"])
    with pytest.raises(UsageError, match="exclude each other"):
        scores(noisy, relevant_by="caption", qrels="x")


def test_the_command(noisy: Path, run_here: Run, tmp_path: Path) -> None:
    words = ("evaluate", "retrieval", noisy, "--query", "text", "--target", "image")
    words = (*words, "--split", "all", "--bootstrap", 100)
    told = run_here(
        *words, "-k", "1,3", "--slice", "colour", "--against", noisy, "--run", "run.txt"
    )
    assert told.returncode == 0, told.stderr
    assert told.stderr == "wrote run.txt\n"
    for word in ("hit@3", "text-to-image", "image-to-text", "colour=red", "difference", "gap"):
        assert word in told.stdout
    refused = run_here(*words, "--run", "run.txt")
    assert refused.returncode == 3 and "--force" in refused.stderr
    silent = run_here(*words, "--json", "-q", "--run", "run.txt", "--force")
    assert silent.stderr == ""
    report = json.loads(silent.stdout, parse_constant=pytest.fail)
    assert report["directions"]["text-to-image"]["queries"] == ROWS
    assert json.loads(run_here(*words, "--json").stdout) == report  # seeded
    for options in (("-k", "0"), ("-k", "x"), ("--ties", "luck"), ("--bootstrap", -1)):
        assert run_here(*words, *options).returncode == 2
