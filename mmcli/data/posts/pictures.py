"""Draws the picture of a post: a house in a crisis, or something that has nothing to do with one.

How much of the house is broken is drawn too. Size, place, colours, sky and trees are drawn at
random.
"""

from random import Random

from mmcli.data.posts.board import DARK, Board, Colour, near
from mmcli.data.posts.houses import draw_house
from mmcli.data.posts.parts import UNRELATED, Post
from mmcli.data.posts.things import draw_thing


def draw_picture(post: Post, draw: Random) -> bytes:
    """A PNG of `SIDE` x `SIDE` pixels, the same for the same random numbers."""
    if post.shows == UNRELATED:
        board = Board(near((draw.randint(120, 235),) * 3, draw, 30))
        draw_thing(board, draw)
        return board.png()
    skies = {"fire": (225, 170, 130), "storm": (75, 82, 98), "flood": (165, 175, 185)}
    board = Board(near(skies.get(post.shows, (150, 195, 235)), draw, 18))
    ground = draw.uniform(0.72, 0.8)
    if post.shows == "storm":
        _storm_sky(board, draw)
    if post.shows == "fire":
        _smoke(board, draw)
    grass = (130, 120, 80) if post.shows in ("fire", "earthquake") else (95, 145, 70)
    board.box(0, ground, 1, 1, near(grass, draw, 15))
    x, width, height = draw.uniform(0.36, 0.64), draw.uniform(0.42, 0.54), draw.uniform(0.26, 0.32)
    _tree(board, draw, draw.choice((0.08, 0.92)), ground, post.shows)
    if post.shows == "fire":
        _flames(board, draw, ground, 0.34, 6)
    draw_house(board, draw, (x, ground + 0.04), (width, height), post.broken)
    if post.shows == "flood":
        _water(board, draw, ground - draw.uniform(0.0, 0.05))
    elif post.shows == "fire":
        _flames(board, draw, ground + 0.1, 0.16, 4)
    elif post.shows == "earthquake":
        _cracks(board, draw, ground)
    elif post.shows == "storm":
        _rain(board, draw)
    return board.png()


def _tree(board: Board, draw: Random, x: float, ground: float, kind: str) -> None:
    foot, height = ground + 0.05, draw.uniform(0.3, 0.42)
    bend = draw.uniform(0.12, 0.2) * (1 if x < 0.5 else -1) if kind == "storm" else 0.0
    top = (x + bend, foot - height)
    board.line([(x, foot), (x + bend / 4, foot - height / 2), top], (90, 62, 40), 0.03)
    leaf = near((60, 120, 55), draw, 18)
    for _ in range(5):
        dx, dy = draw.uniform(-0.07, 0.07) + bend / 2, draw.uniform(-0.07, 0.07)
        board.oval(top[0] + dx, top[1] + dy, 0.08 + abs(bend) / 3, 0.07 - abs(bend) / 6, leaf)


def _water(board: Board, draw: Random, level: float) -> None:
    water = near(draw.choice(((110, 125, 120), (125, 110, 85), (90, 120, 150))), draw, 10)
    board.box(0, level, 1, 1, water)
    light: Colour = tuple(min(part + 38, 255) for part in water)  # type: ignore[assignment]
    for _ in range(26):
        x, y = draw.uniform(-0.05, 1), draw.uniform(level + 0.01, 1)
        half = 0.02 + 0.06 * (y - level)
        wave = [(x - half, y), (x - half / 2, y - 0.008), (x, y), (x + half / 2, y + 0.008)]
        board.line([*wave, (x + half, y)], light, 0.007)
    x = draw.uniform(0.15, 0.85)
    board.box(x - 0.08, level - 0.03, x + 0.08, level + 0.015, near((180, 50, 45), draw, 30))
    board.box(x - 0.045, level - 0.06, x + 0.045, level - 0.03, (60, 70, 80))


def _flames(board: Board, draw: Random, foot: float, height: float, count: int) -> None:
    for i in range(count):
        x = (i + draw.uniform(0.1, 0.9)) / count
        tall, half = height * draw.uniform(0.6, 1.1), draw.uniform(0.05, 0.08)
        for share, colour in ((1.0, (220, 70, 25)), (0.65, (250, 150, 30)), (0.35, (255, 225, 90))):
            h, w = tall * share, half * share
            tip = x + draw.uniform(-0.03, 0.03)
            board.fill(
                [(x - w, foot), (x - w * 0.9, foot - h * 0.4), (x - w * 0.35, foot - h * 0.55),
                 (tip, foot - h), (x + w * 0.5, foot - h * 0.5), (x + w, foot - h * 0.3),
                 (x + w, foot)],
                colour,
            )  # fmt: skip


def _smoke(board: Board, draw: Random) -> None:
    for _ in range(16):
        grey = draw.randint(60, 130)
        board.oval(
            draw.uniform(0, 1),
            draw.uniform(0, 0.3),
            draw.uniform(0.07, 0.16),
            draw.uniform(0.05, 0.1),
            (grey, grey - 5, grey - 8),
        )


def _cracks(board: Board, draw: Random, ground: float) -> None:
    for _ in range(3):
        x, y = draw.uniform(0.05, 0.95), ground + 0.06
        drift = draw.uniform(-0.05, 0.05)
        upper, lower = [], []
        for i in range(7):
            at = y + (1 - y) * i / 6
            middle = x + drift * i + draw.uniform(-0.03, 0.03)
            half = 0.006 + 0.006 * i
            upper.append((middle - half, at))
            lower.append((middle + half, at))
        board.fill(upper + lower[::-1], DARK)
    for _ in range(3):  # the air is full of dust
        x = draw.uniform(0.1, 0.9)
        board.oval(
            x, ground - 0.01, draw.uniform(0.08, 0.14), 0.035, near((190, 175, 150), draw, 8)
        )


def _storm_sky(board: Board, draw: Random) -> None:
    for _ in range(12):
        grey = draw.randint(45, 85)
        board.oval(
            draw.uniform(0, 1),
            draw.uniform(0, 0.2),
            draw.uniform(0.1, 0.22),
            draw.uniform(0.05, 0.09),
            (grey, grey + 3, grey + 10),
        )
    x = draw.uniform(0.15, 0.85)
    bolt = [(x, 0.12), (x - 0.05, 0.25), (x + 0.01, 0.25), (x - 0.05, 0.4)]
    board.line(bolt, (255, 245, 160), 0.016)


def _rain(board: Board, draw: Random) -> None:
    slant = draw.choice((-1, 1)) * draw.uniform(0.05, 0.08)
    for _ in range(90):
        x, y = draw.uniform(-0.1, 1.1), draw.uniform(-0.1, 1)
        board.line([(x, y), (x + slant, y + 0.09)], (185, 195, 210), 0.006)
