"""Draws a house: whole, damaged or fallen down. Knows nothing about why."""

from random import Random

from mmcli.data.posts.board import DARK, Board, Colour, Point, jagged, near

_WALLS: tuple[Colour, ...] = (
    (214, 190, 150), (190, 110, 90), (225, 225, 215), (170, 180, 190), (200, 170, 110),
)  # fmt: skip
_ROOFS: tuple[Colour, ...] = ((140, 60, 45), (80, 80, 90), (110, 75, 50), (60, 70, 100))


def draw_house(board: Board, draw: Random, foot: Point, size: Point, broken: int) -> None:
    """A house that stands with the middle of its foot there.

    size: width and height of its walls. broken: 0 whole; 1 broken panes, holes in the roof, a
    crack; 2 fallen down.
    """
    (x, y), (width, height) = foot, size
    wall, roof = near(draw.choice(_WALLS), draw, 12), near(draw.choice(_ROOFS), draw, 12)
    left, right, top = x - width / 2, x + width / 2, y - height
    if broken == 2:
        _ruin(board, draw, (left, right, top, y), wall, roof)
        return
    board.box(left, top, right, y, wall)
    board.fill([(left - 0.05, top), (x, top - height * 0.75), (right + 0.05, top)], roof)
    board.box(x - 0.045, y - height * 0.55, x + 0.045, y, (95, 60, 40))
    for at in (left + width * 0.2, right - width * 0.2):
        middle = top + height * 0.38
        board.box(at - 0.055, middle - 0.055, at + 0.055, middle + 0.055, (245, 245, 245))
        pane = DARK if broken else (120, 175, 215)
        board.box(at - 0.042, middle - 0.042, at + 0.042, middle + 0.042, pane)
        if broken:
            shard = [(at - 0.042, middle + 0.042), (at - 0.01, middle - 0.03), (at, middle + 0.042)]
            board.fill(shard, (190, 215, 235))
        else:
            board.line([(at, middle - 0.05), (at, middle + 0.05)], (245, 245, 245), 0.01)
            board.line([(at - 0.05, middle), (at + 0.05, middle)], (245, 245, 245), 0.01)
    if broken:
        for _ in range(3):
            hx, hy = x + draw.uniform(-0.11, 0.11), top - height * draw.uniform(0.12, 0.35)
            board.fill(jagged(draw, hx, hy, 0.045), DARK)
        cx = left + width * draw.choice((0.36, 0.64))
        crack = [(cx + draw.uniform(-0.025, 0.025), top + height * i / 5) for i in range(6)]
        board.line(crack, DARK, 0.013)


def _ruin(
    board: Board,
    draw: Random,
    place: tuple[float, float, float, float],
    wall: Colour,
    roof: Colour,
) -> None:
    left, right, top, y = place
    height, width = y - top, right - left
    edge = [(left, y), (left, top + height * draw.uniform(0.2, 0.4))]
    edge += [(left + width * i / 6, top + height * draw.uniform(0.35, 0.85)) for i in range(1, 6)]
    board.fill([*edge, (right, y - height * draw.uniform(0.1, 0.3)), (right, y)], wall)
    tilt = draw.choice((-1, 1)) * 0.1
    mid = y - height * 0.3
    board.fill(
        [(left + 0.1, mid + tilt), (right - 0.06, mid - tilt), (right, mid - tilt + 0.08),
         (left + 0.06, mid + tilt + 0.1)],
        roof,
    )  # fmt: skip
    for _ in range(26):
        size = draw.uniform(0.015, 0.045)
        stone = near(draw.choice((wall, roof, (110, 105, 100), DARK)), draw, 15)
        px = draw.uniform(left - 0.1, right + 0.1)
        board.fill(jagged(draw, px, y - draw.uniform(-0.03, 0.09), size), stone)
    for _ in range(4):
        px, py = draw.uniform(left, right), y - draw.uniform(0.05, 0.15)
        end = (px + draw.uniform(-0.12, 0.12), py - draw.uniform(0.05, 0.16))
        board.line([(px, py), end], (90, 65, 45), 0.014)
