"""Windows over long media: what `--window` and `--hop` say, and where the windows of one part lie.

Seconds for recordings and videos, tokens for texts. Arithmetic alone: opens nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmcli.core.errors import UsageError

TIMED = ("speech", "video")
#: A rest up to this share of a window joins the window before it: nobody seeks half a second.
_REST = 0.1
_SECONDS = {"s": 1.0, "ms": 0.001, "min": 60.0}
_LENGTH = re.compile(r"(?:(text|speech|video)=)?(\d+\.?\d*|\.\d+)(s|ms|min|tok)?")
_EXAMPLE = "as in `--window 10s`, `--window 128tok` or `--window speech=10s,text=128tok`"
Span = tuple[float, float]


@dataclass(frozen=True)
class Window:
    """One window's length and the distance from start to start: seconds, or tokens of a text."""

    length: float
    hop: float


def parse_windows(window: Sequence[str], hop: Sequence[str]) -> dict[str, Window]:
    """The window of each modality that has one; windows touch where no hop is given.

    `10s` (`500ms`, `2min`) is of recordings and videos, `128tok` of texts; `speech=10s` of one.
    Raises UsageError for what is no length, and for a hop that would leave gaps.
    """
    lengths, hops = _parse("--window", window), _parse("--hop", hop)
    alone = [modality for modality in hops if modality not in lengths]
    if alone and not (set(alone) <= set(TIMED) and set(TIMED) & set(lengths)):
        raise UsageError(f"`--hop` of {alone[0]} without its `--window`", _EXAMPLE)
    for modality, length in lengths.items():
        if hops.get(modality, length) > length:
            raise UsageError(
                f"`--hop`: {modality} windows of {length:g} every {hops[modality]:g} leave gaps",
                "the hop is at most the window",
            )
    return {m: Window(length, hops.get(m, length)) for m, length in lengths.items()}


def _parse(option: str, values: Sequence[str]) -> dict[str, float]:
    general: dict[str, float] = {}
    named: dict[str, float] = {}
    for word in (w.strip() for value in values for w in value.split(",") if w.strip()):
        found = _LENGTH.fullmatch(word)
        if found is None:
            raise UsageError(f"`{option} {word}` is no length", _EXAMPLE)
        modality, number, unit = found[1], float(found[2]), found[3]
        if modality is None and unit is None:
            raise UsageError(f"`{option} {word}` has no unit", _EXAMPLE)
        if unit is None:
            unit = "tok" if modality == "text" else "s"
        if modality and (modality == "text") != (unit == "tok"):
            raise UsageError(f"`{option} {word}`: {modality} is not measured in {unit}", _EXAMPLE)
        length = number if unit == "tok" else round(number * _SECONDS[unit], 6)
        if length <= 0 or (unit == "tok" and length != int(length)):
            raise UsageError(f"`{option} {word}`: must be more than 0, tokens whole", _EXAMPLE)
        given = named if modality else general
        for one in [modality] if modality else (("text",) if unit == "tok" else TIMED):
            if one in given:
                raise UsageError(f"`{option}` is given twice for {one}", "give it once")
            given[one] = length
    return {**general, **named}


def time_spans(duration_s: float, window: Window) -> list[Span]:
    """Windows from 0 to the end; starts are multiples of the hop, the last window is shorter.

    A rest of less than a tenth of a window makes the last one longer instead.
    """
    reach = duration_s - (1 + _REST) * window.length
    count = 1
    while (count - 1) * window.hop < reach:
        count += 1
    starts = [round(i * window.hop, 6) for i in range(count)]
    ends = [round(min(start + window.length, duration_s), 6) for start in starts]
    ends[-1] = round(duration_s, 6)
    return list(zip(starts, ends, strict=True))


def token_spans(text: str, tokens: Sequence[tuple[int, int]], window: Window) -> list[Span]:
    """Windows of at most so many tokens, as characters of the text; no word is cut where that can
    be helped.

    tokens: first and last character (excluded) of each.
    """
    size, hop = int(window.length), int(window.hop)
    spans: list[Span] = []
    start, total = 0, len(tokens)
    while True:
        end = min(start + size, total)
        if end < total:
            end = _back_to_word(text, tokens, start + max(1, size // 2), end)
        spans.append((tokens[start][0], tokens[end - 1][1]))
        if end == total:
            return spans
        start = min(end, _back_to_word(text, tokens, start + max(1, hop // 2), start + hop))


def _back_to_word(text: str, tokens: Sequence[tuple[int, int]], first: int, at: int) -> int:
    """The last place from `first` to `at` where a word begins; `at` where there is none."""
    for place in range(at, first - 1, -1):
        before, here = tokens[place - 1][1], tokens[place][0]
        if before < here or _parted(text[here - 1 : here], text[here : here + 1]):
            return place
    return at


def _parted(left: str, right: str) -> bool:
    """Whether a word may begin between two characters: beside a blank or mark, and in scripts that
    are written without blanks (from U+2E80 on)."""
    if not left or not (left.isalnum() and right.isalnum()):
        return True
    return max(ord(left), ord(right)) >= 0x2E80


def check_token_limit(windows: Mapping[str, Window], limit: int, encoder: str) -> None:
    """Raise UsageError for windows of text that an encoder would cut."""
    window = windows.get("text")
    if window is not None and window.length > limit:
        raise UsageError(
            f"`--window {window.length:g}tok`: `{encoder}` reads {limit} tokens beside its marks",
            f"use at most {limit}tok",
        )
