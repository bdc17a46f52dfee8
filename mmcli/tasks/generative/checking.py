"""Data against a model, before anything is learned: every row, by its tokens.

A row that does not fit is one error that names it. Nothing is ever cut: a prompt that lost its end,
or half a picture, would be learned in silence. Knows nothing about training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mmcli.core.errors import BadInput
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.loading import Base
from mmcli.tasks.generative.pictures import Size, blank, distinct, sizes_of
from mmcli.tasks.generative.tokens import SLOT, Dialect


@dataclass(frozen=True)
class Lengths:
    """Tokens of rows: the most, and the sum. longest: where the row with the most stands."""

    rows: int
    most: int
    total: int
    longest: str


def check_rows(
    base: Base, dialect: Dialect, examples: Sequence[Example], workers: int, *, answered: bool
) -> Lengths:
    """Turn every row into tokens and count them; each picture is decoded once, small.

    answered: with the answers. Raises BadInput naming the first row that the model cannot take: a
    picture that is broken, a place too few, a prompt and answer longer than the model.
    """
    sizes = sizes_of(examples, workers)
    places = _places(base, dialect, sizes)
    most, total, longest = 0, 0, ""
    for example, mine in zip(examples, sizes, strict=True):
        line = dialect.line(example, answered)
        pictures = sum(places[size] for size in mine)
        source = sum(token != SLOT for token in line.source) + pictures
        length = source + len(line.target)
        _check_length(base, dialect, example, source, len(line.target), pictures)
        total += length
        if length > most:
            most, longest = length, example.where
    return Lengths(len(examples), most, total, longest)


def _places(base: Base, dialect: Dialect, sizes: Sequence[Sequence[Size]]) -> dict[Size, int]:
    """How many tokens a picture of each size takes, by the processor itself on a grey one."""
    found: dict[Size, int] = {}
    for size in distinct(sizes):
        if base.family.one_size and found:
            found[size] = next(iter(found.values()))
        else:
            found[size] = len(dialect.picture(blank(size)).ids)
    return found


def _check_length(
    base: Base, dialect: Dialect, example: Example, source: int, target: int, pictures: int
) -> None:
    most, most_target = dialect.limits
    joint = dialect.layout == "joint"
    # an answer that is still to be written needs a place, too
    length = source + max(1, target) if joint else source
    of_images = f", {pictures} of them of its images" if pictures else ""
    if most is not None and length > most:
        what = f"prompt and answer are {source} + {target}" if target else f"the prompt is {source}"
        if not joint:
            what = f"the prompt is {source}"
        raise BadInput(
            f"{example.where}: {what} tokens{of_images}; `{base.reference}` takes {most}",
            "shorten its text, or make its images smaller"
            if pictures and not base.family.one_size
            else "shorten its text, or drop the row",
        )
    if most_target is not None and target > most_target:
        raise BadInput(
            f"{example.where}: the answer is {target} tokens; `{base.reference}` writes"
            f" {most_target}",
            "shorten it, or drop the row",
        )
