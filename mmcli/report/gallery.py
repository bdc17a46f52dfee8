"""A search result as one HTML page that needs nothing else: thumbnails and sounds are inside it.

Every string is escaped and the page's own policy forbids scripts and network. Knows nothing about
indexes: it is given paths and strings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmcli.report.media import Span, framed, make_frames, make_thumbnails, picture, sound
from mmcli.report.page import page
from mmcli.report.page import text as _text

_STYLE = """
h2 img { height: 5rem; width: 5rem; vertical-align: middle; border-radius: .4rem;
  margin-right: .6rem; }
.hits { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  overflow: hidden; }
article > img { display: block; width: 100%; aspect-ratio: 1; background: #fff; }
article > .none { aspect-ratio: 1; } audio { width: 100%; display: block; }
.body { padding: .6rem .7rem; } .body p { margin: .3rem 0; max-height: 9em; overflow: auto; }
.rank { font-weight: 600; } .score, dt, .id { color: var(--dim); font-size: .85rem; }
meter { width: 100%; height: .5rem; } dl { margin: .3rem 0 0; font-size: .85rem; }
dd { margin: 0 0 .2rem; max-height: 6em; overflow: auto; }
"""


@dataclass(frozen=True)
class Card:
    """One hit. image, audio, video: files to open; text: shown under them; fields: anything else.

    span: the seconds of audio and video that are meant, None for all.
    """

    rank: int
    score: float
    id: str
    image: str | None = None
    audio: str | None = None
    text: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    video: str | None = None
    span: Span | None = None


@dataclass(frozen=True)
class Section:
    """One query and its hits."""

    heading: str
    cards: Sequence[Card]
    images: Sequence[str] = ()
    audio: Sequence[str] = ()


def render_gallery(title: str, sections: Sequence[Section], footer: str = "") -> str:
    """The whole page. A file that cannot be shown is named in its place."""
    paths = [c.image for s in sections for c in s.cards if c.image]
    paths += [path for s in sections for path in s.images]
    thumbnails = make_thumbnails(paths)
    films = [(c.video, c.span) for s in sections for c in s.cards if c.video]
    thumbnails |= {framed(*place): uri for place, uri in make_frames(films).items()}
    return page(title, (_section(s, thumbnails) for s in sections), footer, _STYLE)


def _section(section: Section, thumbnails: Mapping[str, str]) -> str:
    pictures = "".join(picture(path, "query", thumbnails) for path in section.images)
    sounds = "".join(sound(path) for path in section.audio)
    cards = "\n".join(_card(card, thumbnails) for card in section.cards)
    nothing = "" if section.cards else "<p>nothing found</p>"
    return (
        f"<section>\n<h2>{pictures}{_text(section.heading)}</h2>\n{sounds}{nothing}"
        f'<div class="hits">\n{cards}\n</div>\n</section>'
    )


def _card(card: Card, thumbnails: Mapping[str, str]) -> str:
    parts = ["<article>"]
    if card.image:
        parts.append(picture(card.image, card.id, thumbnails))
    if card.video:
        parts.append(picture(framed(card.video, card.span), card.id, thumbnails))
    if card.audio:
        parts.append(sound(card.audio, card.span))
    parts.append('<div class="body">')
    if 0 <= card.score <= 1:
        parts.append(f'<meter min="0" max="1" value="{card.score:.4f}"></meter>')
    parts.append(
        f'<span class="rank">{card.rank}</span> <span class="score">{card.score:.4f}</span>'
        f' <span class="id">{_text(card.id)}</span>'
    )
    if card.text:
        parts.append(f"<p>{_text(card.text)}</p>")
    shown = [(n, v) for n, v in card.fields.items() if v is not None and v != ""]
    if shown:
        parts.append("<dl>")
        parts += [f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in shown]
        parts.append("</dl>")
    parts.append("</div></article>")
    return "".join(parts)
