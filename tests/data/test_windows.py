"""Windows: what the options say, where the windows of a part lie, what a source becomes."""

import re
from pathlib import Path
from typing import Any

import pytest
import soundfile

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.segments import Cutting, cut_source, spans_of
from mmcli.data.source import Source, SourceOptions, open_source
from mmcli.data.windows import Window, parse_windows, time_spans, token_spans
from tests.conftest import recording
from tests.films import film, flat


@pytest.mark.parametrize(
    ("window", "hop", "wanted"),
    [
        (["10s"], [], {"speech": Window(10, 10), "video": Window(10, 10)}),
        (["10s"], ["500ms"], {"speech": Window(10, 0.5), "video": Window(10, 0.5)}),
        (["2min,128tok"], ["64tok"], None),
        (["speech=10,text=64"], ["speech=5"], {"speech": Window(10, 5), "text": Window(64, 64)}),
        (["10s", "video=4s"], ["2s"], {"speech": Window(10, 2), "video": Window(4, 2)}),
        (["speech=3s"], ["1s"], {"speech": Window(3, 1)}),
    ],
)
def test_what_the_options_say(window: list[str], hop: list[str], wanted: Any) -> None:
    if wanted is None:
        wanted = {m: Window(120, 120) for m in ("speech", "video")} | {"text": Window(128, 64)}
    assert parse_windows(window, hop) == wanted


@pytest.mark.parametrize(
    ("window", "hop", "message"),
    [
        (["10"], [], "has no unit"),
        (["ten"], [], "is no length"),
        (["image=10s"], [], "is no length"),
        (["text=10s"], [], "text is not measured in s"),
        (["speech=10tok"], [], "speech is not measured in tok"),
        (["1.5tok"], [], "tokens whole"),
        (["0s"], [], "more than 0"),
        (["5s", "6s"], [], "twice for speech"),
        (["5s"], ["6s"], "leave gaps"),
        ([], ["6s"], "without its `--window`"),
        (["5s"], ["10tok"], "`--hop` of text"),
    ],
)
def test_what_is_refused(window: list[str], hop: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        parse_windows(window, hop)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("duration", "window", "hop", "wanted"),
    [
        (4.0, 10, 5, [(0, 4)]),
        (10.0, 10, 5, [(0, 10)]),
        (10.4, 10, 10, [(0, 10.4)]),
        (12.0, 10, 5, [(0, 10), (5, 12)]),
        (25.0, 10, 10, [(0, 10), (10, 20), (20, 25)]),
        (30.5, 10, 10, [(0, 10), (10, 20), (20, 30.5)]),
        (0.7, 0.2, 0.1, [(0, 0.2), (0.1, 0.3), (0.2, 0.4), (0.3, 0.5), (0.4, 0.6), (0.5, 0.7)]),
    ],
)
def test_windows_of_seconds_leave_nothing_out(
    duration: float, window: float, hop: float, wanted: list[tuple[float, float]]
) -> None:
    assert time_spans(duration, Window(window, hop)) == wanted


def words(text: str) -> list[tuple[int, int]]:
    """Tokens of at most four letters."""
    return [m.span() for m in re.finditer(r"\w{1,4}|[^\w\s]", text)]


@pytest.mark.parametrize(("size", "hop"), [(5, 5), (5, 2), (8, 3), (1, 1), (40, 40)])
def test_windows_of_tokens_cover_the_text_and_cut_no_word(size: int, hop: int) -> None:
    text = "The quick brown fox jumps over the unbelievably lazy dog, again and again. " * 3
    tokens = words(text)
    spans = token_spans(text, tokens, Window(size, hop))
    assert spans[0][0] == 0 and spans[-1][1] == tokens[-1][1]
    for (_, before), (start, end) in zip(spans, [*spans[1:], (len(text), len(text))], strict=True):
        assert text[before:start].strip() == ""  # nothing between two windows is left out
        assert len([t for t in tokens if start <= t[0] and t[1] <= end]) <= size
    if size >= 8:  # room for the longest word
        assert all(not (text[a - 1].isalnum() and text[a].isalnum()) for a, _ in spans[1:])


def test_windows_of_tokens_without_blanks_and_of_one_endless_word() -> None:
    chinese = "今天天气很好我们去公园散步吧"
    tokens = [(i, i + 1) for i in range(len(chinese))]
    assert token_spans(chinese, tokens, Window(6, 6)) == [(0, 6), (6, 12), (12, 14)]
    endless = "x" * 100
    spans = token_spans(endless, words(endless), Window(10, 10))
    assert spans == [(0, 40), (40, 80), (80, 100)]


def opened(spec: Path, spool: Path) -> Source:
    return open_source(SourceOptions(str(spec)), spool)


def test_a_source_becomes_segments(tmp_path: Path) -> None:
    root = tmp_path / "talks"
    recording(root / "a.wav", 1, 2.5)
    (root / "a.txt").write_text("one two three four five", "utf-8")
    recording(root / "b.wav", 2, 0.5)
    (root / "c.txt").write_text("alone", "utf-8")
    (root / "d.wav").write_bytes(b"RIFF nonsense")
    windows = {"speech": Window(1, 1)}
    source = cut_source(opened(root, tmp_path / "spool"), Cutting(windows), tmp_path / "spool")
    rows = source.rows(0, 99).to_pylist()
    found = [(r["id"], r["parent_id"], r["start_s"], r["end_s"], r["text"]) for r in rows]
    assert found == [
        ("a#0000", "a", 0.0, 1.0, "a.txt"),
        ("a#0001", "a", 1.0, 2.0, "a.txt"),
        ("a#0002", "a", 2.0, 2.5, "a.txt"),
        ("b#0000", "b", 0.0, 0.5, None),
        ("c", "c", None, None, "c.txt"),
        ("d#0000", "d", None, None, None),
    ]
    assert spans_of(source.rows(0, 9), "speech", True)[2:5] == [(2.0, 2.5), (0.0, 0.5), None]
    assert spans_of(source.rows(0, 9), "text", True) == [None] * 6
    first = source.fingerprint
    recording(root / "b.wav", 2, 1.5)
    again = cut_source(opened(root, tmp_path / "s2"), Cutting(windows), tmp_path / "s2")
    assert again.n_items == 7 and again.fingerprint != first


def test_texts_and_sounds_have_segments_of_their_own(tmp_path: Path) -> None:
    recording(tmp_path / "a.wav", 1, 2.0)
    (tmp_path / "t.jsonl").write_text(
        '{"id": "x", "text": "one two three four five", "speech": "a.wav", "topic": "sums"}\n'
    )
    windows = {"speech": Window(1, 1), "text": Window(2, 2)}
    cutting = Cutting(windows, lambda text: [m.span() for m in re.finditer(r"\w+", text)])
    source = cut_source(opened(tmp_path / "t.jsonl", tmp_path / "s"), cutting, tmp_path / "s")
    rows = source.rows(0, 99).to_pylist()
    assert [(r["text"], r["start_char"], r["speech"], r["start_s"]) for r in rows] == [
        ("one two", 0, None, None),
        ("three four", 8, None, None),
        ("five", 19, None, None),
        (None, None, "a.wav", 0.0),
        (None, None, "a.wav", 1.0),
    ]
    assert {r["topic"] for r in rows} == {"sums"} and {r["parent_id"] for r in rows} == {"x"}
    assert [r["id"] for r in rows] == [f"x#{i:04d}" for i in range(5)]


def test_a_video_and_its_sound_share_segments(tmp_path: Path) -> None:
    root = tmp_path / "films"
    sound = soundfile.read(recording(tmp_path / "t.wav", 3, 2.0), dtype="float32")[0]
    film(root / "loud.mp4", [(flat(90), 2.0)], sound=sound)
    film(root / "silent.mp4", [(flat(90), 3.0)])
    cutting = Cutting({"speech": Window(1, 1), "video": Window(1, 1)}, soundtrack=True)
    source = cut_source(opened(root, tmp_path / "s"), cutting, tmp_path / "s")
    rows = source.rows(0, 99).to_pylist()
    assert source.modalities == ("speech", "video")
    assert [(r["id"], r["start_s"], r["video"], r["speech"]) for r in rows] == [
        ("loud#0000", 0.0, "loud.mp4", "loud.mp4"),
        ("loud#0001", 1.0, "loud.mp4", "loud.mp4"),
        ("silent#0000", 0.0, "silent.mp4", None),
        ("silent#0001", 1.0, "silent.mp4", None),
        ("silent#0002", 2.0, "silent.mp4", None),
    ]


def test_segments_are_not_cut_again(tmp_path: Path) -> None:
    recording(tmp_path / "a.wav", 1, 2.0)
    table = tmp_path / "t.jsonl"
    table.write_text('{"speech": "a.wav", "parent_id": "a", "start_s": 0.5, "end_s": 1.5}\n')
    source = opened(table, tmp_path / "s")
    assert spans_of(source.rows(0, 1), "speech", False) == [(0.5, 1.5)]
    with pytest.raises(BadInput, match="has a column `start_s`"):
        cut_source(source, Cutting({"speech": Window(1, 1)}), tmp_path / "s")
