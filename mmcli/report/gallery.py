"""A search result as one HTML page that needs nothing else: thumbnails and sounds are inside it.

Every string is escaped and the page's own policy forbids scripts and network. Knows nothing about
indexes: it is given paths and strings.
"""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from mmcli.data.decode import PartTask, decode_parts
from mmcli.data.recipes import ImageRecipe

#: Side of a thumbnail, twice what it takes on the page so that dense screens show it sharp.
SIDE = 320
#: Larger recordings are named, not embedded.
MAX_AUDIO_BYTES = 1_000_000
_AUDIO = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
}
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --card: #fff; --page: #f4f4f2; --ink: #1c1c1a; --dim: #6b6b66;
  --line: #deded8; --bar: #2f6f9f; }
@media (prefers-color-scheme: dark) { :root { --card: #232321; --page: #171716; --ink: #ecece6;
  --dim: #a0a098; --line: #3a3a36; --bar: #6aa9d6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--page);
  color: var(--ink); font: 15px/1.45 system-ui, "Noto Sans", "Noto Sans CJK SC", "PingFang SC",
  "Microsoft YaHei", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .8rem; }
h2 img { height: 5rem; width: 5rem; vertical-align: middle; border-radius: .4rem;
  margin-right: .6rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  overflow: hidden; }
article > img, .none { display: block; width: 100%; aspect-ratio: 1; background: #fff; }
.none { background: var(--page); color: var(--dim); padding: 1rem; font-size: .85rem; }
audio { width: 100%; display: block; }
.body { padding: .6rem .7rem; } .body p { margin: .3rem 0; max-height: 9em; overflow: auto; }
.rank { font-weight: 600; } .score, dt, footer, .id { color: var(--dim); font-size: .85rem; }
meter { width: 100%; height: .5rem; } dl { margin: .3rem 0 0; font-size: .85rem; }
dd { margin: 0 0 .2rem; max-height: 6em; overflow: auto; } footer { margin-top: 2rem; }
"""


@dataclass(frozen=True)
class Card:
    """One hit. image, audio: files to open; text: shown under them; fields: anything else."""

    rank: int
    score: float
    id: str
    image: str | None = None
    audio: str | None = None
    text: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


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
    body = "\n".join(_section(section, thumbnails) for section in sections)
    return f"""<!DOCTYPE html>
<html lang="">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_text(title)}</h1>
{body}
<footer>{_text(footer)}</footer>
</body>
</html>
"""


def make_thumbnails(paths: Sequence[str]) -> dict[str, str]:
    """A data URI for each picture that can be decoded; for others `!` and the reason."""
    from PIL import Image

    unique = list(dict.fromkeys(paths))
    recipe = ImageRecipe(SIDE, SIDE, fit="pad", interpolation="lanczos")
    made = {}
    for path in unique:  # one at a time, so that many hits take little memory
        task = PartTask(row=0, modality="image", value=path, is_path=True)
        (result,), _, _ = decode_parts([task], {"image": (recipe,)})
        if result.values is None:
            made[path] = "!" + (result.message or result.error)
            continue
        encoded = io.BytesIO()
        Image.fromarray(result.values[0]).save(encoded, "JPEG", quality=85)
        made[path] = "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()
    return made


def audio_uri(path: str) -> str | None:
    """A data URI of a small recording that browsers play, else None."""
    kind = _AUDIO.get(os.path.splitext(path)[1].lower())
    try:
        if kind is None or not os.path.isfile(path) or os.path.getsize(path) > MAX_AUDIO_BYTES:
            return None
        with open(path, "rb") as file:
            return f"data:{kind};base64," + base64.b64encode(file.read()).decode()
    except OSError:
        return None


def _section(section: Section, thumbnails: Mapping[str, str]) -> str:
    pictures = "".join(_picture(path, "query", thumbnails) for path in section.images)
    sounds = "".join(_sound(path) for path in section.audio)
    cards = "\n".join(_card(card, thumbnails) for card in section.cards)
    nothing = "" if section.cards else "<p>nothing found</p>"
    return (
        f"<section>\n<h2>{pictures}{_text(section.heading)}</h2>\n{sounds}{nothing}"
        f'<div class="grid">\n{cards}\n</div>\n</section>'
    )


def _card(card: Card, thumbnails: Mapping[str, str]) -> str:
    parts = ["<article>"]
    if card.image:
        parts.append(_picture(card.image, card.id, thumbnails))
    if card.audio:
        parts.append(_sound(card.audio))
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


def _picture(path: str, label: str, thumbnails: Mapping[str, str]) -> str:
    uri = thumbnails.get(path, "!")
    if uri.startswith("!"):
        return f'<div class="none">{_text(path)}<br>{_text(uri[1:])}</div>'
    return f'<img src="{uri}" alt="{_text(label)}" title="{_text(label)}">'


def _sound(path: str) -> str:
    uri = audio_uri(path)
    if uri is None:
        return f'<p class="none">{_text(path)}</p>'
    return f'<audio controls preload="none" src="{uri}"></audio>'


def _text(value: Any) -> str:
    """Any value as text that is safe in HTML content and in a quoted attribute."""
    text = str(value).encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8 form
    return escape(text, quote=True)
