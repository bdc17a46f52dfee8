"""The confusion matrix as a picture: how many rows of each class were called what.

Knows names and counts; nothing about models.
"""

from collections.abc import Sequence

from mmcli.report.page import text

#: Classes at most: more cells than that can be drawn, but not read.
MOST_CLASSES = 30
#: Side of a cell, and sizes of the letters of its count and its share, up to so many classes.
_CELLS = ((12, 52, 13, 10), (20, 36, 11, 9), (MOST_CLASSES, 28, 10, 8))
#: Share of a row from which a cell is so strong that its letters take the colour of the paper.
_DARK = 0.72
_LETTER, _LONGEST, _TOTAL = 6.5, 20, 52


def confusion_chart(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """A cell a pair of classes, dark by its share of the row; rows are true, columns were said.

    matrix: `(classes, classes)`. Raises ValueError for more than `MOST_CLASSES`.
    """
    count = len(classes)
    if count > MOST_CLASSES:
        raise ValueError(f"{count} classes cannot be read in one picture")
    side, *sizes = next(cell for most, *cell in _CELLS if count <= most)
    names = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in classes]
    margin = 24 + _LETTER * max(map(len, names))
    level = count <= 6 and max(map(len, names)) * _LETTER <= side  # names fit over their columns
    top = 38 if level else 18 + 0.72 * margin
    parts = [
        f'<text x="4" y="{top - 8:.0f}">true</text>',
        f'<text x="{margin:.0f}" y="12">said</text>',
        f'<text x="{margin + count * side + 8:.0f}" y="{top - 8:.0f}">rows</text>',
    ]
    for i, name in enumerate(names):
        x, y = margin + (i + 0.5) * side, top + (i + 0.5) * side + 4
        whole = f"<title>{text(classes[i])}</title>"
        parts.append(
            f'<text x="{margin - 8:.0f}" y="{y:.1f}" text-anchor="end">{text(name)}{whole}</text>'
        )
        place = f'x="{x:.1f}" y="{top - 8:.0f}"'
        if level:
            parts.append(f'<text {place} text-anchor="middle">{text(name)}{whole}</text>')
        else:
            turned = f'transform="rotate(-45 {x:.1f} {top - 8:.0f})"'
            parts.append(f"<text {place} {turned}>{text(name)}{whole}</text>")
        total = sum(matrix[i])
        parts.append(f'<text x="{margin + count * side + 8:.0f}" y="{y:.1f}">{total}</text>')
        for j, found in enumerate(matrix[i]):
            share = found / total if total else 0.0
            title = f"{classes[i]} called {classes[j]}: {found} of {total}"
            parts.append(_cell(margin + j * side, top + i * side, side, sizes, found, share, title))
    width, height = (
        margin + count * side + _TOTAL + (0 if level else 0.5 * margin),
        top + count * side,
    )
    return (
        f'<div class="scroll"><svg viewBox="0 0 {width:.0f} {height + 6:.0f}" role="img"'
        f' aria-label="confusion matrix" style="width:{width:.0f}px">{"".join(parts)}</svg></div>\n'
    )


def _cell(
    x: float, y: float, side: int, sizes: Sequence[int], found: int, share: float, title: str
) -> str:
    """One cell: nothing written into it where no row is."""
    parts = [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{side - 1}" height="{side - 1}"'
        f' fill="var(--bar)" opacity="{0.04 + 0.96 * share:.2f}"/>'
    ]
    if found:
        ink = "var(--card)" if share > _DARK else "var(--ink)"
        size, small = sizes
        middle = f'x="{x + (side - 1) / 2:.1f}" text-anchor="middle"'
        parts.append(
            f'<text {middle} y="{y + side / 2:.1f}" style="fill:{ink};font-size:{size}px">'
            f"{found}</text>"
            f'<text {middle} y="{y + side / 2 + small + 1:.1f}"'
            f' style="fill:{ink};font-size:{small}px">{100 * share:.0f}%</text>'
        )
    return f"<g><title>{text(title)}</title>{''.join(parts)}</g>"
