"""The page of a retrieval evaluation: what it shows, and that nothing in it can run."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mmcli.report.charts import Interval, Series, interval_chart, line_chart
from mmcli.report.page import page, paragraph, section, table
from mmcli.workflows.evaluate.retrieval import evaluate_retrieval
from mmcli.workflows.evaluate.retrieval_config import RetrievalConfig
from tests.conftest import picture, recording
from tests.evaluate.small_stores import unit, write_store
from tests.index.test_gallery import parse

EVIL = "<script>alert('x')</script>\" onload=\"x"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Nine rows of picture, words and sound; the words of each row are the next row's."""
    image = unit(9, 8)
    text = image[[1, 2, 3, 4, 5, 6, 7, 8, 0]]
    root = tmp_path / "source"
    for n in range(9):
        picture(root / f"p{n}.jpg", n)
        recording(root / f"s{n}.wav", n)
    (root / "p3.jpg").write_bytes(b"no picture")
    columns = {
        "id": [f"{EVIL}{n}" for n in range(9)],
        "image": [f"p{n}.jpg" for n in range(9)],
        "text": [f"{EVIL} words {n}" for n in range(9)],
        "speech": [f"s{n}.wav" for n in range(9)],
        "transcript": [f"{EVIL} heard {n}" for n in range(9)],
        "kind": [EVIL, "b", "c"] * 3,
    }
    vectors = {"image": image, "text": text, "speech": text}
    return write_store(tmp_path / "store", vectors, columns, root=root)


@pytest.mark.parametrize("query", ["text", "speech"])
def test_the_worst_queries_are_shown(store: Path, tmp_path: Path, query: str) -> None:
    out = tmp_path / "page.html"
    config = RetrievalConfig(
        str(store), query, "image", bootstrap=20, html=str(out), worst=2, slices=("kind",),
        against=str(store),
    )  # fmt: skip
    evaluate_retrieval(config)
    html = out.read_text("utf-8")
    shown = parse(html)
    assert "script" not in {tag for tag, _ in shown.tags}
    assert not any(name.startswith("on") for _, attrs in shown.tags for name in attrs)
    assert "default-src 'none'" in html
    sources = [str(attrs["src"]) for _, attrs in shown.tags if "src" in attrs]
    assert sources and all(source.startswith("data:") for source in sources)
    assert shown.text.count("first right answer at rank") == 4
    assert any(s.startswith("data:image/jpeg") for s in sources)
    assert any(s.startswith("data:audio/wav") for s in sources) == (query == "speech")
    assert ("words" if query == "text" else "heard") in shown.text
    for word in ("hit@1", "paired bootstrap", "kind=", "uniformity", "found 1"):
        assert word in shown.text
    assert html.count("<svg") == 2


def test_no_worst_queries_when_none_are_asked_for(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    evaluate_retrieval(RetrievalConfig(str(store), "text", "image", html=str(out), worst=0))
    assert "first right answer" not in out.read_text("utf-8")


def test_pieces_of_a_page() -> None:
    html = page(
        EVIL,
        [
            section(
                EVIL,
                [
                    table([EVIL, "n", "empty"], [[EVIL, 0.123456, None], ["b", 3, None]]),
                    paragraph(EVIL, note=True),
                    line_chart([Series(EVIL, [1, 2, 3], [3.0, float("nan"), 1.0])], EVIL, EVIL),
                    line_chart([Series("one point", [5], [2.0])]),
                    line_chart([Series("none", [], [])]),
                    interval_chart([Interval(EVIL, 0.5, 0.4, 0.6), Interval("x", 2.0)]),
                ],
            )
        ],
    )
    shown = parse(html)
    assert "script" not in {tag for tag, _ in shown.tags}
    assert not any(name.startswith("on") for _, attrs in shown.tags for name in attrs)
    assert "0.1235" in shown.text and "nothing to draw" in shown.text
    lines = [dict(attrs)["points"] for tag, attrs in shown.tags if tag == "polyline"]
    assert [len(str(points).split()) for points in lines] == [2, 1]
    charts = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(charts) == 3
    for chart in charts:
        drawn = [e for e in ElementTree.fromstring(chart).iter() if e.tag in ("rect", "polyline")]
        assert drawn and "nan" not in chart
