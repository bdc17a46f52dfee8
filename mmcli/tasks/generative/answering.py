"""Answers to examples, in text: rows of about one length share a batch.

Knows nothing about scores or files.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from mmcli.engine.torch_stack import load_torch
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.pictures import blank, pictures_of
from mmcli.tasks.generative.tokens import Dialect, Writing, collate, fill, in_passes

#: How a picture is left out: a grey one of the same size stands in its place.
WITHOUT = ("image",)


def answers(
    network: Any,
    dialect: Dialect,
    examples: Sequence[Example],
    writing: Writing,
    *,
    batch: int = 8,
    without: Sequence[str] = (),
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """One answer an example, in their order. without: `image` shows a grey picture instead."""
    found = [""] * len(examples)
    done = 0
    for numbers, texts in answered(
        network, dialect, examples, writing, batch=batch, without=without, device=device
    ):
        for number, text in zip(numbers, texts, strict=True):
            found[number] = text
        done += len(numbers)
        progress(done, len(examples))
    return found


def answered(
    network: Any,
    dialect: Dialect,
    examples: Sequence[Example],
    writing: Writing,
    *,
    batch: int = 8,
    without: Sequence[str] = (),
    device: str = "cpu",
    done: Collection[int] = (),
) -> Iterator[tuple[list[int], list[str]]]:
    """A batch at a time: the numbers of its examples, and their answers.

    done: examples that have one already. The batches depend on the examples alone, so that a run
    that goes on writes the same.
    """
    torch = load_torch()
    network.eval()
    kind = next(p.dtype for p in network.parameters() if p.is_floating_point())
    for numbers in batches_of(dialect, examples, batch):
        if all(number in done for number in numbers):
            continue
        rows = []
        for number in numbers:
            example = examples[number]
            images = pictures_of(example)
            if "image" in without:
                images = [blank(image.size) for image in images]
            rows.append(
                fill(dialect.line(example, False), [dialect.picture(image) for image in images])
            )
        inputs = {
            name: value.to(device, kind if value.is_floating_point() else None)
            for name, value in collate(rows, dialect, answered=False).inputs.items()
        }
        with torch.no_grad():
            written = dialect.write(network, inputs, writing)
        texts = dialect.tokenizer.batch_decode(written, skip_special_tokens=True)
        yield numbers, [text.strip() for text in texts]


def batches_of(dialect: Dialect, examples: Sequence[Example], batch: int) -> list[list[int]]:
    """The numbers of the examples of each batch, those with short prompts first."""
    lengths = [len(dialect.line(example, False).source) for example in examples]
    return in_passes([(length, length) for length in lengths], batch, dialect.pads)
