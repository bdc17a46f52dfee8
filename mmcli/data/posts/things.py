"""Things that have nothing to do with a crisis: a cat, a meal, a flower, a mug, a ball.

Knows nothing about posts.
"""

import math
from collections.abc import Callable
from random import Random

from mmcli.data.posts.board import Board, Colour


def draw_thing(board: Board, draw: Random) -> None:
    """One of them, on a table, somewhere about the middle."""
    board.box(0, draw.uniform(0.55, 0.8), 1, 1, _any(draw, 90, 200))
    thing = draw.choice(THINGS)
    x, y, size = draw.uniform(0.4, 0.6), draw.uniform(0.45, 0.6), draw.uniform(0.24, 0.34)
    thing(board, draw, x, y, size)


def _cat(board: Board, draw: Random, x: float, y: float, r: float) -> None:
    fur = draw.choice(((70, 65, 65), (215, 140, 60), (225, 220, 210), (130, 105, 85)))
    for side in (-1, 1):
        board.fill(
            [(x + side * r * 0.9, y - r * 1.15), (x + side * r, y - r * 0.2), (x, y - r * 0.6)], fur
        )
    board.oval(x, y, r, r * 0.85, fur)
    for side in (-1, 1):
        board.oval(x + side * r * 0.4, y - r * 0.15, r * 0.18, r * 0.16, (170, 205, 90))
        board.oval(x + side * r * 0.4, y - r * 0.15, r * 0.06, r * 0.15, (20, 20, 20))
        for tilt in (-0.12, 0.05):
            whisker = [
                (x + side * r * 0.3, y + r * 0.3),
                (x + side * r * 1.2, y + r * (0.3 + tilt)),
            ]
            board.line(whisker, (245, 245, 245), 0.008)
    board.fill(
        [(x - r * 0.1, y + r * 0.15), (x + r * 0.1, y + r * 0.15), (x, y + r * 0.28)],
        (220, 120, 130),
    )


def _meal(board: Board, draw: Random, x: float, y: float, r: float) -> None:
    board.oval(x, y, r * 1.25, r * 1.25, (245, 245, 245))
    board.oval(x, y, r * 0.95, r * 0.95, draw.choice(((235, 190, 95), (205, 150, 90))))
    for _ in range(9):
        turn, away = draw.uniform(0, 2 * math.pi), draw.uniform(0, 0.7) * r
        colour = draw.choice(((200, 45, 40), (80, 140, 60), (250, 235, 170)))
        board.oval(x + away * math.cos(turn), y + away * math.sin(turn), r * 0.14, r * 0.14, colour)


def _flower(board: Board, draw: Random, x: float, y: float, r: float) -> None:
    board.line([(x, y), (x + 0.02, 1)], (70, 130, 60), 0.03)
    petal = draw.choice(((230, 80, 120), (245, 220, 70), (160, 90, 200), (250, 250, 245)))
    for i in range(8):
        turn = i * math.pi / 4
        board.oval(x + 0.62 * r * math.cos(turn), y + 0.62 * r * math.sin(turn), r * 0.33, r * 0.33,
                   petal)  # fmt: skip
    board.oval(x, y, r * 0.36, r * 0.36, (150, 95, 40))


def _mug(board: Board, draw: Random, x: float, y: float, r: float) -> None:
    glaze = _any(draw, 60, 235)
    board.oval(x + r * 0.8, y, r * 0.42, r * 0.5, glaze)
    board.oval(x + r * 0.8, y, r * 0.24, r * 0.32, (200, 200, 200))
    board.box(x - r * 0.75, y - r * 0.8, x + r * 0.75, y + r * 0.8, glaze)
    board.oval(x, y + r * 0.8, r * 0.75, r * 0.2, glaze)
    board.oval(x, y - r * 0.8, r * 0.75, r * 0.22, (70, 45, 30))


def _ball(board: Board, draw: Random, x: float, y: float, r: float) -> None:
    first, second = _any(draw, 120, 255), _any(draw, 30, 160)
    board.oval(x, y, r, r, first)
    board.oval(x, y, r * 0.45, r, second)
    board.oval(x, y, r * 0.2, r, first)


def _any(draw: Random, low: int, high: int) -> Colour:
    return draw.randint(low, high), draw.randint(low, high), draw.randint(low, high)


THINGS: tuple[Callable[[Board, Random, float, float, float], None], ...] = (
    _cat, _meal, _flower, _mug, _ball,
)  # fmt: skip
