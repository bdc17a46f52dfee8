"""The HTML page: everything escaped, everything inside, broken files named."""

from html.parser import HTMLParser
from pathlib import Path

from mmcli.report.gallery import Card, Section, render_gallery
from mmcli.report.media import MAX_AUDIO_BYTES
from tests.conftest import picture, recording

EVIL = "<script>alert('x')</script>\" onload=\"x"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    return page


def test_every_string_is_escaped(tmp_path: Path) -> None:
    image = picture(tmp_path / "<img src=x>.png", 1)
    missing = str(tmp_path / f"{EVIL.replace('/', '')}.jpg")
    cards = [
        Card(1, 0.5, EVIL, str(image), None, EVIL, {EVIL: EVIL}),
        Card(2, 0.4, "b", missing, missing + ".wav", None, {"none": None, "ok": "囍"}),
    ]
    html = render_gallery(EVIL, [Section(EVIL, cards, [missing], [missing])], EVIL)
    page = parse(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert page.text.count(EVIL) >= 6
    assert "囍" in html
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert sources and all(str(source).startswith("data:") for source in sources)
    assert not any("href" in attrs for _, attrs in page.tags)


def test_sounds_are_embedded_when_small(tmp_path: Path) -> None:
    small = recording(tmp_path / "small.wav", 1)
    (tmp_path / "large.wav").write_bytes(b"\0" * (MAX_AUDIO_BYTES + 1))
    cards = [
        Card(1, 0.5, "a", audio=str(small)),
        Card(2, 0.4, "b", audio=str(tmp_path / "large.wav")),
    ]
    page = parse(render_gallery("t", [Section("q", cards)]))
    players = [attrs for tag, attrs in page.tags if tag == "audio"]
    assert len(players) == 1
    assert str(players[0]["src"]).startswith("data:audio/wav;base64,")
    assert "large.wav" in page.text


def test_nothing_found_and_odd_names() -> None:
    page = parse(render_gallery("t", [Section("name \udcff", [])]))
    assert "nothing found" in page.text
