"""Examples as tokens, and tokens as batches: what goes in, what is learned, where pictures stand.

Two layouts: `joint`, the answer follows the prompt in one sequence; `split`, an encoder reads the
prompt and a decoder writes the answer. Knows no family.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmcli.engine.torch_stack import load_torch
from mmcli.tasks.generative.examples import Example

#: Stands in a prompt's tokens for a whole picture.
SLOT = -1
#: The label of what is not learned; torch's own default.
IGNORED = -100


@dataclass(frozen=True)
class Line:
    """One example in tokens. source: the prompt, SLOT for a picture; learned: which of its tokens
    are learned too (earlier answers), by position. target: the answer and the token that ends it.
    """

    source: tuple[int, ...]
    target: tuple[int, ...] = ()
    learned: frozenset[int] = frozenset()

    @property
    def slots(self) -> int:
        """How many pictures it has room for."""
        return self.source.count(SLOT)


@dataclass(frozen=True)
class Picture:
    """One picture as a model takes it. ids: the tokens in its slot; tensors: of a batch of one."""

    ids: tuple[int, ...]
    tensors: Mapping[str, Any]


@dataclass(frozen=True)
class Filled:
    """A line with its pictures in it; learned: bool for every token of source and target."""

    source: tuple[int, ...]
    target: tuple[int, ...]
    learned: tuple[bool, ...]
    pictures: tuple[Picture, ...]


@dataclass
class Batch:
    """Tensors of some rows. inputs: what the model is called with; labels: `(rows, length)`, where
    the logits at a position are to give the label at the same position. n_labels: that are learned.
    """

    inputs: dict[str, Any]
    labels: Any = None
    n_labels: int = 0


@dataclass(frozen=True)
class Writing:
    """How answers are written. beams: 1 takes the likeliest token each time."""

    max_new_tokens: int = 32
    beams: int = 1


@dataclass(frozen=True)
class Dialect:
    """How one model speaks.

    layout: joint or split. tokenizer, pad: what turns text into tokens, and fills up rows. stops:
    tokens that end an answer. limits: how many tokens a model takes: of prompt and answer together
    (joint), or of each (split); None for any.

    line: an example's tokens, with or without its answer; raises BadInput where it cannot be said.
    picture: a decoded picture, prepared. logits: `(rows, length, words)` of a batch's inputs.
    write: the tokens of an answer to each row, without what ends it. kinds: what the model wants
    to know of each token beside the token, by argument, from the tokens and how many of them are
    the prompt's. pads: prompts of different length may share a batch. start: what a decoder begins
    with (split).
    """

    layout: str
    tokenizer: Any
    pad: int
    stops: tuple[int, ...]
    limits: tuple[int | None, int | None]
    line: Callable[[Example, bool], Line]
    picture: Callable[[Any], Picture]
    logits: Callable[[Any, Mapping[str, Any]], Any]
    write: Callable[[Any, Mapping[str, Any], Writing], list[list[int]]]
    kinds: Callable[[Sequence[int], int], Mapping[str, list[int]]] = lambda ids, n_source: {}
    pads: bool = True
    start: int = 0


def fill(line: Line, pictures: Sequence[Picture]) -> Filled:
    """Put pictures into their slots."""
    source: list[int] = []
    learned: list[bool] = []
    left = iter(pictures)
    for position, token in enumerate(line.source):
        if token == SLOT:
            ids = next(left).ids
            source += ids
            learned += [False] * len(ids)
        else:
            source.append(token)
            learned.append(position in line.learned)
    learned += [True] * len(line.target)
    return Filled(tuple(source), line.target, tuple(learned), tuple(pictures))


def collate(rows: Sequence[Filled], dialect: Dialect, *, answered: bool) -> Batch:
    """One batch. answered: prompts and answers, to learn from, padded on the right; else prompts
    alone, of joint ones padded on the left.
    """
    torch = load_torch()
    split = dialect.layout == "split"
    sources = [row.source if split or not answered else row.source + row.target for row in rows]
    left = not answered and not split
    width = max(map(len, sources))
    columns: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": []}
    for row, ids in zip(rows, sources, strict=True):
        gap = width - len(ids)
        kinds = dialect.kinds(ids, len(row.source))
        for name, values, filling in (
            ("input_ids", list(ids), dialect.pad),
            ("attention_mask", [1] * len(ids), 0),
            *((name, values, 0) for name, values in kinds.items()),
        ):
            padded = [filling] * gap + values if left else values + [filling] * gap
            columns.setdefault(name, []).append(padded)
    inputs = {name: torch.tensor(values) for name, values in columns.items()}
    inputs |= _stacked(torch, [picture for row in rows for picture in row.pictures], rows)
    if not answered:
        return Batch(inputs)
    if split:
        labels = _right(torch, [row.target for row in rows], IGNORED)
        begun = [(dialect.start, *row.target[:-1]) for row in rows]
        inputs["decoder_input_ids"] = _right(torch, begun, dialect.pad)
        inputs["decoder_attention_mask"] = (labels != IGNORED).long()
    else:
        wanted = [
            tuple(i if yes else IGNORED for i, yes in zip(ids, row.learned, strict=True))
            for ids, row in zip(sources, rows, strict=True)
        ]
        # the logits at a position are of the token that follows it
        labels = _right(torch, [(*one[1:], IGNORED) for one in wanted], IGNORED)
    return Batch(inputs, labels, int((labels != IGNORED).sum()))


def in_passes(lengths: Sequence[tuple[int, int]], batch: int, pads: bool) -> list[list[int]]:
    """Rows by number in batches of about one length, the short ones first.

    lengths: tokens of source and of both, of each row. pads: whether sources of different length
    may share a batch.
    """
    order = sorted(range(len(lengths)), key=lambda number: (lengths[number][::-1], number))
    if not pads:
        order.sort(key=lambda number: lengths[number][0])
    found: list[list[int]] = []
    for number in order:
        last = found[-1] if found else []
        fits = bool(last) and len(last) < max(1, batch)
        if fits and (pads or lengths[last[0]][0] == lengths[number][0]):
            last.append(number)
        else:
            found.append([number])
    return found


def token_losses(logits: Any, labels: Any, smoothing: float = 0.0) -> Any:
    """The sum of -log p of every learned token, in nats.

    logits: `(rows, length, words)`; labels: `(rows, length)`. smoothing: share of the target that
    is spread over all words (Szegedy et al. 2015, arXiv 1512.00567).
    """
    torch = load_torch()
    there = labels != IGNORED  # picked first, so that only these become fp32
    return torch.nn.functional.cross_entropy(
        logits[there].float(), labels[there], reduction="sum", label_smoothing=smoothing
    )


def _right(torch: Any, rows: Sequence[Sequence[int]], filling: int) -> Any:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filling] * (width - len(row))] for row in rows])


def _stacked(torch: Any, pictures: Sequence[Picture], rows: Sequence[Filled]) -> dict[str, Any]:
    """The pictures of all rows, one after the other; tiles `(1, n, …)` a row and padded.

    Tiles of SmolVLM are five-dimensional, their masks four: a row's are one after the other in the
    second dimension, and rows with fewer, or smaller ones, get zeros, which the model leaves out.
    """
    found: dict[str, Any] = {}
    for name in pictures[0].tensors if pictures else ():
        if not _tiled(pictures[0].tensors):
            found[name] = torch.cat([picture.tensors[name] for picture in pictures])
            continue
        mine = [_joined(torch, [picture.tensors[name] for picture in row.pictures]) for row in rows]
        like = next(one for one in mine if one is not None)
        shape = [max(one.shape[d] for one in mine if one is not None) for d in range(like.ndim)]
        stack = like.new_zeros((len(rows), *shape[1:]))
        for at, one in enumerate(mine):
            if one is not None:
                stack[(at, *(slice(0, size) for size in one.shape[1:]))] = one[0]
        found[name] = stack
    return found


def _tiled(tensors: Mapping[str, Any]) -> bool:
    pixels = tensors.get("pixel_values")
    return pixels is not None and pixels.ndim == 5


def _joined(torch: Any, tensors: Sequence[Any]) -> Any:
    """Tiles of one row's pictures one after the other, padded to the largest; None without any."""
    if not tensors:
        return None
    shape = [max(one.shape[d] for one in tensors) for d in range(tensors[0].ndim)]
    padded = []
    for one in tensors:
        into = one.new_zeros((1, one.shape[1], *shape[2:]))
        into[tuple(slice(0, size) for size in one.shape)] = one
        padded.append(into)
    return torch.cat(padded, dim=1)
