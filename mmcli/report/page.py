"""A report as one HTML page that needs nothing else: no scripts, no network, every string escaped.

`page` is the shell; the other functions give it pieces of HTML that are safe to join. Charts are
in `report/charts.py`, pictures and recordings in `report/media.py`.

    page("How it went", [
        section("Scores", [table(["what", "value"], [["hit@1", 0.43]])]),
        section("Curves", [figure(line_chart([Series("loss", steps, losses)], "step", "loss"))]),
    ])
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

#: Pictures and sounds are inside the page; nothing is fetched and nothing runs.
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --card: #fff; --page: #f4f4f2; --ink: #1c1c1a; --dim: #6b6b66;
  --line: #deded8; --bar: #2f6f9f; --c0: #2f6f9f; --c1: #c2571a; --c2: #3d8b4f; --c3: #8a4fa3;
  --c4: #a58a00; --c5: #b0355f; }
@media (prefers-color-scheme: dark) { :root { --card: #232321; --page: #171716; --ink: #ecece6;
  --dim: #a0a098; --line: #3a3a36; --bar: #6aa9d6; --c0: #6aa9d6; --c1: #e8935c; --c2: #7cc48d;
  --c3: #c495da; --c4: #d9c04c; --c5: #e6819f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--page);
  color: var(--ink); font: 15px/1.45 system-ui, "Noto Sans", "Noto Sans CJK SC", "PingFang SC",
  "Microsoft YaHei", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .8rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .5rem; }
p { max-width: 60rem; } footer, .note { color: var(--dim); font-size: .85rem; }
footer { margin-top: 2rem; }
table { border-collapse: collapse; overflow-wrap: break-word; margin: .5rem 0;
  font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { color: var(--dim); font-weight: 600; font-size: .85rem; } td.n, th.n { text-align: right; }
.scroll { overflow-x: auto; } .row { display: flex; flex-wrap: wrap; gap: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem; }
figure { margin: .5rem 0; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; padding: .8rem; max-width: 44rem; }
figcaption { color: var(--dim); font-size: .85rem; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--dim); font-size: 12px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  overflow: hidden; } .tile.right { border-color: var(--c2); border-width: 2px; }
.tile > img, .none { display: block; width: 100%; background: #fff; }
.tile > img { aspect-ratio: 1; }
.none { background: var(--page); color: var(--dim); padding: 1rem; font-size: .85rem; }
.tile audio, .card audio { width: 100%; display: block; }
.tile p { margin: .3rem .6rem; font-size: .85rem; max-height: 7em; overflow: auto; }
"""


def page(title: str, sections: Iterable[str], footer: str = "", style: str = "") -> str:
    """The whole page: its title, then what `section` and the other functions gave.

    style: rules of its own after those of every page.
    """
    return f"""<!DOCTYPE html>
<html lang="">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{_STYLE}{style}</style>
</head>
<body>
<h1>{text(title)}</h1>
{"".join(sections)}
<footer>{text(footer)}</footer>
</body>
</html>
"""


def section(heading: str, blocks: Iterable[str]) -> str:
    """A heading and the pieces of HTML under it."""
    return f"<section>\n<h2>{text(heading)}</h2>\n{''.join(blocks)}</section>\n"


def heading(words: str) -> str:
    """A smaller heading inside a section."""
    return f"<h3>{text(words)}</h3>\n"


def paragraph(words: str, *, note: bool = False) -> str:
    """A paragraph; note: in smaller, dimmer type."""
    opening = '<p class="note">' if note else "<p>"
    return f"{opening}{text(words)}</p>\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table. Numbers stand on the right; a float shows four digits, None an empty cell."""
    rows = [list(row) for row in rows]
    numeric = [
        any(_is_number(row[i]) for row in rows)
        and all(row[i] is None or _is_number(row[i]) for row in rows)
        for i in range(len(columns))
    ]
    head = "".join(_cell("th", name, n) for name, n in zip(columns, numeric, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell("td", v, n) for v, n in zip(row, numeric, strict=True)) + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with a column for every name that any row has."""
    names = columns_of(rows)
    return table(names, [[row.get(name) for name in names] for row in rows])


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names that any row has, in the order in which they come up."""
    return list(dict.fromkeys(name for row in rows for name in row))


def side_by_side(blocks: Iterable[str]) -> str:
    """Pieces of HTML beside each other where the window is wide enough."""
    return f'<div class="row">{"".join(f"<div>{block}</div>" for block in blocks)}</div>\n'


def figure(chart: str, caption: str = "") -> str:
    """A chart in a frame, with words under it."""
    under = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f"<figure>{chart}{under}</figure>\n"


def text(value: Any) -> str:
    """Any value as text that is safe in HTML content and in a quoted attribute."""
    plain = str(value).encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8 form
    return escape(plain, quote=True)


def number(value: Any) -> str:
    """A number as it is shown: four significant digits, whole numbers as they are."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if value == value else "–"


def _cell(tag: str, value: Any, numeric: bool) -> str:
    shown = "" if value is None else number(value) if _is_number(value) else value
    opening = f'<{tag} class="n">' if numeric else f"<{tag}>"
    return f"{opening}{text(shown)}</{tag}>"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
